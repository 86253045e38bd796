"""Figures 3, 4 and 8, and any other setting that runs vary: subset ranges, n_O, fractions of the data, p_mix."""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from matplotlib.figure import Figure

from powmix.data.registry import TITLES as DATASETS
from powmix.metrics.columns import Metric
from powmix.mixing.registry import TITLES as MIXERS
from powmix.models.registry import TITLES as MODELS
from powmix.report import labels
from powmix.report.figures import paired, style
from powmix.report.figures.paired import Curve, Panel
from powmix.report.figures.style import Look
from powmix.report.table import Table, fraction
from powmix.runs.records import Record


@dataclass(frozen=True)
class Series:
    """Variants that differ in one setting alone, by its value; `baseline` is the variant without mixing."""

    label: str
    points: tuple[tuple[Any, Record], ...]
    baseline: Record | None = None


Panels = dict[str, list[Series]]


def subset_ranges(table: Table) -> Figure | None:
    """Figure 3: one place per range U(a, b) of the number of mixed examples, and per reading of P (element, row)."""
    found = panels_of(table, "subset")
    if not found:
        return None
    looks, panels = style.looks(table), []
    for title, series, m in paired.places(found, table, _first):
        ranges = sorted({value for one in series for value, _ in one.points})
        curves = [_curve(one, i, m, [ranges.index(value) for value, _ in one.points]) for i, one in enumerate(series)]
        names = [f"U({a:g}, {b:g})" for a, b in ranges]
        panels.append(Panel(title, m, curves, names, level=_level(series, m, looks)))
    return paired.draw(panels, "number of mixed examples", _seeds(found))


def n_out(table: Table) -> Figure | None:
    """Figure 4: the number of generated examples n_O, on a log2 axis."""
    return _curves(table, "n_out", "generated examples n_out")


def p_mix(table: Table) -> Figure | None:
    """The probability that a mini-batch is mixed."""
    return _curves(table, "p_mix", "p_mix")


def limited_data(table: Table) -> Figure | None:
    """Figure 8: fractions of the training data, one curve per variant."""
    found = fractions_of(table)
    if not found:
        return None
    looks = style.looks(table)
    baselines = {row.record.signature: row.baseline for row in table.rows}
    panels = []
    for title, series, m in paired.places(found, table, _first):
        curves = []
        for one in series:
            records = [record for _, record in one.points]
            look = replace(looks[records[-1].signature], key=one.label, label=one.label)
            against = [baselines[record.signature] for record in records]
            base = [other.values(m.key) if other else {} for other in against]
            curves.append(Curve(look, [100 * x for x, _ in one.points], [r.values(m.key) for r in records], base))
        panels.append(Panel(title, m, curves))
    return paired.draw(panels, "training data used, %", _seeds(found))


def panels_of(table: Table, option: str) -> Panels:
    """{title: series} of PowMix variants that differ in one mixing option alone, at least two values each."""
    found: Panels = defaultdict(list)
    for section in table.sections:
        for block in section.blocks:
            groups: dict[Any, dict[Any, Record]] = defaultdict(dict)
            rows = {row.record.signature: row for row in block.rows}
            for row in block.rows:
                options = row.record.mixing_options()
                if row.record.mixer == "powmix" and option in options and row.main.key in row.cells:
                    groups[_others(row.record, options, option)].setdefault(_hashable(options[option]), row.record)
            for members in groups.values():
                if len(members) > 1:
                    points = tuple(sorted(members.items()))
                    baseline = rows[points[0][1].signature].baseline
                    found[f"{section.title}, {block.title}"].append(Series("PowMix", points, baseline))
    return {title: _named(series) for title, series in found.items()}


def fractions_of(table: Table) -> Panels:
    """{title: series}, one per variant that was trained on at least two fractions of the data."""
    groups: dict[tuple, dict[float, Record]] = defaultdict(dict)
    for r in (row.record for row in table.rows if row.main.key in row.cells):
        alike = tuple(sorted((k, v) for k, v in labels.settings(r).items() if k != "dataset.fraction"))
        groups[(r.dataset, r.model, r.protocol, r.mixer, r.ablation or "", alike)].setdefault(fraction(r), r)
    found: dict[str, list[dict[float, Record]]] = defaultdict(list)
    order = list(MIXERS)
    for key in sorted(groups, key=lambda k: (k[:3], order.index(k[3]) if k[3] in order else 99, k[4:])):
        if len(groups[key]) > 1:
            found[f"{DATASETS.get(key[0], key[0])}, {MODELS.get(key[1], key[1])}"].append(groups[key])
    return {title: _limited(members) for title, members in found.items()}


def _limited(members: list[dict[float, Record]]) -> list[Series]:
    """A curve per member, called as its rows in a table of these alone would be."""
    points = [tuple(sorted(by_fraction.items())) for by_fraction in members]
    names = labels.labels([one[-1][1] for one in points])
    return [Series(name, one) for name, one in zip(names, points)]


def _curves(table: Table, option: str, label: str) -> Figure | None:
    found = panels_of(table, option)
    if not found:
        return None
    looks, panels = style.looks(table), []
    for title, series, m in paired.places(found, table, _first):
        curves = [_curve(one, i, m, [value for value, _ in one.points]) for i, one in enumerate(series)]
        panels.append(Panel(title, m, curves, level=_level(series, m, looks)))
    return paired.draw(panels, label, _seeds(found), log2=option == "n_out")


def _curve(series: Series, index: int, m: Metric, x: Sequence[float]) -> Curve:
    """A series against its baseline, which is the same at every point."""
    look = Look(series.label, series.label, style.shade("powmix", index), style.marker(index))
    base = series.baseline.values(m.key) if series.baseline else {}
    return Curve(look, x, [record.values(m.key) for _, record in series.points], [base] * len(series.points))


def _level(series: Sequence[Series], m: Metric, looks: Mapping[str, Look]) -> tuple[Look, dict] | None:
    baseline = series[0].baseline
    return (looks[baseline.signature], baseline.values(m.key)) if baseline is not None else None


def _others(record: Record, options: dict[str, Any], option: str) -> tuple:
    rest = sorted((k, str(v)) for k, v in options.items() if k not in (option, "name"))
    return (record.ablation, tuple(rest), tuple(sorted(labels.context(record).items())))


def _named(series: list[Series]) -> list[Series]:
    """The longest series first; several are told apart by the options in which they differ."""
    series = sorted(series, key=lambda one: -len(one.points))
    options = [{k: str(v) for k, v in one.points[0][1].mixing_options().items()} for one in series]
    varying = [k for k in options[0] if len({o.get(k) for o in options}) > 1 and k != "name"]
    extras = [", ".join(f"{k}={o.get(k)}" for k in varying) if len(series) > 1 else "" for o in options]
    return [
        Series(f"{one.label} ({x})" if x else one.label, one.points, one.baseline) for one, x in zip(series, extras)
    ]


def _hashable(value: Any) -> Any:
    return tuple(value) if isinstance(value, list) else value


def _first(series: Sequence[Series]) -> Record:
    return series[0].points[0][1]


def _seeds(found: Panels) -> str:
    return style.seeds_note([len(r.seeds) for series in found.values() for one in series for _, r in one.points])
