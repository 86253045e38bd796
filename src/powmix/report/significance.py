"""Statistics over seeds: spread, bootstrap intervals, paired comparisons with the baseline, Holm's correction.

Below the minima here, an interval or a p-value says nothing: a comparison then gives the reason instead (`reason`).
"""

import math
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
from scipy import stats

LEVEL = 0.95
RESAMPLES = 2000
BOOTSTRAP_SEED = 2312
MIN_INTERVAL = 3  # seeds: with two, a bootstrap knows three values and t has 12.7 standard errors on each side
MIN_T = 3
POWER = 0.8
MOST_SEEDS = 10_000
MIN_WILCOXON = 6  # pairs: with five, the smallest two-sided p-value possible is 2/2^5 = 0.0625

Interval = tuple[float, float]


@dataclass(frozen=True)
class Summary:
    """One metric of one variant over its seeds; std has ddof=1 and is None for one seed."""

    n: int
    mean: float
    std: float | None
    ci: Interval | None


@dataclass(frozen=True)
class Comparison:
    """A variant against its baseline on the seeds both have; `difference` is variant minus baseline.

    `ci` is Student's interval of the mean paired difference (it agrees with `p_t`), `bootstrap` the percentile
    bootstrap of the same, `std` the standard deviation of the paired differences (ddof 1, None for one); `wins` counts
    seeds on which the variant is better, ties half; `p_*_holm` are corrected over the table. `probability` is the
    probability of improvement over all pairs of seeds (Agarwal et al. 2021).
    """

    n: int
    difference: float
    ci: Interval | None
    bootstrap: Interval | None
    p_wilcoxon: float | None
    p_t: float | None
    wins: float
    probability: float
    std: float | None = None
    reason: str | None = None
    p_wilcoxon_holm: float | None = None
    p_t_holm: float | None = None


def summarise(values: Sequence[float]) -> Summary:
    """Mean, std (ddof=1) and percentile bootstrap interval of the mean; ValueError without values."""
    if not len(values):
        raise ValueError("summarise: got no values")
    x_N = np.asarray(values, dtype=float)
    std = float(x_N.std(ddof=1)) if len(x_N) > 1 else None
    return Summary(len(x_N), float(x_N.mean()), std, bootstrap_interval(x_N))


def bootstrap_interval(values: Sequence[float]) -> Interval | None:
    """Percentile bootstrap interval of the mean, the same for the same values; None under MIN_INTERVAL values."""
    x_N = np.asarray(values, dtype=float)
    if len(x_N) < MIN_INTERVAL:
        return None
    if np.ptp(x_N) == 0:
        return float(x_N[0]), float(x_N[0])
    result = stats.bootstrap(
        (x_N,),
        np.mean,
        n_resamples=RESAMPLES,
        confidence_level=LEVEL,
        method="percentile",
        rng=np.random.default_rng(BOOTSTRAP_SEED),
    )
    return float(result.confidence_interval.low), float(result.confidence_interval.high)


def student_interval(values: Sequence[float]) -> Interval | None:
    """Student's t interval of the mean; None under MIN_INTERVAL values."""
    x_N = np.asarray(values, dtype=float)
    if len(x_N) < MIN_INTERVAL:
        return None
    half = float(stats.t.ppf(0.5 + LEVEL / 2, len(x_N) - 1) * x_N.std(ddof=1) / np.sqrt(len(x_N)))
    return float(x_N.mean()) - half, float(x_N.mean()) + half


def compare(variant: Mapping[int, float], baseline: Mapping[int, float], higher_is_better: bool) -> Comparison | None:
    """{seed: value} of a variant and of its baseline -> paired comparison; None where no seed is shared."""
    seeds = sorted(set(variant) & set(baseline))
    if not seeds:
        return None
    x_N = np.array([variant[seed] for seed in seeds], dtype=float)
    y_N = np.array([baseline[seed] for seed in seeds], dtype=float)
    d_N = x_N - y_N
    better_N = d_N if higher_is_better else -d_N
    return Comparison(
        n=len(seeds),
        difference=float(d_N.mean()),
        ci=student_interval(d_N),
        bootstrap=bootstrap_interval(d_N),
        p_wilcoxon=wilcoxon(d_N),
        p_t=paired_t(d_N),
        wins=float((better_N > 0).sum() + 0.5 * (better_N == 0).sum()),
        probability=probability_of_improvement(list(variant.values()), list(baseline.values()), higher_is_better),
        std=float(d_N.std(ddof=1)) if len(d_N) > 1 else None,
        reason=too_few(len(seeds)),
    )


def too_few(n: int) -> str | None:
    """What cannot be said with n paired seeds, or None."""
    if n < MIN_T:
        return f"{n} paired seed{'s' * (n != 1)}: too few for an interval or a test (at least {MIN_T})"
    if n < MIN_WILCOXON:
        return (
            f"{n} paired seeds: too few for Wilcoxon (at least {MIN_WILCOXON}; its smallest p would be {2 / 2**n:.4g})"
        )
    return None


def wilcoxon(differences: Sequence[float]) -> float | None:
    """Two-sided Wilcoxon signed-rank p-value; 1 where nothing differs, None under MIN_WILCOXON pairs."""
    d_N = np.asarray(differences, dtype=float)
    if len(d_N) < MIN_WILCOXON:
        return None
    if not d_N.any():
        return 1.0
    return float(stats.wilcoxon(d_N).pvalue)


def paired_t(differences: Sequence[float]) -> float | None:
    """Two-sided paired t-test; 1 where nothing differs, None under MIN_T pairs or where differences do not vary."""
    d_N = np.asarray(differences, dtype=float)
    if len(d_N) < MIN_T:
        return None
    if np.ptp(d_N) == 0:
        return None if d_N.any() else 1.0
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)  # nearly equal differences: p is tiny either way
        return float(stats.ttest_1samp(d_N, 0.0).pvalue)


def probability_of_improvement(variant: Sequence[float], baseline: Sequence[float], higher_is_better: bool) -> float:
    """P(a seed of the variant beats a seed of the baseline), ties half: Mann-Whitney's U / (n m)."""
    x_N, y_M = np.asarray(variant, dtype=float), np.asarray(baseline, dtype=float)
    d_NM = (x_N[:, None] - y_M[None, :]) * (1 if higher_is_better else -1)
    return float((d_NM > 0).mean() + 0.5 * (d_NM == 0).mean())


def holm(p_values: Sequence[float | None]) -> list[float | None]:
    """Holm's step-down correction; None (no test) stays None and does not count in the family."""
    tested = sorted((p, i) for i, p in enumerate(p_values) if p is not None)
    corrected: list[float | None] = [None] * len(p_values)
    running = 0.0
    for rank, (p, i) in enumerate(tested):
        running = max(running, min(1.0, (len(tested) - rank) * p))
        corrected[i] = running
    return corrected


def correct(comparisons: Sequence[Comparison | None]) -> list[Comparison | None]:
    """Holm over all comparisons of a table, for each test apart."""
    wilcoxons = holm([c.p_wilcoxon if c else None for c in comparisons])
    ts = holm([c.p_t if c else None for c in comparisons])
    return [c and replace(c, p_wilcoxon_holm=w, p_t_holm=t) for c, w, t in zip(comparisons, wilcoxons, ts)]


def seeds_needed(difference: float, std: float) -> float:
    """The least number of seeds with which a paired t-test (two-sided, 5 %) finds the difference with 80 % power.

    difference: true mean of the paired differences. std: theirs, ddof 1. Exact, by the noncentral t distribution; inf
    where there is no difference, or more than MOST_SEEDS would be needed.
    """
    if difference == 0:
        return math.inf
    if std == 0:
        return 2
    effect = abs(difference) / std
    low, high = 1, 2
    while power(effect, high) < POWER:
        low, high = high, 2 * high
        if high > MOST_SEEDS:
            return math.inf
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if power(effect, middle) >= POWER else (middle, high)
    return high


def power(effect: float, n: int) -> float:
    """P(a two-sided paired t-test at 5 % rejects) for n >= 2 pairs; effect: mean of the differences / their std."""
    limit, shift = stats.t.ppf(0.5 + LEVEL / 2, n - 1), effect * math.sqrt(n)
    return float(stats.nct.sf(limit, n - 1, shift) + stats.nct.cdf(-limit, n - 1, shift))
