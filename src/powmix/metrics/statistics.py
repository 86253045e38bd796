"""Statistics over seeds: spread, intervals, paired comparisons with the baseline, Holm's correction, seeds needed.

One rule for intervals: Student's, none under three seeds. With few seeds a p-value says little: below the minima here a
comparison says so instead (`reason`). docs/verdicts.md says how the report turns them into words.
"""

import math
import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np  # scipy only where it is asked: scipy.special takes a quarter of a second, scipy.stats most of one

LEVEL = 0.95
ALPHA = 0.05
RESAMPLES = 2000
BOOTSTRAP_SEED = 2312
MIN_INTERVAL = 3  # seeds: with two, a bootstrap knows three values and t has 12.7 standard errors on each side
MIN_T = 3
MIN_VERDICT = 5  # paired seeds: with three, the std comes out under half the true one in 22 % of all cases, now in 9 %
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

    def within(self, region: float) -> bool:
        """Whether two one-sided t-tests at 5 % show that the mean difference is smaller than `region` (TOST).

        That is where the 90 % interval lies within -region .. region (Schuirmann 1987).
        """
        if self.std is None or self.n < MIN_INTERVAL:
            return False
        return all(abs(bound) < region for bound in interval(self.difference, self.std, self.n, 1 - 2 * ALPHA))


def summarise(values: Sequence[float]) -> Summary:
    """Mean, std (ddof=1) and Student's interval of the mean; ValueError without values."""
    if not len(values):
        raise ValueError("summarise: got no values")
    x_N = np.asarray(values, dtype=float)
    std = float(x_N.std(ddof=1)) if len(x_N) > 1 else None
    return Summary(len(x_N), float(x_N.mean()), std, student_interval(x_N.tolist()))


def spread(records: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Over seeds' records: mean, std and ci95 of every metric by split, as `summarise` gives them."""
    out: dict[str, Any] = {"mean": {}, "std": {}, "ci95": {}}
    for split in ("validation", "test"):
        found = {name: summarise([record[split][name] for record in records]) for name in records[0][split]}
        out["mean"][split] = {name: summary.mean for name, summary in found.items()}
        out["std"][split] = {name: summary.std for name, summary in found.items()}
        out["ci95"][split] = {name: summary.ci and list(summary.ci) for name, summary in found.items()}
    return out


def bootstrap_interval(values: Sequence[float]) -> Interval | None:
    """Percentile bootstrap interval of the mean, the same for the same values; None under MIN_INTERVAL values."""
    x_N = np.asarray(values, dtype=float)
    if len(x_N) < MIN_INTERVAL:
        return None
    if np.ptp(x_N) == 0:
        return float(x_N[0]), float(x_N[0])
    from scipy import stats

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
    return interval(float(x_N.mean()), float(x_N.std(ddof=1)), len(x_N))


def interval(mean: float, std: float, n: int, level: float = LEVEL) -> Interval:
    """Student's t interval of a mean of n >= 2 values with that standard deviation (ddof 1)."""
    from scipy.special import stdtrit

    half = float(stdtrit(n - 1, 0.5 + level / 2)) * std / math.sqrt(n)
    return mean - half, mean + half


def compare(variant: Mapping[Any, float], baseline: Mapping[Any, float], higher_is_better: bool) -> Comparison | None:
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
    from scipy import stats

    return float(stats.wilcoxon(d_N).pvalue)


def paired_t(differences: Sequence[float]) -> float | None:
    """Two-sided paired t-test; 1 where nothing differs, None under MIN_T pairs or where differences do not vary."""
    d_N = np.asarray(differences, dtype=float)
    if len(d_N) < MIN_T:
        return None
    if np.ptp(d_N) == 0:
        return None if d_N.any() else 1.0
    from scipy import stats

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


def seeds_needed(difference: float, std: float, alpha: float = ALPHA) -> float:
    """The least number of seeds with which a two-sided paired t-test finds the difference with 80 % power.

    difference: true mean of the paired differences. std: theirs, ddof 1. alpha: the test's level. Exact, by the
    noncentral t distribution; inf where there is no difference, or more than MOST_SEEDS would be needed.
    """
    if difference == 0:
        return math.inf
    if std == 0:
        return 2
    return _least(lambda n: power(abs(difference) / std, n, alpha) >= POWER)


def seeds_to_equate(difference: float, std: float, region: float) -> float:
    """The least number of seeds with which `Comparison.within` holds for that region with 80 % power.

    difference, std: as in `seeds_needed`. The power is bounded from below by that of each one-sided test, which is
    exact to the third digit where it is 80 %. inf where the difference lies outside the region, or beyond MOST_SEEDS.
    """
    if abs(difference) >= region:
        return math.inf
    if std == 0:
        return 2

    from scipy.special import stdtrit
    from scipy.stats import nct

    def enough(n: int) -> bool:
        limit, root = stdtrit(n - 1, 1 - ALPHA), math.sqrt(n)
        missed = (nct.cdf(limit, n - 1, (region + sign * difference) / std * root) for sign in (-1, 1))
        return sum(missed) <= 1 - POWER

    return _least(enough)


def _least(enough: Callable[[int], bool]) -> float:
    """The least n >= 2 that is enough, where more is never too little; inf beyond MOST_SEEDS."""
    low, high = 1, 2
    while not enough(high):
        low, high = high, 2 * high
        if high > MOST_SEEDS:
            return math.inf
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if enough(middle) else (middle, high)
    return high


def power(effect: float, n: int, alpha: float = ALPHA) -> float:
    """P(a two-sided paired t-test at that level rejects), n >= 2 pairs; effect: mean difference over their std."""
    from scipy.special import stdtrit
    from scipy.stats import nct

    limit, shift = stdtrit(n - 1, 1 - alpha / 2), effect * math.sqrt(n)
    return float(nct.sf(limit, n - 1, shift) + nct.cdf(-limit, n - 1, shift))
