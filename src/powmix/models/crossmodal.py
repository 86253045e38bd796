"""MulT's transformer encoders, several of them as one computation.

Source: Tsai et al., ACL 2019; details of thuiar/MMSA at a94e65d.
Shape suffixes: G networks (all, or those of a group), B batch, L steps, Q and K query and key steps, E width, I and O
input and output widths.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from itertools import groupby
from typing import cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from powmix.models.block_attention import attention
from powmix.models.dropout import Noise, dropout
from powmix.models.sequences import Steps, attention_bias, with_positions


class GroupedLinear(nn.Module):
    """G linear layers: x (G, B, L, I) -> (G, B, L, O). weight (G, O, I), Xavier-uniform; bias (G, O), 0."""

    def __init__(self, networks: int, inputs: int, outputs: int):
        super().__init__()
        bound = 1 / math.sqrt(inputs)
        self.weight = nn.Parameter(torch.empty(networks, outputs, inputs).uniform_(-bound, bound))
        self.bias = nn.Parameter(torch.empty(networks, outputs).uniform_(-bound, bound))
        bound = math.sqrt(6 / (inputs + outputs))
        nn.init.uniform_(self.weight, -bound, bound)
        nn.init.zeros_(self.bias)


class GroupedNorm(nn.Module):
    """The gains and shifts (G, E) of G layer norms."""

    def __init__(self, networks: int, width: int):
        super().__init__()
        self.weight, self.bias = nn.Parameter(torch.ones(networks, width)), nn.Parameter(torch.zeros(networks, width))


class EncoderLayer(nn.Module):
    """The parameters of one pre-norm layer of G networks: attention (packed in-projection) and a ReLU layer of 4E."""

    def __init__(self, networks: int, width: int):
        super().__init__()
        self.norm_0, self.norm_1 = GroupedNorm(networks, width), GroupedNorm(networks, width)
        self.in_proj = GroupedLinear(networks, width, 3 * width)
        self.out_proj = GroupedLinear(networks, width, width)
        self.fc_1 = GroupedLinear(networks, width, 4 * width)
        self.fc_2 = GroupedLinear(networks, 4 * width, width)


Affine = tuple[Tensor, Tensor]
"""A weight (G, O, I) and a bias (G, O)."""


class Encoders(nn.Module):
    """G encoders of equal width. attn_dropout: by network; the other rates are common to all.

    A layer is x += D(MHA(LN0(x), LN0(k), LN0(v))), x += D(W2 D(ReLU(W1 LN1(x)))); a final LN follows the last. The gain
    and shift of LN0 and LN1 are folded into the projections behind them, so that a source, which no layer changes, is
    normalised once for all layers. Neighbouring networks whose sequences are equally long are one computation.
    """

    def __init__(
        self,
        width: int,
        heads: int,
        levels: int,
        attn_dropout: Sequence[float],
        relu_dropout: float,
        embed_dropout: float,
        res_dropout: float,
        positions: bool,
    ):
        super().__init__()
        self.width, self.heads, self.attn_dropout, self.positions = width, heads, list(attn_dropout), positions
        self.relu_dropout, self.embed_dropout, self.res_dropout = relu_dropout, embed_dropout, res_dropout
        self.layers = nn.ModuleList(EncoderLayer(len(self.attn_dropout), width) for _ in range(levels))
        self.norm = GroupedNorm(len(self.attn_dropout), width)

    def crossmodal(self, targets: Sequence[Steps], sources: Sequence[Steps], noise: Noise | None) -> list[Tensor]:
        """By network, its target (R, Q_g, E) after attending to its source (R, K_g, E) in every layer."""
        outputs: list[Tensor] = []
        lengths = [(target.x.shape[1], source.x.shape[1]) for target, source in zip(targets, sources, strict=True)]
        for group, layers in self._groups(lengths):
            bias, rates = attention_bias(targets[group], sources[group]), self.attn_dropout[group]
            x = dropout(self._embed(targets[group]), self.embed_dropout, noise)
            source = self._embed(sources[group])
            key = value = _normal(dropout(source, self.embed_dropout, noise))
            if noise is not None and self.embed_dropout > 0:  # keys and values are dropped out independently
                value = _normal(noise.dropout(source, self.embed_dropout))
            for layer in layers:
                x = self._layer(layer, x, (key, value), bias, rates, noise)
            outputs += self._final_norm(x, group).unbind()
        return outputs

    def memory(self, sequences: Sequence[Steps], noise: Noise | None) -> list[Tensor]:
        """By network, the last valid step (B, E) after self-attention; the last layer computes no other step."""
        outputs: list[Tensor] = []
        for group, layers in self._groups([steps.x.shape[1] for steps in sequences]):
            bias, rates = attention_bias(sequences[group], sequences[group]), self.attn_dropout[group]
            x = dropout(self._embed(sequences[group]), self.embed_dropout, noise)
            for layer in layers[:-1]:
                x = self._layer(layer, x, None, bias, rates, noise)
            source, last = _normal(x), _last_steps(x, sequences[group])
            if last[0].places is not None:
                bias = attention_bias(last, sequences[group])
            elif bias is not None:
                bias = bias[-1:]
            x = torch.stack([steps.x for steps in last])
            x = self._layer(layers[-1], x, (source, source), bias, rates, noise)
            for steps, one in zip(last, self._final_norm(x, group), strict=True):
                flat = one.flatten(0, 1)
                outputs.append(flat if steps.places is None else flat[steps.places.first_B])
        return outputs

    def _groups(self, lengths: Sequence[object]) -> Iterator[tuple[slice, list[_Folded]]]:
        """Neighbouring networks of equal lengths, and their layers."""
        sizes = [len(list(same)) for _, same in groupby(lengths)]
        layers = [_folded(cast(EncoderLayer, layer), sizes) for layer in self.layers]
        start = 0
        for size, *own in zip(sizes, *layers):
            yield slice(start, start + size), own
            start += size

    def _layer(
        self,
        layer: _Folded,
        x: Tensor,
        source: tuple[Tensor, Tensor] | None,
        bias: Tensor | None,
        rates: Sequence[float],
        noise: Noise | None,
    ) -> Tensor:
        """x (G, B, Q, E) after a layer; source: normalised keys' and values' inputs, None for self-attention."""
        in_proj, out_proj, fc_1, fc_2 = layer
        if source is None:
            query, key, value = _linear(_normal(x), in_proj).chunk(3, dim=-1)
        else:
            weights, biases = in_proj[0].chunk(3, dim=1), in_proj[1].chunk(3, dim=1)
            query, key, value = map(_linear, (_normal(x), *source), zip(weights, biases))
        attended = attention(query, key, value, self.heads, bias, rates, noise)
        x = x + dropout(_linear(attended, out_proj), self.res_dropout, noise)
        h = dropout(_linear(_normal(x), fc_1).relu(), self.relu_dropout, noise)
        return x + dropout(_linear(h, fc_2), self.res_dropout, noise)

    def _embed(self, sequences: Sequence[Steps]) -> Tensor:
        """sqrt(E) x, plus positions where the protocol has them: (G, B, L, E)."""
        scaled = [Steps(steps.x * math.sqrt(self.width), steps.places) for steps in sequences]
        return torch.stack([with_positions(steps) if self.positions else steps.x for steps in scaled])

    def _final_norm(self, x: Tensor, group: slice) -> Tensor:
        weight, bias = (value[group, None, None] for value in (self.norm.weight, self.norm.bias))
        return torch.addcmul(bias, _normal(x), weight)


_Folded = tuple[Affine, Affine, Affine, Affine]
"""A layer's in_proj, out_proj, fc_1, fc_2; in_proj and fc_1 expect normalised input without gain and shift."""


def _folded(layer: EncoderLayer, sizes: Sequence[int]) -> Iterator[_Folded]:
    """A layer's projections, for each group of so many networks."""
    affines = (
        _fold(layer.norm_0, layer.in_proj),
        (layer.out_proj.weight, layer.out_proj.bias),
        _fold(layer.norm_1, layer.fc_1),
        (layer.fc_2.weight, layer.fc_2.bias),
    )
    return zip(*(_split(affine, sizes) for affine in affines))


def _split(affine: Affine, sizes: Sequence[int]) -> Iterator[Affine]:
    weight, bias = affine
    return zip(weight.split(sizes), bias.split(sizes))


def _fold(norm: GroupedNorm, linear: GroupedLinear) -> Affine:
    """W (g * x + b) + c as (W g) x + (W b + c)."""
    weight = linear.weight * norm.weight.unsqueeze(1)
    return weight, linear.bias + (linear.weight @ norm.bias.unsqueeze(-1)).squeeze(-1)


def _linear(x: Tensor, affine: Affine) -> Tensor:
    """(G, B, L, I) -> (G, B, L, O)."""
    weight, bias = affine
    y = torch.baddbmm(bias.unsqueeze(1), x.flatten(1, 2), weight.transpose(1, 2))
    return y.unflatten(1, x.shape[1:3])


def _normal(x: Tensor) -> Tensor:
    """Layer norm without gain and shift."""
    return F.layer_norm(x, x.shape[-1:])


def _last_steps(x: Tensor, sequences: Sequence[Steps]) -> list[Steps]:
    """By network, of x (G, R, S, E), the last step of each sequence."""
    last = []
    for one, steps in zip(x, sequences, strict=True):
        if steps.places is None:
            last.append(Steps(one[:, -1:]))
        else:
            ends = steps.places.ends()
            last.append(Steps(ends.fill(one.flatten(0, 1), steps.places.first_B), ends))
    return last
