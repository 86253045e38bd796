"""MultiMix (Venkataramanan et al., NeurIPS 2023): n_out convex combinations of the whole mini-batch."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Generator, Tensor

from powmix.mixing.convex import assemble
from powmix.mixing.draws import Concentration, concentrations, gamma
from powmix.mixing.mixer import Hidden, Mixed, Mixer


@dataclass(eq=False)
class MultiMix(Mixer):
    """Mix the whole mini-batch into each of n_out rows, with one Lambda for all modalities.

    Lambda[k] ~ Dir(alpha[k]) with alpha[k] ~ U(0.5, 2) for each row k, eqs. (3), (4). n_out: generated rows O. alpha:
    Dirichlet concentration, or the range it is drawn from.
    Equal to PowMix(anisotropic=False, reweight="uniform", dynamic=False), draw for draw.
    """

    n_out: int = 256
    alpha: Concentration = (0.5, 2.0)

    def draw(self, hidden: Hidden, target: Tensor, generator: Generator | None) -> Tensor:
        """Draw lam_OB: Gamma variates, the Dirichlet's unnormalised weights."""
        alpha_O1 = concentrations(self.alpha, (self.n_out, 1), generator)
        return gamma(alpha_O1.expand(self.n_out, target.shape[0]), generator)

    def apply(self, parameters: Tensor, hidden: Hidden, target: Tensor) -> Mixed:
        lam_OB = parameters.to(target.device, non_blocking=True)
        return assemble((lam_OB / lam_OB.sum(-1, keepdim=True))[None], hidden, target)
