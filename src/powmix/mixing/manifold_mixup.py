"""Manifold MixUp (Verma et al., ICML 2019) on the hidden vectors, as the PowMix paper runs it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Generator, Tensor

from powmix.mixing.convex import Pairs, assemble
from powmix.mixing.draws import Concentration, beta, device_of
from powmix.mixing.mixer import Hidden, Mixed, Mixer


@dataclass(eq=False)
class ManifoldMixup(Mixer):
    """Load two mini-batches, n = 2B examples, and mix their halves: row i is of the examples i and i + n / 2.

    lam_i ~ Beta(alpha, alpha) for each pair, the same in all modalities (our reading), eqs. (1), (2). n / 2 mixed rows,
    so an epoch has half the steps. Odd n: the last example has no partner and stays clean; n = 1: clean.
    alpha: concentration, or the range it is drawn from.
    """

    batch_factor: ClassVar[int] = 2
    alpha: Concentration = 1.0

    def draw(self, hidden: Hidden, target: Tensor, generator: Generator | None) -> Pairs:
        size = target.shape[0]
        half = size // 2
        rows = torch.arange(size - half, device=device_of(generator))
        lone = rows >= half
        lam_R = beta(self.alpha, rows.shape, generator)
        return Pairs(
            torch.where(lone, size - 1, rows), torch.where(lone, size - 1, rows + half), torch.where(lone, 1.0, lam_R)
        )

    def apply(self, parameters: Pairs, hidden: Hidden, target: Tensor) -> Mixed:
        return assemble(parameters.weights(target.shape[0], target.device), hidden, target)
