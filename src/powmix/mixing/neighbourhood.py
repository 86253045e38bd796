"""Ours: which examples are near each other in a mini-batch, so that rows mix neighbours. B is the mini-batch's size."""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import Tensor

TINY = 1e-12


@torch.no_grad()
def neighbours(values: Iterable[Tensor], width: float) -> Tensor:
    """How much of example i's neighbourhood example j is, itself included: (B, B) float32, rows sum to 1.

    exp(-d_ij^2 / (2 width^2)) over its sum in the row. d_ij^2 is the squared distance in each of the values (B, ...),
    divided by its mean over all pairs of different examples, then averaged over the values: width is in units of
    the root mean square distance. A very large width makes all examples 1 / B.
    """
    squared = [pairwise(value.reshape(len(value), -1)) for value in values]
    distance_BB = torch.stack(squared).mean(0)
    return torch.softmax(-distance_BB / (2 * width**2), -1)


def pairwise(value_BD: Tensor) -> Tensor:
    """Squared Euclidean distances (B, B) over their mean between different examples; 0 where all are alike."""
    size = len(value_BD)
    distance_BB = torch.cdist(value_BD.float(), value_BD.float(), compute_mode="donot_use_mm_for_euclid_dist").square()
    return distance_BB / (distance_BB.sum() / max(size * (size - 1), 1)).clamp(min=TINY)
