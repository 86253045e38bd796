"""The crossmodal transformer of MulT, step by step (Tsai et al. 2019).

Shape suffixes: Q, K time steps of queries and keys, B batch, E width, H heads; sequences are (time, B, E).
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F


@dataclass(frozen=True)
class Dropouts:
    """Rates within one encoder: on the attention, after ReLU, on the residuals, on the embeddings."""

    attention: float = 0.0
    relu: float = 0.0
    residual: float = 0.0
    embedding: float = 0.0


class Attention(nn.Module):
    """Multi-head attention by explicit products; the weights averaged over heads are computed beside the output."""

    def __init__(self, width: int, heads: int, dropout: float):
        super().__init__()
        self.heads, self.dropout = heads, dropout
        self.scaling = (width // heads) ** -0.5
        self.in_proj_weight = nn.Parameter(nn.init.xavier_uniform_(torch.empty(3 * width, width)))
        self.in_proj_bias = nn.Parameter(torch.zeros(3 * width))
        self.out_proj = nn.Linear(width, width)
        nn.init.xavier_uniform_(self.out_proj.weight)
        nn.init.zeros_(self.out_proj.bias)

    def forward(self, query: Tensor, key: Tensor, value: Tensor, mask_QK: Tensor | None) -> tuple[Tensor, Tensor]:
        steps, batch, width = query.shape
        q, k, v = (self._split(x) for x in self._project(query, key, value))
        score = torch.bmm(q * self.scaling, k.transpose(1, 2))
        if mask_QK is not None:
            score = score + mask_QK.unsqueeze(0)
        weight = F.softmax(score.float(), dim=-1).type_as(score)
        weight = F.dropout(weight, self.dropout, self.training)
        attended = torch.bmm(weight, v).transpose(0, 1).contiguous().view(steps, batch, width)
        average_BQK = weight.view(batch, self.heads, steps, -1).sum(dim=1) / self.heads
        return self.out_proj(attended), average_BQK

    def _project(self, query: Tensor, key: Tensor, value: Tensor) -> tuple[Tensor, ...]:
        if query is key and key is value:
            return F.linear(query, self.in_proj_weight, self.in_proj_bias).chunk(3, dim=-1)
        weights, biases = self.in_proj_weight.chunk(3), self.in_proj_bias.chunk(3)
        return tuple(F.linear(x, w, b) for x, w, b in zip((query, key, value), weights, biases))

    def _split(self, x: Tensor) -> Tensor:
        """(time, B, E) -> (B * H, time, E / H)."""
        steps, batch, width = x.shape
        return x.contiguous().view(steps, batch * self.heads, width // self.heads).transpose(0, 1)


class Layer(nn.Module):
    """Pre-norm attention and feed-forward; query, key and value share the first norm."""

    def __init__(self, width: int, heads: int, dropouts: Dropouts):
        super().__init__()
        self.dropouts = dropouts
        self.attention = Attention(width, heads, dropouts.attention)
        self.norm_1, self.norm_2 = nn.LayerNorm(width), nn.LayerNorm(width)
        self.linear_1, self.linear_2 = nn.Linear(width, 4 * width), nn.Linear(4 * width, width)
        for linear in (self.linear_1, self.linear_2):
            nn.init.xavier_uniform_(linear.weight)
            nn.init.zeros_(linear.bias)

    def forward(self, x: Tensor, key: Tensor | None = None, value: Tensor | None = None) -> Tensor:
        normed = self.norm_1(x)
        key, value = (normed, normed) if key is None else (self.norm_1(key), self.norm_1(value))
        mask_QK = future_mask(normed, key)
        attended, _ = self.attention(normed, key, value, mask_QK)
        x = x + F.dropout(attended, self.dropouts.residual, self.training)
        h = F.dropout(F.relu(self.linear_1(self.norm_2(x))), self.dropouts.relu, self.training)
        return x + F.dropout(self.linear_2(h), self.dropouts.residual, self.training)


def future_mask(query: Tensor, key: Tensor) -> Tensor:
    """-inf where query i may not see key j, j > i + |K - Q|: built on the CPU and moved, for every layer and call."""
    steps, keys = query.shape[0], key.shape[0]
    mask_QK = torch.triu(torch.full((steps, keys), float("-inf")), diagonal=1 + abs(keys - steps))
    return mask_QK.to(query.device)


class Encoder(nn.Module):
    """A stack of layers on sqrt(E) x, with the same source for every layer, and a final norm."""

    def __init__(self, width: int, heads: int, layers: int, dropouts: Dropouts):
        super().__init__()
        self.scale, self.dropouts = math.sqrt(width), dropouts
        self.layers = nn.ModuleList(Layer(width, heads, dropouts) for _ in range(layers))
        self.norm = nn.LayerNorm(width)

    def forward(self, x: Tensor, source: Tensor | None = None) -> Tensor:
        x = self._embed(x)
        key, value = (None, None) if source is None else (self._embed(source), self._embed(source))
        outputs = [x]
        for layer in self.layers:
            x = layer(x, key, value)
            outputs.append(x)
        return self.norm(x)

    def _embed(self, x: Tensor) -> Tensor:
        return F.dropout(self.scale * x, self.dropouts.embedding, self.training)
