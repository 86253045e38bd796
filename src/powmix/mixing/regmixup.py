"""RegMixup (Pinto et al., NeurIPS 2022) on the hidden vectors: mixing as a regulariser beside the clean loss."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Generator, Tensor

from powmix.mixing.convex import Pairs, assemble
from powmix.mixing.draws import Concentration, beta, device_of
from powmix.mixing.mixer import Hidden, Mixed, Mixer


@dataclass(eq=False)
class RegMixup(Mixer):
    """Add B mixed rows to the B clean ones: example i with a permutation's, lam_i ~ Beta(alpha, alpha) per pair.

    The loss is the mean of the clean mean and the mixed mean: the paper's sum with eta = 1, up to the factor 2.
    alpha: concentration (large: lam near 1/2), or the range it is drawn from.
    """

    alpha: Concentration = 20.0

    def draw(self, hidden: Hidden, target: Tensor, generator: Generator | None) -> Pairs:
        size, device = target.shape[0], device_of(generator)
        partner_B = torch.randperm(size, generator=generator, device=device)
        return Pairs(torch.arange(size, device=device), partner_B, beta(self.alpha, (size,), generator))

    def apply(self, parameters: Pairs, hidden: Hidden, target: Tensor) -> Mixed:
        return assemble(parameters.weights(target.shape[0], target.device), hidden, target, add=True)
