"""When to stop adding seeds: a t-test of paired differences that may be looked at after every seed.

The differences d_1, d_2, ... of a mixer and its baseline are taken as normal with unknown mean and standard deviation.
Under every mean m the density of the t-statistic of d - m, averaged over standardised effects ~ N(0, effect^2), over
its density at effect 0 is a nonnegative martingale that starts at 1 (in the filtration of the scale-free data), so by
Ville's inequality it ever reaches 1 / alpha with a probability of at most alpha. For m = 0 it is the e-value; the m for
which it stays below 1 / alpha are a confidence sequence, which holds the true mean at all times at once with
probability 1 - alpha. Every decision is read off that sequence, so that all together are wrong with probability alpha.

The ratio is that of Gönen et al. (2005); its validity under optional stopping: Lai (1976), Pérez-Ortiz et al. (2024,
Annals of Statistics 52(4), right Haar prior on the standard deviation), Wang and Ramdas (2024, arXiv 2310.03722, the
Gaussian mixture). What it is worth, and where differences are not normal: docs/verdicts.md.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from powmix.metrics.statistics import ALPHA, MIN_VERDICT, Interval

Decision = Literal["better", "worse", "same", "undecided"]
"""same: no difference larger than the region."""


@dataclass(frozen=True)
class Look:
    """What n seeds allow to say. interval: of the mean difference, valid at all n at once."""

    n: int
    e_value: float
    interval: Interval
    decision: Decision


@dataclass(frozen=True)
class Sequential:
    """A plan for one comparison: when seeds suffice, wrong with probability `alpha` however often it is asked.

    effect: the difference worth finding, in standard deviations of the paired differences; it tunes speed alone, never
    validity. region: differences smaller than it are as good as none, in the metric's units; None: never decided so.
    least, most: seeds. For several comparisons that stop together, alpha is to be divided by their number.
    """

    effect: float = 1.0
    region: float | None = None
    least: int = MIN_VERDICT
    most: int = 60
    alpha: float = ALPHA

    def look(self, differences: Sequence[float], higher_is_better: bool = True) -> Look:
        """The first of the differences' beginnings that decides, else all of them.

        differences: mixer minus baseline, in the order of the seeds' list, at least one, whatever order they finished
        in. What one look has decided later seeds do not undo, and seeds that finish together may be given at once.
        """
        d_N = np.asarray(differences, dtype=float)
        e_N, (low_N, high_N) = e_values(d_N, self.effect), intervals(d_N, self.effect, self.alpha)
        looks = [
            Look(n + 1, float(e_N[n]), (float(low_N[n]), float(high_N[n])), self._decide(low_N[n], high_N[n]))
            for n in range(len(d_N))
        ]
        found = next((one for one in looks[self.least - 1 : self.most] if one.decision != "undecided"), None)
        if found is None:
            return Look(len(d_N), looks[-1].e_value, looks[-1].interval, "undecided")
        turned: dict[Decision, Decision] = {"better": "worse", "worse": "better"}
        decision = found.decision if higher_is_better else turned.get(found.decision, found.decision)
        return Look(found.n, found.e_value, found.interval, decision)

    def finished(self, differences: Sequence[float]) -> bool:
        """Whether no further seed is wanted: it is decided, or there are as many as allowed."""
        return len(differences) >= self.most or (
            len(differences) >= self.least and self.look(differences).decision != "undecided"
        )

    def _decide(self, low: float, high: float) -> Decision:
        """The decision where larger is better."""
        if low > 0:
            return "better"
        if high < 0:
            return "worse"
        equal = low == high == 0 or (self.region is not None and -self.region < low and high < self.region)
        return "same" if equal else "undecided"


def e_values(differences: np.ndarray, effect: float) -> np.ndarray:
    """The e-value against a mean of 0 after each of N differences (..., N); 1 after the first."""
    n_N, mean, std = _beginnings(differences)
    g_N = 1 + n_N * effect**2
    with np.errstate(divide="ignore", invalid="ignore"):
        # t^2 / (n - 1) over 1 + t^2 / (n - 1): 0 without any difference, 1 where all are the same
        share = np.where(mean == 0, 0.0, mean**2 / (mean**2 + std**2 * (n_N - 1) / n_N))
    log_e = -np.log(g_N) / 2 - n_N / 2 * np.log1p(-share * (1 - 1 / g_N))
    return np.where(n_N == 1, 1.0, np.exp(log_e))


def intervals(differences: np.ndarray, effect: float, alpha: float = ALPHA) -> tuple[np.ndarray, np.ndarray]:
    """The confidence sequence of the mean after each of N differences (..., N): ends, infinite while too few."""
    n_N, mean, std = _beginnings(differences)
    g_N = 1 + n_N * effect**2
    c_N = (np.sqrt(g_N) / alpha) ** (2 / n_N)  # where the e-value is 1 / alpha
    bounded = (c_N < g_N) & (n_N > 1)
    t2_N = np.where(bounded, (n_N - 1) * (c_N - 1) / np.where(bounded, 1 - c_N / g_N, 1), 0)
    half = np.where(bounded, np.sqrt(t2_N / n_N) * std, np.inf)
    return mean - half, mean + half


def _beginnings(differences: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """n, mean and standard deviation (ddof 1; 0 of one) of the first 1, 2, ..., N differences (..., N)."""
    d = np.asarray(differences, dtype=float)
    n_N = np.arange(1, d.shape[-1] + 1)
    moved = d - d[..., :1]  # equal differences have a standard deviation of 0, to the last bit
    mean = np.cumsum(moved, axis=-1) / n_N
    squares = np.cumsum(moved**2, axis=-1) - n_N * mean**2
    return n_N, mean + d[..., :1], np.sqrt(np.maximum(squares, 0) / np.maximum(n_N - 1, 1))
