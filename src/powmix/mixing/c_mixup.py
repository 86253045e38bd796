"""C-Mixup (Yao et al., NeurIPS 2022) on the hidden vectors, with partners from the mini-batch."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Generator, Tensor

from powmix.mixing.convex import Pairs, assemble
from powmix.mixing.draws import Concentration, beta, unit
from powmix.mixing.mixer import Hidden, Mixed, Mixer


class Partners(NamedTuple):
    """What is random in C-Mixup. noise_BB: standard Gumbel; lam_B: the weight of each example against its partner."""

    noise_BB: Tensor
    lam_B: Tensor


@dataclass(eq=False)
class CMixup(Mixer):
    """Mix each example with a partner of a similar label, for regression. B mixed rows.

    Example i meets partner j with probability proportional to exp(-|y_i - y_j|^2 / (2 bandwidth^2)). Partners come
    from the mini-batch, not from the whole training set; therefore i is never its own partner, which over a training
    set is rare by itself. bandwidth: in label units. alpha: lam_i ~ Beta(alpha, alpha), one per pair; or the range
    alpha is drawn from.
    """

    alpha: Concentration = 2.0
    bandwidth: float = 1.0

    def draw(self, hidden: Hidden, target: Tensor, generator: Generator | None) -> Partners:
        """Draw Gumbel noise: its sum with the log-probabilities has its maximum at a partner drawn by them."""
        size = target.shape[0]
        exponential_BB = -torch.log1p(-unit((size, size), generator))
        return Partners(-exponential_BB.log(), beta(self.alpha, (size,), generator))

    def apply(self, parameters: Partners, hidden: Hidden, target: Tensor) -> Mixed:
        noise_BB, lam_B = (part.to(target.device, non_blocking=True) for part in parameters)
        y_BC = target.detach().reshape(target.shape[0], -1).float()
        distance_BB = (y_BC[:, None] - y_BC).square().sum(-1)
        score_BB = noise_BB - distance_BB / (2 * self.bandwidth**2)
        itself = torch.eye(len(y_BC), dtype=torch.bool, device=target.device)
        partner_B = score_BB.masked_fill(itself, -torch.inf).argmax(1)
        pairs = Pairs(torch.arange(len(y_BC), device=target.device), partner_B, lam_B)
        return assemble(pairs.weights(len(y_BC), target.device), hidden, target)
