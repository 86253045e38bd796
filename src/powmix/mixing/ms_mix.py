"""MS-Mix (Zhu, Chen, Jin, Shang 2025, arXiv 2510.11579) on the hidden vectors: similar examples, mixed by intensity."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Generator, Tensor
from torch.nn.functional import normalize

from powmix.mixing.convex import Pairs, assemble
from powmix.mixing.draws import Concentration, beta, unit
from powmix.mixing.mixer import Hidden, Mixed, Mixer

TINY = 1e-12


class Order(NamedTuple):
    """What is random in MS-Mix. order_BB: U(0, 1), the pairs' order; lam_B: the weight of each pair's first example."""

    order_BB: Tensor
    lam_B: Tensor


@dataclass(eq=False)
class MSMix(Mixer):
    """Add B mixed rows to the B clean ones: pairs of similar examples, each modality mixed by how intense it is.

    Selection: cosine similarity of hidden vectors, averaged over the modalities and scaled to [0, 1] over the pairs of
    the mini-batch; B different pairs are drawn uniformly from those above threshold, and where they are fewer, the most
    similar of the others fill up (B = 2 has one pair). Ratios: lam_m = (lam + I_m(i) / (I_m(i) + I_m(j))) / 2 with
    lam ~ Beta(alpha, alpha), one per pair; the label's ratio is the mean over modalities.

    Our reading of the paper's abstract, of a summary of its method and of its authors' code, with one replacement: the
    paper predicts the intensity I_m with an attention module of its own, trained by a Kullback-Leibler loss against the
    labels; a mixer has no parameters and adds no loss, so here I_m(i) is the length of h_m(i). Tables must not call
    this the authors' MS-Mix without saying so.
    """

    alpha: Concentration = 2.0
    threshold: float = 0.2

    def draw(self, hidden: Hidden, target: Tensor, generator: Generator | None) -> Order:
        size = target.shape[0]
        return Order(unit((size, size), generator), beta(self.alpha, (size,), generator))

    def apply(self, parameters: Order, hidden: Hidden, target: Tensor) -> Mixed:
        order_BB, lam_B = (part.to(target.device, non_blocking=True) for part in parameters)
        size = target.shape[0]
        flat = [h.detach().flatten(1).float() for h in hidden.values()]
        first_R, second_R = self.pairs(similarity(flat), order_BB)
        lam_R, weights = lam_B[: len(first_R)], []
        for h_BD in flat:
            first, second = (h_BD.norm(dim=1)[rows_R] for rows_R in (first_R, second_R))
            by_intensity_R = (first + TINY) / (first + second + 2 * TINY)
            weights.append(Pairs(first_R, second_R, (lam_R + by_intensity_R) / 2).weights(size, target.device))
        return assemble(torch.cat(weights), hidden, target, add=True)

    def pairs(self, similarity_BB: Tensor, order_BB: Tensor) -> tuple[Tensor, Tensor]:
        """The first and the second example of each row, i < j."""
        size = len(similarity_BB)
        upper_BB = torch.ones_like(similarity_BB, dtype=torch.bool).triu(1)
        lowest, highest = (
            similarity_BB.where(upper_BB, torch.inf).amin(),
            similarity_BB.where(upper_BB, -torch.inf).amax(),
        )
        scaled_BB = (similarity_BB - lowest) / (highest - lowest).clamp(min=TINY)
        rank_BB = torch.where(scaled_BB > self.threshold, 1 + order_BB, scaled_BB).where(upper_BB, -torch.inf)
        chosen_R = rank_BB.flatten().topk(min(size, size * (size - 1) // 2)).indices
        return chosen_R // size, chosen_R % size


def similarity(flat: list[Tensor]) -> Tensor:
    """Cosine similarity of the examples, (B, B), averaged over the modalities."""
    directions = [normalize(h_BD, dim=1) for h_BD in flat]
    return torch.stack([u_BD @ u_BD.T for u_BD in directions]).mean(0)
