"""The claims of Figures 5 to 8: encoders, noise, lost text, limited data. What a verdict means: `contests`."""

import math
from collections.abc import Iterator, Mapping, Sequence
from statistics import fmean
from typing import Any

import numpy as np

from powmix.metrics.columns import Metric, metric
from powmix.metrics.statistics import MIN_VERDICT, Comparison, compare, seeds_needed
from powmix.mixing.registry import TITLES as MIXERS
from powmix.models.registry import TITLES as MODELS
from powmix.report.analyses import KINDS, answer, by_seed, curve
from powmix.report.contests import (
    FIGURES,
    NOT,
    NOT_RUN,
    REPRODUCED,
    UNDECIDED,
    Contest,
    Finding,
    Runs,
    rival_of,
    undecided,
    values_of,
)
from powmix.report.published import statements
from powmix.report.table import Row
from powmix.report.verdict import show_interval

SLOPE_MARGIN = 0.2
"""A slope counts as unchanged within this part of the one without mixing; ours, the paper says `not significantly`."""


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
    outside = any(c.ci and c.n >= MIN_VERDICT and (c.ci[0] > margin or c.ci[1] < -margin) for _, _, c, margin in found)
    inside = all(_reach(c) <= margin for _, _, c, margin in found)
    if outside:
        verdict = NOT
    elif inside and len(found) == expected:
        verdict = REPRODUCED
    elif inside:
        verdict = f"{UNDECIDED} (the rest is not run)"
    else:
        open_ = [(c, margin) for _, _, c, margin in found if _reach(c) > margin]
        verdict = undecided(
            max(max(seeds_needed(margin, c.std or 0.0), MIN_VERDICT, c.n + 1) - c.n for c, margin in open_)
        )
    return Finding(ours, show_interval(c, m), verdict)


def noise(runs: Runs) -> Iterator[Contest]:
    """PowMix against no mixing, averaged over the levels of Figure 6."""
    for model in statements("figures")["figure6"]["models"]:
        for m in map(metric, FIGURES):
            side, rival = (answer(row.record, "noise", m) if row else {} for row in _pair(runs, model))
            yield Contest(f"{MODELS[model]}, noise", m, side, rival)


def falls(runs: Runs) -> Iterator[Contest]:
    """What MulT loses between no noise and the most, against what Self-MM loses, with PowMix and without."""
    pairs = {model: _pair(runs, model) for model in ("mult", "self_mm")}
    for i, mixer in enumerate(("powmix", "none")):
        for m in map(metric, FIGURES):
            loss = Metric(m.key, f"loss of {m.label}", higher_is_better=False, scale=m.scale, decimals=m.decimals)
            side, rival = (_losses(pairs[model][i], m) for model in ("mult", "self_mm"))
            yield Contest(f"MulT against Self-MM, {MIXERS[mixer]}", loss, side, rival)


def dominance(runs: Runs) -> Iterator[Contest]:
    """PowMix against no mixing at every level of Figure 7."""
    for model in statements("figures")["figure7"]["models"]:
        for m in map(metric, FIGURES):
            side, rival = (_curves(row, "dominance", m) for row in _pair(runs, model))
            run = sorted({p for by_p in (*side.values(), *rival.values()) for p in by_p if p > 0})
            levels: list[float | None] = [*run] or [None]
            for p in levels:
                ours, theirs = ({seed: by_p[p] for seed, by_p in found.items() if p in by_p} for found in (side, rival))
                yield Contest(f"{MODELS[model]}, {p or 0:.0%} of the text lost", m, ours, theirs)


def sizes(runs: Runs) -> Iterator[Contest]:
    """PowMix against no mixing on every part of the data of Figure 8, 10 and 20 % among them."""
    study = _figure8()
    for part in sorted({0.1, 0.2, *runs.parts(*study)}):
        for m in map(metric, FIGURES):
            side, rival = (runs.row(*study, mixer, part=part) for mixer in ("powmix", "none"))
            yield Contest(f"{part:.0%} of the data", m, values_of(side, m.key), values_of(rival, m.key))


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
        side, rival = (values_of(runs.row(*study, mixer, part=part), m.key) for mixer in ("powmix", "none"))
        found.append({seed: side[seed] - rival[seed] for seed in side.keys() & rival.keys()})
    shared = set.intersection(*map(set, found)) if found else set()
    return {seed: fmean(gains[seed] for gains in found) for seed in sorted(shared)}


def _pair(runs: Runs, model: str) -> tuple[Row | None, Row | None]:
    """(with PowMix, without) of a model on the analyses' dataset."""
    dataset = statements("figures")["figure6"]["dataset"]
    row = runs.row(dataset, model, "powmix")
    return row, rival_of(runs, row, dataset, model, "none")


def _curves(row: Row | None, name: str, m: Metric) -> Mapping[Any, dict[float, float]]:
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
    """The end of the interval that is farther from 0; anything where there are too few seeds for a verdict."""
    return max(map(abs, c.ci)) if c.ci and c.n >= MIN_VERDICT else math.inf
