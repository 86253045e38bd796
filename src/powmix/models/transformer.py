"""One post-norm transformer layer: MISA's fusion, and late_fusion's.

Shape suffixes: R rows, L steps (of a sequence, or one a modality), H width.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from powmix.models.dropout import Noise, dropout


class TransformerLayer(nn.Module):
    """Self-attention and a ReLU layer, each added and normalised, over (R, L, H); sizes are M-SENA's for MISA."""

    def __init__(self, width: int, heads: int = 2, inner: int = 2048, dropout: float = 0.1):
        super().__init__()
        self.heads, self.dropout = heads, dropout
        self.attention_in, self.attention_out = nn.Linear(width, 3 * width), nn.Linear(width, width)
        self.inner, self.outer = nn.Linear(width, inner), nn.Linear(inner, width)
        self.norm_attention, self.norm_feedforward = nn.LayerNorm(width), nn.LayerNorm(width)
        nn.init.xavier_uniform_(self.attention_in.weight)
        nn.init.zeros_(self.attention_in.bias)
        nn.init.zeros_(self.attention_out.bias)

    def forward(self, x_RLH: Tensor, noise: Noise | None = None, mask_RL: Tensor | None = None) -> Tensor:
        """mask: which steps may be attended to; None: all."""
        x = self.norm_attention(x_RLH + dropout(self.attend(x_RLH, noise, mask_RL), self.dropout, noise))
        inner = dropout(self.inner(x).relu(), self.dropout, noise)
        return self.norm_feedforward(x + dropout(self.outer(inner), self.dropout, noise))

    def attend(self, x_RLH: Tensor, noise: Noise | None, mask_RL: Tensor | None) -> Tensor:
        query, key, value = self.attention_in(x_RLH).unflatten(-1, (3, self.heads, -1)).permute(2, 0, 3, 1, 4)
        scores = query @ key.transpose(-1, -2) * query.shape[-1] ** -0.5
        if mask_RL is not None:
            scores = scores.masked_fill(~mask_RL[:, None, None], -torch.inf)
        weights = dropout(scores.softmax(-1, dtype=torch.float32), self.dropout, noise)
        return self.attention_out((weights.to(value.dtype) @ value).transpose(1, 2).flatten(2))
