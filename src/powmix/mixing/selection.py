"""Dynamic mixing: which examples of the mini-batch enter each generated row (PowMix, section on dynamic mixing).

R rows to generate, B mini-batch size, K survivors of a row. P ~ U(a, b), mask ~ Bern(min(P / B, 1)), and a row with
fewer survivors than `min_selected` is drawn again: the law of the paper, given that the row exists.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import torch
from torch import Generator, Tensor

from powmix.mixing.draws import device_of, uniform, unit

RARE = 0.1
"""Where rows are accepted less often than this, `auto` draws K from its law instead of drawing rows again and again."""


@dataclass(frozen=True)
class Selection:
    """The mask's law. subset: (a, b). min_selected: fewest survivors of a row (at most B).

    p_scope: `element`, the paper's formula, draws P for each cell of the mask, which is exactly i.i.d.
    Bern(E[min(P / B, 1)]): while b <= B only the mean (a + b) / 2 matters, U(2, 8) and U(4, 6) are one law, and the
    rate is used at once. `row` draws one P per generated row: there the width of the range matters.
    """

    subset: tuple[float, float] = (2.0, 4.0)
    p_scope: str = "element"
    min_selected: int = 1

    def draw(self, rows: int, size: int, sampler: str, generator: Generator | None) -> Tensor:
        """mask_RB, bool, on the generator's device. `dense` and `sparse` are two ways to the same law."""
        accepted = self.acceptance(size)
        if sampler == "sparse" or (sampler == "auto" and accepted < RARE):
            return self.by_count(rows, size, generator)
        if accepted < 1e-4:
            raise ValueError(
                f"subset {self.subset} leaves fewer than min_selected={self.min_selected} of {size} examples in nearly "
                "every row: the dense sampler would draw forever; use sampler=auto or sparse"
            )
        return self.by_cell(rows, size, generator)

    def by_cell(self, rows: int, size: int, generator: Generator | None) -> Tensor:
        """A coin per cell; rows with too few survivors are drawn again until they have enough."""
        mask_RB = self.coins(rows, size, generator)
        least = min(self.min_selected, size)
        while len(short := (mask_RB.sum(-1) < least).nonzero().squeeze(-1)):
            mask_RB[short] = self.coins(len(short), size, generator)
        return mask_RB

    def coins(self, rows: int, size: int, generator: Generator | None) -> Tensor:
        unit_RB = unit((rows, size), generator)
        if self.p_scope == "row":
            return unit_RB < uniform((rows, 1), *self.subset, generator) / size
        return unit_RB < rate(self.subset, size)

    def by_count(self, rows: int, size: int, generator: Generator | None) -> Tensor:
        """K from its law, then a uniform subset: the K largest of B uniform variates."""
        unit_R = torch.rand(rows, generator=generator, device=device_of(generator), dtype=torch.float64)
        edges_B = self.law_of_k(size).cumsum(0)[:-1].to(unit_R.device)
        k_R = torch.searchsorted(edges_B, unit_R, right=True)
        most = int(k_R.max())
        chosen = unit((rows, size), generator).topk(most).indices
        within = torch.arange(most, device=k_R.device) < k_R[:, None]
        return torch.zeros(rows, size, dtype=torch.bool, device=k_R.device).scatter_(1, chosen, within)

    def law_of_k(self, size: int) -> Tensor:
        """P(K = 0), ..., P(K = B) of a generated row, float64: the law of the coins, truncated at min_selected."""
        law = attempt_law(self.subset, self.p_scope, size).clone()
        law[: min(self.min_selected, size)] = 0
        return law / law.sum()

    def acceptance(self, size: int) -> float:
        """Probability that a row's first draw has enough survivors."""
        return enough(self.subset, self.p_scope, size, min(self.min_selected, size))


def rate(subset: tuple[float, float], size: int) -> float:
    """E[min(P / B, 1)] for P ~ U(a, b)."""
    low, high = subset
    if high <= size:
        return (low + high) / 2 / size
    if low >= size:
        return 1.0
    return ((size**2 - low**2) / 2 / size + high - size) / (high - low)


@lru_cache(maxsize=1024)
def enough(subset: tuple[float, float], p_scope: str, size: int, least: int) -> float:
    return float(attempt_law(subset, p_scope, size)[least:].sum())


@lru_cache(maxsize=256)
def attempt_law(subset: tuple[float, float], p_scope: str, size: int) -> Tensor:
    """P(K = k) of one attempt, k = 0 .. B, float64: Binomial, or its mean over P ~ U(a, b) by Gauss-Legendre."""
    if p_scope == "element":
        return binomial(size, torch.tensor([rate(subset, size)], dtype=torch.float64))[0]
    low, high = (min(bound, size) for bound in subset)
    certain = 0.0 if subset[0] == subset[1] else 1 - (high - low) / (subset[1] - subset[0])
    node_N, weight_N = gauss_legendre(min(size // 2 + 1, 128))
    inside = weight_N @ binomial(size, (low + (high - low) * node_N) / size) * (1 - certain)
    return inside + certain * binomial(size, torch.ones(1, dtype=torch.float64))[0]


def binomial(size: int, p_N: Tensor) -> Tensor:
    """Binomial(B, p) probabilities (N, B + 1) for each p."""
    k = torch.arange(size + 1, dtype=torch.float64)
    ways = (
        torch.lgamma(torch.tensor(size + 1.0, dtype=torch.float64)) - torch.lgamma(k + 1) - torch.lgamma(size - k + 1)
    )
    p_N1 = p_N[:, None].clamp(max=1)
    return (ways + torch.xlogy(k, p_N1) + torch.xlogy(size - k, 1 - p_N1)).exp()


def gauss_legendre(n: int) -> tuple[Tensor, Tensor]:
    """Nodes and weights on [0, 1], exact for polynomials of degree 2n - 1 (Golub and Welsch 1969)."""
    k = torch.arange(1, n, dtype=torch.float64)
    off_diagonal = k / torch.sqrt(4 * k**2 - 1)
    values, vectors = torch.linalg.eigh(torch.diag(off_diagonal, 1) + torch.diag(off_diagonal, -1))
    return (values + 1) / 2, vectors[0] ** 2
