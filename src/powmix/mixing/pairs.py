"""Mixing in pairs: row r is lam[r] of one example and 1 - lam[r] of another. R rows, B mini-batch size."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor


class Pairs(NamedTuple):
    """first_R, second_R: indices into the mini-batch; lam_R: the weight of the first."""

    first_R: Tensor
    second_R: Tensor
    lam_R: Tensor

    def weights(self, size: int, device: torch.device) -> Tensor:
        """The pairs as one weight matrix (1, R, B), shared by all modalities."""
        first_R, second_R, lam_R = (part.to(device, non_blocking=True) for part in self)
        examples = torch.arange(size, device=device)
        lam_R1 = lam_R[:, None]
        return (lam_R1 * (first_R[:, None] == examples) + (1 - lam_R1) * (second_R[:, None] == examples))[None]
