"""PowMix (Georgiou, Avrithis, Potamianos, IEEE/ACM TASLP 2024, arXiv 2312.12334; equation numbers are the paper's).

Legend: B mini-batch size, M modalities, D_m hidden width, O = n_out generated rows, G = M or 1 weight matrices.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Generator, Tensor

from powmix.mixing.attention import attention
from powmix.mixing.convex import assemble
from powmix.mixing.draws import Concentration, concentrations, device_of, gamma
from powmix.mixing.mixed import Hidden, Mixed, Mixer
from powmix.mixing.selection import Selection

VANISHED = 1e-36
"""A row of weights with a smaller sum cannot be normalised in float32."""


class Factors(NamedTuple):
    """lam_GOB: unnormalised mixing factors, mask * Gamma(alpha): positive where the mask selects, 0 elsewhere."""

    lam_GOB: Tensor


@dataclass(eq=False)
class PowMix(Mixer):
    """Replace B hidden vectors by n_out convex combinations of random subsets, reweighted by intermodal attention.

    n_out: generated rows O. subset: (a, b) of P ~ U(a, b), the expected number of examples in a row. With p_scope
    `element` (the paper's formula) the mask depends on (a + b) / 2 alone while b <= B: U(2, 8) and U(4, 6) are one
    distribution; with `row`, one P per generated row, they differ. alpha: Dirichlet concentration, or its range.
    anisotropic: mixing factors per modality (Table 3), else one for all. reweight: `relu`, eq. (5); `uniform`, none;
    `eps`, s_m / (sum s + eps). mask_sharing: one mask for all modalities. dynamic: select subsets, else mix all B.
    min_selected: fewest examples in a row (2 excludes clean copies). detach: no gradient through the weights.
    combine: `replace` the clean rows, or `add` the mixed ones to them. sampler: three ways to one law. `dense` draws
    every Gamma variate and a coin per cell; `sparse` draws K, a K-subset and Gammas on the survivors; `auto` takes
    the quicker parts of both for the generator's device. On a CPU that is a coin per cell and Gammas on the
    survivors at every size: measured roughly, 2 times quicker than `dense` at O x B = 256 x 16, 9 times at 256 x 128.

    Hidden states (B, D_m) or (B, T, D_m), targets (B,), (B, C) or soft classes. ValueError lists every bad option.
    """

    n_out: int = 256
    subset: tuple[float, float] = (2.0, 4.0)
    alpha: Concentration = (0.5, 2.0)
    anisotropic: bool = True
    reweight: str = "relu"
    mask_sharing: bool = True
    dynamic: bool = True
    min_selected: int = 1
    p_scope: str = "element"
    detach: bool = True
    combine: str = "replace"
    sampler: str = "auto"
    eps: float = 1e-8

    def __post_init__(self) -> None:
        super().__post_init__()
        self.selection = Selection(self.subset, self.p_scope, self.min_selected)

    def draw(self, hidden: Hidden, target: Tensor, generator: Generator | None) -> Factors:
        """Lambda_m[k] ~ Dir(alpha_m[k]) with alpha_m[k] ~ U(0.5, 2), as Gamma variates, masked by the selection."""
        modalities, size = len(hidden), target.shape[0]
        sets = modalities if self.anisotropic else 1
        alpha_SO = concentrations(self.alpha, (sets, self.n_out), generator)
        if not self.dynamic:
            return Factors(gamma(alpha_SO[..., None].expand(sets, self.n_out, size), generator))
        masks = 1 if self.mask_sharing else modalities
        rows_RB = self.selection.draw(masks * self.n_out, size, self.sampler, generator)
        mask_NOB = rows_RB.view(masks, self.n_out, size)
        if self.sampler == "dense" or (self.sampler == "auto" and device_of(generator).type != "cpu"):
            return Factors(gamma(alpha_SO[..., None].expand(sets, self.n_out, size), generator) * mask_NOB)
        if masks == sets > 1:
            return Factors(survivors(alpha_SO.view(1, -1), rows_RB, generator).view(sets, self.n_out, size))
        lam_SOB = survivors(alpha_SO, mask_NOB.any(0), generator)
        return Factors(lam_SOB if masks == 1 else lam_SOB * mask_NOB)

    def apply(self, parameters: Factors, hidden: Hidden, target: Tensor) -> Mixed:
        """Eqs. (5)-(9) with known mixing factors; nothing is read back from the device."""
        lam_GOB = parameters.lam_GOB.to(target.device, non_blocking=True)
        weights_GOB, fallbacks = self.weigh(lam_GOB, hidden)
        mean_k = torch.count_nonzero(lam_GOB) / (lam_GOB.shape[0] * lam_GOB.shape[1])
        return assemble(weights_GOB, hidden, target, add=self.combine == "add", fallbacks=fallbacks, mean_k=mean_k)

    def weigh(self, lam_GOB: Tensor, hidden: Hidden) -> tuple[Tensor, dict[str, Tensor | int]]:
        """Eq. (6): W_m = a_m * mask * G_m over its exact row sum, so rows sum to 1; and the counts of the fallbacks."""
        size, rows = lam_GOB.shape[2], lam_GOB.shape[1] * len(hidden)
        if self.reweight == "uniform":
            none: dict[str, Tensor | int] = {"attention": 0, "attention_of": size, "dropped": 0, "dropped_of": rows}
            return lam_GOB / lam_GOB.sum(-1, keepdim=True), none
        shown = [h.detach() if self.detach else h for h in hidden.values()]
        a_MB, undefined_B = attention(shown, self.eps if self.reweight == "eps" else None)
        weights_MOB = a_MB[:, None] * lam_GOB
        dropped_MO1 = weights_MOB.sum(-1, keepdim=True) < VANISHED
        weights_MOB = torch.where(dropped_MO1, lam_GOB, weights_MOB)
        counts: dict[str, Tensor | int] = {
            "attention": undefined_B.sum(),
            "attention_of": size,
            "dropped": dropped_MO1.sum(),
            "dropped_of": rows,
        }
        return weights_MOB / weights_MOB.sum(-1, keepdim=True), counts


def survivors(alpha_SR: Tensor, mask_RB: Tensor, generator: Generator | None) -> Tensor:
    """Gamma(alpha) where the mask selects, 0 elsewhere, (S, R, B): variates the mask would discard stay undrawn."""
    cells = mask_RB.flatten().nonzero().squeeze(-1)
    values = gamma(alpha_SR[:, cells // mask_RB.shape[1]], generator)
    zeros = torch.zeros(alpha_SR.shape[0], mask_RB.numel(), device=mask_RB.device)
    return zeros.index_copy_(1, cells, values).view(-1, *mask_RB.shape)
