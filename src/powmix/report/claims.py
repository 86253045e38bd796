"""The paper's claims, checked on our runs: reproduced, not reproduced, undecided, or not run (`contests`).

What is claimed stands in paper.yaml, and which function checks it: those of Tables 2 and 3 and of Figures 3 and 4 here,
those of Figures 5 to 8 in `figure_claims`.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from powmix.data.registry import TITLES as DATASETS
from powmix.metrics.columns import metric
from powmix.metrics.statistics import BOOTSTRAP_SEED, MIN_VERDICT
from powmix.mixing.registry import TITLES as MIXERS
from powmix.models.registry import TITLES as MODELS
from powmix.report import figure_claims
from powmix.report.contests import (
    NOT,
    NOT_RUN,
    REPRODUCED,
    UNDECIDED,
    Contest,
    Finding,
    Runs,
    decide,
    in_both_metrics,
    printed_rows,
    rival_of,
    undecided,
    values_of,
)
from powmix.report.published import Published, statements
from powmix.report.table import Row, Table

RESAMPLES = 1000


@dataclass(frozen=True)
class Checked:
    """One claim with its finding."""

    name: str
    where: str
    says: str
    published: str
    finding: Finding


def check(table: Table, published: Published) -> list[Checked]:
    """Every claim of paper.yaml on the runs of a table."""
    runs = Runs(table, published)
    found = []
    for claim in statements("claims"):
        options = {k: v for k, v in claim.items() if k not in ("name", "where", "says", "published", "check")}
        made = CHECKS[claim["check"]](runs, **options)
        finding = made if isinstance(made, Finding) else decide(list(made))
        found.append(Checked(claim["name"], claim["where"], claim["says"], str(claim["published"]), finding))
    return found


CLAIMS = "The paper's claims"
CLAIM_COLUMNS = ("Where", "Claim", "Published", "Ours", "95% CI", "Verdict")


def claim_cells(one: Checked) -> tuple[str, ...]:
    """A claim as the cells of a row."""
    return one.where, one.says, one.published, one.finding.ours, one.finding.interval, one.finding.verdict


def beats(runs: Runs, rivals: Sequence[str]) -> Iterator[Contest]:
    """PowMix against each rival in every cell of Table 2."""
    printed = printed_rows(runs, "table2")
    for (dataset, model, mixer, _), known in printed.items():
        if mixer != "powmix":
            continue
        ours = runs.row(dataset, model, mixer)
        for rival in rivals:
            other = rival_of(runs, ours, dataset, model, rival)
            for key, value in known.values.items():
                place = f"{DATASETS[dataset]}, {MODELS[model]}" + (
                    "" if rival == "none" else f" against {MIXERS[rival]}"
                )
                gap = value - printed[(dataset, model, rival, None)].values[key]
                yield Contest(place, metric(key), values_of(ours, key), values_of(other, key), gap)


def fails(runs: Runs, count: str) -> Finding:
    """How many cells of Table 2 the two other mixers do not improve, at the printed precision.

    count: `cells` (a mixer, a metric), or `metrics` (failed where at least one of the two mixers fails). The interval
    is a percentile bootstrap over seeds; the claim is a majority, undecided on fewer than MIN_VERDICT paired seeds.
    """
    printed = printed_rows(runs, "table2")
    gaps: dict[tuple, list[tuple[np.ndarray, int]]] = {}
    expected = 0
    for (dataset, model, mixer, _), known in printed.items():
        if mixer not in ("manifold_mixup", "multimix"):
            continue
        expected += len(known.values)
        ours = runs.row(dataset, model, mixer)
        for key in known.values:
            side, rival = values_of(ours, key), values_of(ours and rival_of(runs, ours, dataset, model, "none"), key)
            seeds = sorted(side.keys() & rival.keys())
            if seeds:
                m = metric(key)
                d_N = np.array([m.sign * m.scale * (side[s] - rival[s]) for s in seeds])
                gaps.setdefault((dataset, model, key), []).append((d_N, m.decimals))
    n_run = sum(map(len, gaps.values()))
    if not n_run:
        return Finding("—", "—", NOT_RUN)
    total = n_run if count == "cells" else len(gaps)
    failed = _failed(gaps, count, None)
    rng = np.random.default_rng(BOOTSTRAP_SEED)
    shares = [_failed(gaps, count, rng) / total for _ in range(RESAMPLES)]
    low, high = np.percentile(shares, [2.5, 97.5])
    told = f"{failed} of {total} {count} ({failed / total:.0%})"
    if n_run < expected:
        return Finding(told, f"[{low:.0%}, {high:.0%}]", f"{UNDECIDED} ({n_run} of {expected} cells are run)")
    fewest = min(len(d_N) for members in gaps.values() for d_N, _ in members)
    if fewest < MIN_VERDICT:
        return Finding(told, f"[{low:.0%}, {high:.0%}]", undecided(MIN_VERDICT - fewest))
    verdict = REPRODUCED if low > 0.5 else NOT if high < 0.5 else f"{UNDECIDED} (needs more seeds)"
    return Finding(told, f"[{low:.0%}, {high:.0%}]", verdict)


def _failed(gaps: Mapping[tuple, list], count: str, rng: np.random.Generator | None) -> int:
    """How many do not improve, on the seeds as they are or on a resample that a model's cells share."""
    drawn: dict[tuple, np.ndarray] = {}
    found = 0
    for (dataset, model, _), members in gaps.items():
        lost = []
        for d_N, decimals in members:
            if rng is not None:
                index = drawn.setdefault((dataset, model, len(d_N)), rng.integers(len(d_N), size=len(d_N)))
                d_N = d_N[index]
            lost.append(round(float(d_N.mean()), decimals) <= 0)
        found += sum(lost) if count == "cells" else any(lost)
    return found


# --- Figures 3 and 4, Table 3 -----------------------------------------------------------------------------------------


def order(runs: Runs, p_scope: str) -> Iterator[Contest]:
    """Each range of Figure 3 against the next."""
    for (name, better), (other, worse) in pairwise(_ranges(runs, p_scope)):
        yield from in_both_metrics(f"{name} against {other}", better, worse)


def ranges(runs: Runs, p_scope: str) -> Iterator[Contest]:
    """Each range of Figure 3 against no mixing."""
    for name, row in _ranges(runs, p_scope):
        yield from in_both_metrics(name, row, row and rival_of(runs, row, *_study(), "none"))


def n_out(runs: Runs) -> Iterator[Contest]:
    """Each n_O of Figure 4 against no mixing."""
    for value in _n_outs(runs):
        row = runs.row(*_study(), "powmix", n_out=value)
        yield from in_both_metrics(f"n_O = {value}", row, row and rival_of(runs, row, *_study(), "none"))


def n_out_best(runs: Runs) -> Iterator[Contest]:
    """The best n_O of Figure 4 against each other."""
    best = statements("figures")["figure4"]["best"]
    for value in _n_outs(runs):
        if value != best:
            sides = (runs.row(*_study(), "powmix", n_out=n) for n in (best, value))
            yield from in_both_metrics(f"n_O = {best} against {value}", *sides)


def components(runs: Runs) -> Iterator[Contest]:
    """PowMix whole against PowMix less each component, in the metrics of Table 3."""
    whole = runs.row(*_study(), "powmix")
    for ablation in runs.ablations:
        yield from _ablated(runs, f"against {ablation}", whole, None, ablation)


def dynamic(runs: Runs) -> Iterator[Contest]:
    """PowMix less every other component against PowMix without dynamic mixing."""
    for ablation in runs.ablations:
        if ablation != "static":
            row = runs.row(*_study(), "powmix", ablation)
            yield from _ablated(runs, f"{ablation} against static", row, ablation, "static")


def _ablated(runs: Runs, where: str, better: Row | None, name: str | None, ablation: str) -> Iterator[Contest]:
    printed = printed_rows(runs, "table3")
    one, other = (printed[(*_study(), "powmix", key)] for key in (name, ablation))
    worse = runs.row(*_study(), "powmix", ablation)
    for key in other.values:
        gap = one.values[key] - other.values[key]
        yield Contest(where, metric(key), values_of(better, key), values_of(worse, key), gap or None)


def _study() -> tuple[str, str]:
    """The dataset and the model of the paper's ablations."""
    stated = statements("figures")["figure3"]
    return stated["dataset"], stated["model"]


def _ranges(runs: Runs, p_scope: str) -> list[tuple[str, Row | None]]:
    stated = statements("figures")["figure3"]["ranges_best_first"]
    return [(f"U({a}, {b})", runs.row(*_study(), "powmix", subset=[a, b], p_scope=p_scope)) for a, b in stated]


def _n_outs(runs: Runs) -> list[int]:
    return sorted({*statements("figures")["figure4"]["named_values"], *runs.n_outs(*_study())})


CHECKS = {
    one.__name__: one
    for one in (
        *(beats, fails, order, ranges, n_out, n_out_best, components, dynamic),
        *(
            figure_claims.heads,
            figure_claims.slope,
            figure_claims.noise,
            figure_claims.falls,
            figure_claims.dominance,
            figure_claims.sizes,
            figure_claims.least_data,
        ),
    )
}
