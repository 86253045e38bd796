"""The paper's claims, checked on our runs: reproduced, not reproduced, undecided, or not run (`contests`).

What is claimed stands in paper.yaml, and which function here checks it. Two claims are no contests: a share of cells
(`fails`) and an absence of change (`slope`).
"""

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from statistics import fmean
from typing import Any

import numpy as np

from powmix.metrics.columns import DATASETS, Metric, metric
from powmix.metrics.statistics import BOOTSTRAP_SEED, Comparison, compare, seeds_needed
from powmix.mixing.registry import TITLES as MIXERS
from powmix.models.registry import TITLES as MODELS
from powmix.report.analyses import KINDS, answer, by_seed, curve
from powmix.report.contests import NOT, NOT_RUN, REPRODUCED, UNDECIDED, Contest, Finding, Seeds, decide, undecided
from powmix.report.published import Published, PublishedRow, statements
from powmix.report.table import Row, Table, fraction
from powmix.report.verdict import show_interval

FIGURES = ("Non0_acc_2", "MAE")
"""The metrics of the paper's figures."""
SLOPE_MARGIN = 0.2
"""A slope counts as unchanged within this part of the one without mixing; ours, the paper says `not significantly`."""
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


class Runs:
    """Our rows by what the paper calls them."""

    def __init__(self, table: Table, published: Published) -> None:
        self.rows = [row for row in table.rows if (row.record.protocol, row.record.task) == ("published", "regression")]
        self.published = published
        self.settings = statements("settings")
        self.ablations = statements("ablations")

    def row(
        self, dataset: str, model: str, mixer: str, ablation: str | None = None, part: float = 1.0, **options: Any
    ) -> Row | None:
        """The one row with the paper's mixing settings, changed by `options`; None where there is none or several."""
        tuned = self.published.tuned.get((dataset, model, mixer), {})
        wanted = {**self.settings.get(mixer, {}), **tuned, **self.ablations.get(ablation or "", {}), **options}
        names = (dataset, model, mixer, ablation, part)
        found = [
            row
            for row in self.rows
            if (r := row.record) and (r.dataset, r.model, r.mixer, r.ablation, fraction(r)) == names
            if all(r.mixing_options().get(key) == value for key, value in wanted.items())
        ]
        return found[0] if len(found) == 1 else None

    def parts(self, dataset: str, model: str) -> list[float]:
        """The parts of the training data that runs have used."""
        return sorted(
            {fraction(row.record) for row in self.rows if (row.record.dataset, row.record.model) == (dataset, model)}
        )

    def n_outs(self, dataset: str, model: str) -> list[int]:
        found = (row.record for row in self.rows if (row.record.dataset, row.record.model) == (dataset, model))
        return sorted(
            {r.mixing_options()["n_out"] for r in found if r.mixer == "powmix" and "n_out" in r.mixing_options()}
        )


# --- Table 2 ----------------------------------------------------------------------------------------------------------


def beats(runs: Runs, rivals: Sequence[str]) -> Iterator[Contest]:
    """PowMix against each rival in every cell of Table 2."""
    printed = _table(runs, "table2")
    for (dataset, model, mixer, _), known in printed.items():
        if mixer != "powmix":
            continue
        ours = runs.row(dataset, model, mixer)
        for rival in rivals:
            other = _rival(runs, ours, dataset, model, rival)
            for key, value in known.values.items():
                place = f"{DATASETS[dataset]}, {MODELS[model]}" + (
                    "" if rival == "none" else f" against {MIXERS[rival]}"
                )
                gap = value - printed[(dataset, model, rival, None)].values[key]
                yield Contest(place, metric(key), _values(ours, key), _values(other, key), gap)


def fails(runs: Runs, count: str) -> Finding:
    """How many cells of Table 2 the two other mixers do not improve, at the printed precision.

    count: `cells` (a mixer, a metric), or `metrics` (failed where at least one of the two mixers fails). The interval
    is a percentile bootstrap over seeds; the claim is a majority.
    """
    printed = _table(runs, "table2")
    gaps: dict[tuple, list[np.ndarray]] = {}
    expected = 0
    for (dataset, model, mixer, _), known in printed.items():
        if mixer not in ("manifold_mixup", "multimix"):
            continue
        expected += len(known.values)
        ours = runs.row(dataset, model, mixer)
        for key in known.values:
            side, rival = _values(ours, key), _values(ours and _rival(runs, ours, dataset, model, "none"), key)
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
    ours = f"{failed} of {total} {count} ({failed / total:.0%})"
    if n_run < expected:
        return Finding(ours, f"[{low:.0%}, {high:.0%}]", f"{UNDECIDED} ({n_run} of {expected} cells are run)")
    verdict = REPRODUCED if low > 0.5 else NOT if high < 0.5 else f"{UNDECIDED} (needs more seeds)"
    return Finding(ours, f"[{low:.0%}, {high:.0%}]", verdict)


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
        yield from _both(f"{name} against {other}", better, worse)


def ranges(runs: Runs, p_scope: str) -> Iterator[Contest]:
    """Each range of Figure 3 against no mixing."""
    for name, row in _ranges(runs, p_scope):
        yield from _both(name, row, row and _rival(runs, row, *_study(), "none"))


def n_out(runs: Runs) -> Iterator[Contest]:
    """Each n_O of Figure 4 against no mixing."""
    for value in _n_outs(runs):
        row = runs.row(*_study(), "powmix", n_out=value)
        yield from _both(f"n_O = {value}", row, row and _rival(runs, row, *_study(), "none"))


def n_out_best(runs: Runs) -> Iterator[Contest]:
    """The best n_O of Figure 4 against each other."""
    best = statements("figures")["figure4"]["best"]
    for value in _n_outs(runs):
        if value != best:
            sides = (runs.row(*_study(), "powmix", n_out=n) for n in (best, value))
            yield from _both(f"n_O = {best} against {value}", *sides)


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
    printed = _table(runs, "table3")
    one, other = (printed[(*_study(), "powmix", key)] for key in (name, ablation))
    worse = runs.row(*_study(), "powmix", ablation)
    for key in other.values:
        gap = one.values[key] - other.values[key]
        yield Contest(where, metric(key), _values(better, key), _values(worse, key), gap or None)


def _study() -> tuple[str, str]:
    """The dataset and the model of the paper's ablations."""
    stated = statements("figures")["figure3"]
    return stated["dataset"], stated["model"]


def _ranges(runs: Runs, p_scope: str) -> list[tuple[str, Row | None]]:
    stated = statements("figures")["figure3"]["ranges_best_first"]
    return [(f"U({a}, {b})", runs.row(*_study(), "powmix", subset=[a, b], p_scope=p_scope)) for a, b in stated]


def _n_outs(runs: Runs) -> list[int]:
    return sorted({*statements("figures")["figure4"]["named_values"], *runs.n_outs(*_study())})


# --- Figures 5 to 8 ---------------------------------------------------------------------------------------------------


def heads(runs: Runs, model: str) -> Iterator[Contest]:
    """The probes of Figure 5 with PowMix against those without, in Acc-2."""
    m = metric("Non0_acc_2")
    for target, gain in statements("figures")["figure5"][model].items():
        sides = [row and by_seed(row.record, "unimodal", m.key, target=target) for row in _pair(runs, model)]
        yield Contest(f"{MODELS[model]}, {target}", m, sides[0] or {}, sides[1] or {}, gain / m.scale)


def slope(runs: Runs) -> Finding:
    """The slope of Figure 6's curves with and without PowMix: unchanged within SLOPE_MARGIN of the one without."""
    found, expected = [], 0
    for model in statements("figures")["figure6"]["models"]:
        for m in map(metric, FIGURES):
            expected += 1
            side, rival = (_slopes(row, m) for row in _pair(runs, model))
            c = compare(side, rival, m.higher_is_better)
            if c is not None:
                found.append((f"{MODELS[model]}, {m.label}", m, c, SLOPE_MARGIN * abs(fmean(rival.values()))))
    if not found:
        return Finding("—", "—", NOT_RUN)
    where, m, c, margin = max(found, key=lambda one: _reach(one[2]) / (one[3] or 1e-12))
    ours = f"{where}: change of slope {m.show_difference(c.difference)}, margin ±{m.show(margin)}"
    outside = any(c.ci and (c.ci[0] > margin or c.ci[1] < -margin) for _, _, c, margin in found)
    inside = all(_reach(c) <= margin for _, _, c, margin in found)
    if outside:
        verdict = NOT
    elif inside and len(found) == expected:
        verdict = REPRODUCED
    elif inside:
        verdict = f"{UNDECIDED} (the rest is not run)"
    else:
        more = [seeds_needed(margin, c.std or 0.0) - c.n for _, _, c, margin in found if _reach(c) > margin]
        verdict = undecided(max(1, *more, 1))
    return Finding(ours, show_interval(c, m), verdict)


def noise(runs: Runs) -> Iterator[Contest]:
    """PowMix against no mixing, averaged over the levels of Figure 6."""
    for model in statements("figures")["figure6"]["models"]:
        for m in map(metric, FIGURES):
            sides = [answer(row.record, "noise", m) if row else {} for row in _pair(runs, model)]
            yield Contest(f"{MODELS[model]}, noise", m, *sides)


def falls(runs: Runs) -> Iterator[Contest]:
    """What MulT loses between no noise and the most, against what Self-MM loses, with PowMix and without."""
    pairs = {model: _pair(runs, model) for model in ("mult", "self_mm")}
    for i, mixer in enumerate(("powmix", "none")):
        for m in map(metric, FIGURES):
            loss = Metric(m.key, f"loss of {m.label}", higher_is_better=False, scale=m.scale, decimals=m.decimals)
            sides = [_losses(pairs[model][i], m) for model in ("mult", "self_mm")]
            yield Contest(f"MulT against Self-MM, {MIXERS[mixer]}", loss, *sides)


def dominance(runs: Runs) -> Iterator[Contest]:
    """PowMix against no mixing at every level of Figure 7."""
    for model in statements("figures")["figure7"]["models"]:
        for m in map(metric, FIGURES):
            side, rival = (_curves(row, "dominance", m) for row in _pair(runs, model))
            levels = sorted({p for by_p in (*side.values(), *rival.values()) for p in by_p if p > 0}) or [None]
            for p in levels:
                at = [{seed: by_p[p] for seed, by_p in found.items() if p in by_p} for found in (side, rival)]
                yield Contest(f"{MODELS[model]}, {p or 0:.0%} of the text lost", m, *at)


def sizes(runs: Runs) -> Iterator[Contest]:
    """PowMix against no mixing on every part of the data of Figure 8, 10 and 20 % among them."""
    study = _figure8()
    for part in sorted({0.1, 0.2, *runs.parts(*study)}):
        for m in map(metric, FIGURES):
            side, rival = (runs.row(*study, mixer, part=part) for mixer in ("powmix", "none"))
            yield Contest(f"{part:.0%} of the data", m, _values(side, m.key), _values(rival, m.key))


def least_data(runs: Runs) -> Iterator[Contest]:
    """The gain on 10 and 20 % of the data: as printed against no mixing, and against the gain on larger parts."""
    study, printed = _figure8(), statements("figures")["figure8"]["between_10_and_20_percent"]
    larger = [part for part in runs.parts(*study) if part > 0.2]
    for m in map(metric, FIGURES):
        few, many = _gains(runs, study, [0.1, 0.2], m), _gains(runs, study, larger, m)
        yield Contest("10 to 20 % of the data", m, few, dict.fromkeys(few, 0.0), printed[m.key] / m.scale)
        yield Contest("its gain against that of larger parts", m, few, many)


def _figure8() -> tuple[str, str]:
    stated = statements("figures")["figure8"]
    return stated["dataset"], stated["model"]


def _gains(runs: Runs, study: tuple[str, str], parts: Sequence[float], m: Metric) -> dict[int, float]:
    """{seed: PowMix minus no mixing, averaged over parts of the data}, of the seeds that all of them have."""
    found = []
    for part in parts:
        side, rival = (_values(runs.row(*study, mixer, part=part), m.key) for mixer in ("powmix", "none"))
        found.append({seed: side[seed] - rival[seed] for seed in side.keys() & rival.keys()})
    shared = set.intersection(*map(set, found)) if found else set()
    return {seed: fmean(gains[seed] for gains in found) for seed in sorted(shared)}


def _pair(runs: Runs, model: str) -> tuple[Row | None, Row | None]:
    """(with PowMix, without) of a model on the analyses' dataset."""
    dataset = statements("figures")["figure6"]["dataset"]
    row = runs.row(dataset, model, "powmix")
    return row, _rival(runs, row, dataset, model, "none")


def _curves(row: Row | None, name: str, m: Metric) -> dict[int, dict[float, float]]:
    return curve(row.record.analysis(name), m.key, KINDS[name]) if row else {}


def _slopes(row: Row | None, m: Metric) -> dict[int, float]:
    """{seed: least-squares slope of the metric over the probability of noise}."""
    curves = _curves(row, "noise", m)
    return {
        seed: float(np.polyfit(list(by_p), list(by_p.values()), 1)[0]) for seed, by_p in curves.items() if len(by_p) > 1
    }


def _losses(row: Row | None, m: Metric) -> dict[int, float]:
    """{seed: how much worse the metric is at the most noise than without}."""
    curves, sign = _curves(row, "noise", m), metric(m.key).sign
    return {seed: sign * (by_p[min(by_p)] - by_p[max(by_p)]) for seed, by_p in curves.items()}


def _reach(c: Comparison) -> float:
    """The end of the interval that is farther from 0."""
    return max(map(abs, c.ci)) if c.ci else math.inf


# --- rows and values --------------------------------------------------------------------------------------------------


def _table(runs: Runs, name: str) -> dict[tuple[str, str, str, str | None], PublishedRow]:
    [found] = [table for table in runs.published.tables if table.name == name]
    return {(*row.variant, row.ablation): row for row in found.rows}


def _rival(runs: Runs, row: Row | None, dataset: str, model: str, mixer: str) -> Row | None:
    """Another mixer's row; without mixing, the one that was trained most like `row`."""
    if mixer != "none" or row is None or row.baseline is None:
        return runs.row(dataset, model, mixer)
    return next((other for other in runs.rows if other.record is row.baseline), None)


def _values(row: Row | None, key: str) -> Seeds:
    return row.record.values(key) if row else {}


def _both(where: str, side: Row | None, rival: Row | None) -> Iterator[Contest]:
    """A contest in each metric of the paper's figures."""
    for key in FIGURES:
        yield Contest(where, metric(key), _values(side, key), _values(rival, key))


CHECKS = {
    one.__name__: one
    for one in (
        *(beats, fails, order, ranges, n_out, n_out_best, components, dynamic),
        *(heads, slope, noise, falls, dominance, sizes, least_data),
    )
}
