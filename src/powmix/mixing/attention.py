"""Intermodal attention, eq. (5): how much each example's modality counts against its other modalities.

M modalities, B mini-batch size. Attention is float32 and differentiable in the hidden states it is given.
"""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import Tensor

FLOAT_NOISE = 1e-6
"""A mean this small against the mean magnitude is rounding (LayerNorm outputs have mean 0): no sign is read from it."""


def strength(h: Tensor) -> Tensor:
    """s(i) = ReLU(mean over features of h(i)) for hidden (B, ..., D): (B,)."""
    h_BF = h.flatten(1).float()
    mean_B = h_BF.mean(1)
    return torch.where(mean_B > FLOAT_NOISE * h_BF.abs().mean(1), mean_B, 0.0)


def attention(hidden: Iterable[Tensor], eps: float | None = None) -> tuple[Tensor, Tensor]:
    """a_m(i) = s_m(i) / sum_m' s_m'(i), eq. (5): (a_MB, undefined_B).

    Where every s_m(i) is 0, eq. (5) is 0/0: a_m(i) = 1 / M, the paper's own baseline, and undefined_B is true.
    With eps, a_m(i) = s_m(i) / (sum_m' s_m'(i) + eps): 0 there, defined everywhere.
    """
    s_MB = torch.stack([strength(h) for h in hidden])
    total_B = s_MB.sum(0)
    if eps is not None:
        return s_MB / (total_B + eps), torch.zeros_like(total_B, dtype=torch.bool)
    undefined_B = total_B == 0
    shared = 1 / s_MB.shape[0]
    return torch.where(undefined_B, shared, s_MB / torch.where(undefined_B, 1.0, total_B)), undefined_B
