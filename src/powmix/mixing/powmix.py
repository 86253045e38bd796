"""PowMix (Georgiou, Avrithis, Potamianos, IEEE/ACM TASLP 2024, arXiv 2312.12334): Algorithm 1, from top to bottom.

Equation and line numbers are the paper's. What its text leaves open, and what we chose, stands in docs/mixing.md.

Legend: B mini-batch size, M modalities, D_m hidden width, O = n_out generated rows; S sets of mixing factors (M, or 1
for all modalities), N masks (M, or 1), G = max(S, N) weight matrices, R = N * O rows of masks, V variates to draw.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Generator, Tensor

from powmix.mixing.convex import assemble
from powmix.mixing.draws import Concentration, concentrations, gamma, uniform, unit
from powmix.mixing.mixer import Hidden, Mixed, Mixer
from powmix.mixing.modality_weights import contributions, given
from powmix.mixing.neighbourhood import neighbours

FLOAT_NOISE = 1e-6
"""A mean this small against the mean magnitude is rounding (LayerNorm outputs have mean 0): no sign is read from it."""

VANISHED = 1e-36
"""A row of weights with a smaller sum cannot be normalised in float32."""

MOST_DRAWS = 1000
"""How often a row's mask is drawn, at most. Of 256 rows that succeed one time in 20, one is left over in one of 10^20
mini-batches; of rows that succeed one time in 100, in one of 90."""


def strength(h: Tensor) -> Tensor:
    """How strong each example's vector is: s(i) = ReLU(mean over features of h(i)), (B, ..., D) to (B,), float32."""
    h_BF = h.flatten(1).float()
    mean_B = h_BF.mean(1)
    return torch.where(mean_B > FLOAT_NOISE * h_BF.abs().mean(1), mean_B, 0.0)


def attention(hidden: Iterable[Tensor], eps: float | None = None) -> tuple[Tensor, Tensor]:
    """How much each example counts in each modality: a_m(i) = s_m(i) / sum_m' s_m'(i), line 1, eq. (5).

    Gives (a_MB, undefined_B), float32, differentiable. Where every s_m(i) is 0, eq. (5) is 0/0: a_m(i) = 1 / M, the
    paper's own baseline, and undefined_B is true. With eps, a_m(i) = s_m(i) / (sum_m' s_m'(i) + eps): 0 there, and
    defined everywhere.
    """
    s_MB = torch.stack([strength(h) for h in hidden])
    total_B = s_MB.sum(0)
    if eps is not None:
        return s_MB / (total_B + eps), torch.zeros_like(total_B, dtype=torch.bool)
    undefined_B = total_B == 0
    shared = 1 / s_MB.shape[0]
    return torch.where(undefined_B, shared, s_MB / torch.where(undefined_B, 1.0, total_B)), undefined_B


def rate(subset: tuple[float, float], size: int) -> float:
    """How often an element of the mask is 1: E[min(P / B, 1)] for P ~ U(a, b)."""
    low, high = subset
    if high <= size:
        return (low + high) / 2 / size
    if low >= size:
        return 1.0
    return ((size**2 - low**2) / 2 / size + high - size) / (high - low)


class Factors(NamedTuple):
    """What is random in PowMix. lam_GOB: mask * Gamma(alpha), positive where the mask selects and 0 elsewhere.

    share_M: the modalities' contributions, of label_weights=learned alone.
    """

    lam_GOB: Tensor
    share_M: Tensor | None = None


@dataclass(eq=False)
class PowMix(Mixer):
    """Replace B hidden vectors by n_out convex combinations of random subsets, reweighted by intermodal attention.

    n_out: generated rows O. subset: (a, b) of P ~ U(a, b), the expected number of examples in a row. With p_scope
    `element` (the paper's formula) the mask depends on (a + b) / 2 alone while b <= B: U(2, 8) and U(4, 6) are one
    distribution; with `row`, one P per generated row, they differ. alpha: Dirichlet concentration, or its range.
    anisotropic: mixing factors per modality (Table 3), else one for all. reweight: `relu`, eq. (5); `uniform`, none;
    `eps`, s_m / (sum s + eps). mask_sharing: one mask for all modalities. dynamic: select subsets, else mix all B.
    min_selected: fewest examples in a row, at most B (2 excludes clean copies). detach: no gradient through the
    weights. combine: `replace` the clean rows, or `add` the mixed ones to them.

    Ours, and off by default (docs/mixing.md). label_weights: the `mean` of the modalities' mixed labels, eq. (9), or
    weighed by `attention`, as `learned`, or by numbers, in the modalities' order or by name. partners: a row mixes
    `any` examples, or neighbours of one by `label` or `feature`; neighbourhood: how near. stop_epoch: no mixing from
    this epoch on. anneal: p_mix falls to 0, `linear` or `cosine`, until stop_epoch or the last epoch.

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
    eps: float = 1e-8
    label_weights: str | Sequence[float] | Mapping[str, float] = "mean"
    partners: str = "any"
    neighbourhood: float = 0.5
    stop_epoch: int | None = None
    anneal: str = "none"

    def probability(self, epoch: int | None = None) -> float:
        """p_mix in an epoch: 0 before start_epoch and from stop_epoch on, in between annealed.

        ValueError where p_mix is annealed and the epoch or the last one is not known.
        """
        ends = [end for end in (self.stop_epoch, self.epochs) if end is not None]
        if self.anneal != "none" and (epoch is None or not ends):
            raise ValueError(
                f"PowMix: anneal={self.anneal} needs the epoch and the last one: mixer(..., epoch=...), stop_epoch or "
                f"mixer.epochs; got epoch={epoch}, stop_epoch={self.stop_epoch}, epochs={self.epochs}"
            )
        p = super().probability(epoch)
        if p == 0 or epoch is None or not ends:
            return p
        if epoch >= min(ends):
            return 0.0
        passed = (epoch - self.start_epoch) / (min(ends) - self.start_epoch)
        left = {"none": 1.0, "linear": 1 - passed, "cosine": (1 + math.cos(math.pi * passed)) / 2}
        return p * left[self.anneal]

    def draw(self, hidden: Hidden, target: Tensor, generator: Generator | None) -> Factors:
        """Draw the mask and the mixing factors under it, lines 2 to 5.

        Lambda_m[k] ~ Dir(alpha_m[k]) with alpha_m[k] ~ U(0.5, 2), as Gamma variates. A masked Dirichlet row, normalised
        again, is Dirichlet over its survivors: no other variates are drawn. Against a variate for each cell that is
        2 times quicker at O x B = 256 x 16 and 9 times at 256 x 128, measured on a CPU.
        """
        share_M = contributions(hidden, target, self.memory) if self.label_weights == "learned" else None
        return Factors(self.factors(hidden, target, generator), share_M)

    def factors(self, hidden: Hidden, target: Tensor, generator: Generator | None) -> Tensor:
        """Draw lam_GOB: the mask times Gamma variates."""
        size, modalities = target.shape[0], len(hidden)
        sets = modalities if self.anisotropic else 1
        alpha_SO = concentrations(self.alpha, (sets, self.n_out), generator)
        if not self.dynamic:
            return gamma(alpha_SO[..., None].expand(-1, -1, size), generator)
        masks = 1 if self.mask_sharing else modalities
        near_BB = None
        if self.partners != "any":
            values = [target] if self.partners == "label" else hidden.values()
            near_BB = neighbours(values, self.neighbourhood).to(alpha_SO.device)
        mask_NOB = self.mask(masks * self.n_out, size, generator, near_BB).view(masks, self.n_out, size)
        # one set under several masks needs what any of them selects
        needed_SOB = mask_NOB.expand(sets, -1, -1) if sets > 1 else mask_NOB.any(0, keepdim=True)
        alpha_V = alpha_SO.flatten().repeat_interleave(needed_SOB.sum(-1).flatten())
        lam_SOB = alpha_SO.new_zeros(needed_SOB.shape).masked_scatter_(needed_SOB, gamma(alpha_V, generator))
        return lam_SOB * mask_NOB if masks > sets else lam_SOB

    def mask(self, rows: int, size: int, generator: Generator | None, near_BB: Tensor | None = None) -> Tensor:
        """Draw which examples enter each row: mask_RB ~ Bern(min(P / B, 1)) with P ~ U(a, b), bool, lines 4 and 5.

        With near_BB (mixing/neighbourhood.py) each row has a centre i, drawn uniformly, and near_ij takes the place of
        1 / B: mask_Rj ~ Bern(min(P near_ij, 1)).
        Rows with fewer survivors than min_selected are drawn again: the paper's law, given that the row exists.
        ValueError where some still fall short after MOST_DRAWS.
        """
        mask_RB, draws = self.coins(rows, size, generator, near_BB), 1
        least = min(self.min_selected, size)
        while len(short_N := (mask_RB.sum(-1) < least).nonzero().squeeze(-1)):
            if draws == MOST_DRAWS:
                raise ValueError(
                    f"PowMix: subset={self.subset} and min_selected={self.min_selected} hardly ever select enough: "
                    f"{len(short_N)} of {rows} rows have fewer than {least} of {size} examples after {draws} draws; "
                    "raise subset or lower min_selected"
                )
            mask_RB[short_N], draws = self.coins(len(short_N), size, generator, near_BB), draws + 1
        return mask_RB

    def coins(self, rows: int, size: int, generator: Generator | None, near_BB: Tensor | None = None) -> Tensor:
        """Draw the mask once. With a P for each element it is i.i.d. Bernoulli, so its rate is used at once."""
        unit_RB = unit((rows, size), generator)
        if near_BB is not None:
            centre_R = torch.randint(size, (rows,), generator=generator, device=unit_RB.device)
            values_of_p = size if self.p_scope == "element" else 1
            return unit_RB < uniform((rows, values_of_p), *self.subset, generator) * near_BB[centre_R]
        if self.p_scope == "row":
            return unit_RB < uniform((rows, 1), *self.subset, generator) / size
        return unit_RB < rate(self.subset, size)

    def apply(self, parameters: Factors, hidden: Hidden, target: Tensor) -> Mixed:
        """Mix with known factors, lines 6 to 9; nothing is read back from the device."""
        lam_GOB = parameters.lam_GOB.to(target.device, non_blocking=True)
        weights_GOB, fallbacks = self.weigh(lam_GOB, hidden)
        mean_k = torch.count_nonzero(lam_GOB) / (lam_GOB.shape[0] * lam_GOB.shape[1])
        add, label_weights = self.combine == "add", self.weigh_labels(parameters, weights_GOB, hidden)
        return assemble(
            weights_GOB, hidden, target, add=add, fallbacks=fallbacks, mean_k=mean_k, label_weights=label_weights
        )

    def weigh_labels(self, parameters: Factors, weights_GOB: Tensor, hidden: Hidden) -> Tensor | None:
        """How much each modality's mixed label counts, c (M,) or (M, O); None for eq. (9), the mean.

        `attention`: c_m[k] = sum_i v[k, i] a_m(i) with v the mean of the modalities' weights and a_m of eq. (5),
        whatever reweight is. `learned`: what each modality explains of the target by itself (modality_weights.py).
        """
        if self.label_weights == "mean":
            return None
        if self.label_weights == "attention":
            a_MB, _ = attention(h.detach() for h in hidden.values())
            return a_MB @ weights_GOB.detach().mean(0).T
        if self.label_weights == "learned":
            assert parameters.share_M is not None
            return parameters.share_M
        return torch.tensor(given(self.label_weights, list(hidden)), device=weights_GOB.device)

    def weigh(self, lam_GOB: Tensor, hidden: Hidden) -> tuple[Tensor, dict[str, Tensor | int]]:
        """Turn factors into weights, and count the fallbacks: W_m = a_m * mask * G_m over its row sum, line 6, eq. (6).

        Where every survivor of a row has a_m = 0, eq. (6) is 0/0: that row and modality drop a_m.
        """
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
