"""B-MM, balanced multimodal mixup (Ma, Ding, Chen 2025, arXiv 2510.10986), on the hidden vectors."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Generator, Tensor

from powmix.mixing.convex import Pairs, assemble
from powmix.mixing.draws import Concentration, beta, device_of
from powmix.mixing.mixer import Hidden, Mixed, Mixer
from powmix.mixing.modality_weights import contributions


class Partners(NamedTuple):
    """What is random or remembered in B-MM. partner_B: a permutation; lam_B: each example's weight; share_M."""

    partner_B: Tensor
    lam_B: Tensor
    share_M: Tensor


@dataclass(eq=False)
class BMM(Mixer):
    """Mix each example with another's by a ratio of each modality's own: the stronger modality is mixed more. B rows.

    MM, the paper's first step, is mixup of all modalities by one lam ~ Beta(alpha, alpha), one per pair. B-MM "adjusts
    the mixing ratios for each modality based on their relative contributions to the learning objective". We had its
    abstract and a summary of MM, not its formula, so the rest is our reading of that line: with share_m what modality m
    explains of the target by itself, over the sum of all (mixing/modality_weights.py), the partner's part in it is
    min((1 - max(lam, 1 - lam)) M share_m, 1 / 2). Equal shares are MM with the larger weight on the example itself; a
    modality that explains nothing stays clean. The label's ratio is the mean over modalities. Tables must not call this
    the authors' B-MM without saying so.
    """

    alpha: Concentration = 1.0

    def draw(self, hidden: Hidden, target: Tensor, generator: Generator | None) -> Partners:
        size = target.shape[0]
        partner_B = torch.randperm(size, generator=generator, device=device_of(generator))
        lam_B = beta(self.alpha, (size,), generator)
        return Partners(partner_B, lam_B, contributions(hidden, target, self.memory))

    def apply(self, parameters: Partners, hidden: Hidden, target: Tensor) -> Mixed:
        partner_B, lam_B, share_M = (part.to(target.device, non_blocking=True) for part in parameters)
        itself_B = torch.arange(len(target), device=target.device)
        part_MB = (torch.minimum(lam_B, 1 - lam_B) * len(hidden) * share_M[:, None]).clamp(max=0.5)
        weights = [Pairs(itself_B, partner_B, 1 - part_B).weights(len(target), target.device) for part_B in part_MB]
        return assemble(torch.cat(weights), hidden, target)
