"""The sublayers of MulT's encoders in PyTorch's own operations, all networks at once: for a GPU.

Source: Tsai et al., ACL 2019. Shape suffixes: P leading axes (seeds, networks), B batch, L steps, E width.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch.nn.functional as F
from torch import Tensor

from powmix.models.block_attention import attention as multi_head
from powmix.models.layers import grouped_linear
from powmix.models.dropout import Noise

Affine = tuple[Tensor, Tensor]
"""A weight (*P, O, I) and a bias (*P, O)."""


def enter(x: Tensor) -> Tensor:
    """(*P, B, L, E) as the sublayers want it."""
    return x


def leave(x: Tensor) -> Tensor:
    """Back to (*P, B, L, E)."""
    return x


def normal(x: Tensor) -> Tensor:
    """Layer norm without gain and shift."""
    return F.layer_norm(x, x.shape[-1:])


def attention(
    x: Tensor,
    source: tuple[Tensor, Tensor] | None,
    in_proj: Affine,
    out_proj: Affine,
    heads: int,
    bias: Tensor | None,
    rates: Sequence[float],
    noise: Noise | None,
    res_dropout: float,
) -> Tensor:
    """x + D(MHA(normal(x), source)); source: normalised keys' and values' inputs, None for self-attention."""
    if source is None:
        query, key, value = grouped_linear(normal(x), *in_proj).chunk(3, dim=-1)
    else:
        inputs = (normal(x), *source)
        weights, biases = in_proj[0].chunk(3, dim=-2), in_proj[1].chunk(3, dim=-1)
        query, key, value = map(grouped_linear, inputs, weights, biases)
    attended = multi_head(query, key, value, heads, bias, rates, noise)
    return x + dropout(grouped_linear(attended, *out_proj), res_dropout, noise)


def feed_forward(
    x: Tensor, fc_1: Affine, fc_2: Affine, relu_dropout: float, res_dropout: float, noise: Noise | None
) -> Tensor:
    """x + D(W2 D(ReLU(W1 normal(x))))."""
    h = dropout(grouped_linear(normal(x), *fc_1).relu(), relu_dropout, noise)
    return x + dropout(grouped_linear(h, *fc_2), res_dropout, noise)


def dropout(x: Tensor, rate: float, noise: Noise | None) -> Tensor:
    return x if noise is None else noise.dropout(x, rate)
