"""What stopping by `powmix.metrics.sequential` costs and is worth, and what shrinking over tasks is; by simulation.

python -m benchmarks.sequential                     the tables of docs/verdicts.md (half a minute)
python -m benchmarks.sequential --comparisons 2000

Paired differences of standard deviation 1, looked at after every seed up to 60; then effects on eight tasks.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable

import numpy as np
from scipy import stats

from powmix.metrics.meta_analysis import shrunken
from powmix.metrics.sequential import Sequential, intervals
from powmix.metrics.statistics import seeds_needed

MOST = 60
Draw = Callable[[np.random.Generator, int], np.ndarray]

LAWS: dict[str, Draw] = {
    "normal": lambda rng, count: rng.normal(size=(count, MOST)),
    "Student's t, 3 degrees of freedom": lambda rng, count: rng.standard_t(3, (count, MOST)) / np.sqrt(3),
    "normal, rounded to whole standard deviations": lambda rng, count: rng.normal(size=(count, MOST)).round(),
    "skewed (exponential)": lambda rng, count: rng.exponential(size=(count, MOST)) - 1,
    "very skewed (log-normal)": lambda rng, count: (rng.lognormal(size=(count, MOST)) - np.exp(0.5)) / 2.16,
}
"""Differences with mean 0."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--comparisons", type=int, default=20_000)
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args()
    rng, count = np.random.default_rng(given.seed), given.comparisons
    table(
        ("differences without effect", "t-test from 3 seeds", "sequence from 3", "from 10", "from 20"),
        [(name, *map(percent, false_decisions(draw(rng, count)))) for name, draw in LAWS.items()],
    )
    table(
        ("true effect", "tuned to .5", "tuned to 1", "tuned to 1.5", "t-test of fixed size"),
        [
            (f"{true:g}", *(seeds_used(rng, count, true, Sequential(effect=e)) for e in (0.5, 1.0, 1.5)), fixed(true))
            for true in (0.5, 1.0, 1.5)
        ],
    )
    table(
        ("R", "no effect: seeds", "called equal", "effect of R: called equal"),
        [(f"{r:g}", *equality(rng, count, r)) for r in (0.5, 1.0, 1.5)],
    )
    table(
        ("effect on validation", "correlation", "stops early", "t-test on test is wrong", "sequence on test is wrong"),
        [
            (f"{true:g}", f"{share:g}", *map(percent, stopped_on_validation(rng, count, true, share)))
            for true in (0.0, 0.5, 1.0)
            for share in (0.0, 0.5, 0.9, 1.0)
        ],
    )
    table(
        (
            "true tau",
            "interval of the mean holds",
            "intervals of the tasks hold",
            "error, shrunken",
            "error, own effect",
        ),
        [(f"{tau:g}", *over_tasks(rng, min(count, 500), tau)) for tau in (0.0, 0.3, 1.0, 3.0)],
    )


def table(head: tuple[str, ...], rows: list[tuple[str, ...]]) -> None:
    lines = [head, ("---",) * len(head), *rows]
    print("\n".join(f"| {' | '.join(line)} |" for line in lines), end="\n\n", flush=True)


def percent(share: float) -> str:
    return f"{100 * share:.1f} %"


def false_decisions(d_RN: np.ndarray) -> list[float]:
    """How often something is ever decided: by a t-test from 3 seeds on, by the sequence from 3, 10 and 20 on."""
    low_RN, high_RN = intervals(d_RN, Sequential().effect)
    outside_RN = (low_RN > 0) | (high_RN < 0)
    looks = ((significant(d_RN), 3), (outside_RN, 3), (outside_RN, 10), (outside_RN, 20))
    return [float(found_RN[:, first - 1 :].any(axis=1).mean()) for found_RN, first in looks]


def significant(d_RN: np.ndarray) -> np.ndarray:
    """Where a t-test at 5 % of the first n differences rejects; never for n < 3."""
    n_N = np.arange(1, d_RN.shape[1] + 1)
    mean_RN = np.cumsum(d_RN, axis=1) / n_N
    var_RN = (np.cumsum(d_RN**2, axis=1) / n_N - mean_RN**2) * n_N / np.maximum(n_N - 1, 1)
    limit_N = stats.t.ppf(0.975, np.maximum(n_N - 1, 1))
    return (n_N >= 3) & (np.abs(mean_RN) > limit_N * np.sqrt(np.maximum(var_RN, 0) / n_N))


def stops(d_RN: np.ndarray, plan: Sequential) -> tuple[np.ndarray, np.ndarray]:
    """Seeds used by each comparison, and what was decided: +1, -1, 0 for equal, nan for nothing."""
    low_RN, high_RN = intervals(d_RN, plan.effect, plan.alpha)
    decided_RN = np.where(low_RN > 0, 1.0, np.where(high_RN < 0, -1.0, np.nan))
    if plan.region is not None:
        inside_RN = (low_RN > -plan.region) & (high_RN < plan.region) & np.isnan(decided_RN)
        decided_RN[inside_RN] = 0.0
    decided_RN[:, : plan.least - 1] = np.nan
    open_RN = np.isnan(decided_RN)
    n_R = np.where(open_RN.all(axis=1), plan.most, open_RN.argmin(axis=1) + 1)
    return n_R, decided_RN[np.arange(len(n_R)), n_R - 1]


def seeds_used(rng: np.random.Generator, count: int, true: float, plan: Sequential) -> str:
    n_R, decided_R = stops(rng.normal(true, 1, (count, MOST)), plan)
    return f"{n_R.mean():.1f} (found by {MOST}: {percent(float((decided_R == 1).mean()))})"


def fixed(true: float) -> str:
    return f"{seeds_needed(true, 1.0)} (80 %)"


def equality(rng: np.random.Generator, count: int, r: float) -> tuple[str, str, str]:
    plan = Sequential(region=r)
    n_R, decided_R = stops(rng.normal(size=(count, MOST)), plan)
    _, wrong_R = stops(rng.normal(r, 1, (count, MOST)), plan)
    return f"{n_R.mean():.1f}", percent(float((decided_R == 0).mean())), percent(float((wrong_R == 0).mean()))


def stopped_on_validation(rng: np.random.Generator, count: int, true: float, share: float) -> tuple[float, ...]:
    """Differences without effect on test, stopped by those on validation: their noise has that correlation with it."""
    test_RN = rng.normal(size=(count, MOST))
    noise_RN = share * test_RN + np.sqrt(1 - share**2) * rng.normal(size=(count, MOST))
    n_R, _ = stops(true + noise_RN, Sequential())
    low_RN, high_RN = intervals(test_RN, Sequential().effect)
    outside_RN = (low_RN > 0) | (high_RN < 0)
    at = np.arange(count), n_R - 1
    return float((n_R < MOST).mean()), float(significant(test_RN)[at].mean()), float(outside_RN[at].mean())


def over_tasks(rng: np.random.Generator, count: int, tau: float, tasks: int = 8) -> tuple[str, ...]:
    """Coverage of both kinds of interval, and root mean square errors; standard errors between .3 and 2."""
    holds, inside, errors = [], [], []
    for _ in range(count):
        error_T = rng.uniform(0.3, 2, tasks)
        true_T = tau * rng.normal(size=tasks)
        y_T = true_T + error_T * rng.normal(size=tasks)
        found = shrunken(y_T, error_T)
        low_T, high_T = np.array(found.intervals).T
        holds.append(found.interval[0] < 0 < found.interval[1])
        inside.append((low_T < true_T) & (true_T < high_T))
        errors.append(((found.means - true_T) ** 2, (y_T - true_T) ** 2))
    own, drawn = np.sqrt(np.mean(errors, axis=(0, 2)))[::-1]
    return percent(float(np.mean(holds))), percent(float(np.mean(inside))), f"{drawn:.2f}", f"{own:.2f}"


if __name__ == "__main__":
    main()
