"""Figures 3, 4 and 8, and any other setting that runs vary: subset ranges, n_O, fractions of the data, p_mix."""

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from powmix.data.registry import TITLES as DATASETS
from powmix.metrics.columns import Metric
from powmix.metrics.statistics import summarise
from powmix.mixing.registry import COLOURS
from powmix.mixing.registry import TITLES as MIXERS
from powmix.models.registry import TITLES as MODELS
from powmix.report import labels
from powmix.report.figures import style
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
    """Figure 3: one bar per range U(a, b) of the number of mixed examples, and per reading of P (element, row)."""
    found = panels_of(table, "subset")
    if not found:
        return None
    with style.context():
        figure, places = style.metric_panels(found, table, _first)
        for axis, title, series, m in places:
            _bars(axis, series, m)
            axis.set_title(title)
        style.legend(figure, [place[0] for place in places])
        style.footnote(figure, f"{_seeds(found)}; mean ± std; the axis does not start at 0")
    return figure


def n_out(table: Table) -> Figure | None:
    """Figure 4: the number of generated examples n_O, on a log2 axis."""
    return _curves(table, "n_out", "generated examples $n_O$")


def p_mix(table: Table) -> Figure | None:
    """The probability that a mini-batch is mixed."""
    return _curves(table, "p_mix", "p_mix")


def limited_data(table: Table) -> Figure | None:
    """Figure 8: fractions of the training data, one curve per variant."""
    found = fractions_of(table)
    if not found:
        return None
    with style.context():
        figure, places = style.metric_panels(found, table, _first)
        for axis, title, series, m in places:
            for i, (one, color) in enumerate(zip(series, style.colors([s.points[0][1] for s in series]))):
                _line(axis, [100 * value for value, _ in one.points], one, m, color, i)
            _label(axis, title, "training data used, %", m)
        style.legend(figure, [place[0] for place in places])
        style.footnote(figure, f"{_seeds(found)}; mean, band ± std")
    return figure


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
    with style.context():
        figure, places = style.metric_panels(found, table, _first)
        for axis, title, series, m in places:
            for i, one in enumerate(series):
                color = style.PALETTE[i % len(style.PALETTE)]
                _line(axis, [value for value, _ in one.points], one, m, color, i)
            _baseline(axis, series[0], m)
            _label(axis, title, label, m)
            if option == "n_out":
                axis.set_xscale("log", base=2)
        style.legend(figure, [place[0] for place in places])
        style.footnote(figure, f"{_seeds(found)}; mean, band ± std")
    return figure


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


def _spread(record: Record, m: Metric) -> tuple[float, float]:
    summary = summarise(list(record.values(m.key).values()))
    return summary.mean * m.scale, (summary.std or 0.0) * m.scale


def _line(axes: Axes, x: Sequence[float], series: Series, m: Metric, color: str, index: int) -> None:
    spread = [_spread(record, m) for _, record in series.points]
    marker = style.MARKERS[index % len(style.MARKERS)]
    axes.plot(x, [mean for mean, _ in spread], marker=marker, color=color, label=series.label, zorder=3)
    axes.fill_between(x, [a - b for a, b in spread], [a + b for a, b in spread], color=color, alpha=0.15, linewidth=0)


def _baseline(axes: Axes, series: Series, m: Metric) -> None:
    if series.baseline is not None and series.baseline.values(m.key):
        mean, std = _spread(series.baseline, m)
        axes.axhline(mean, color=COLOURS["none"], linestyle=(0, (2.5, 1.5)), label="no mixing", zorder=2)
        axes.axhspan(mean - std, mean + std, color=COLOURS["none"], alpha=0.08, linewidth=0)


def _bars(axes: Axes, series: Sequence[Series], m: Metric) -> None:
    """Bars of every range, one colour per series; the axis begins a little below the lowest."""
    ranges = sorted({value for one in series for value, _ in one.points})
    width, ends = 0.7 / len(series), []
    for i, one in enumerate(series):
        x = [ranges.index(value) + (i - (len(series) - 1) / 2) * width for value, _ in one.points]
        spread = [_spread(record, m) for _, record in one.points]
        mean, std = [mean for mean, _ in spread], [std for _, std in spread]
        axes.bar(x, mean, 0.9 * width, color=style.PALETTE[i % len(style.PALETTE)], alpha=0.85, label=one.label)
        axes.errorbar(x, mean, std, fmt="none", color=style.INK, capsize=2)
        ends += spread
    ends += [_spread(series[0].baseline, m)] if series[0].baseline is not None else []
    low, high = min(mean - std for mean, std in ends), max(mean + std for mean, std in ends)
    _baseline(axes, series[0], m)
    axes.set_ylim(low - 0.35 * (high - low or 1), high + 0.15 * (high - low or 1))
    axes.set_xticks(range(len(ranges)), [f"U({a:g}, {b:g})" for a, b in ranges])
    axes.grid(axis="x", visible=False)
    _label(axes, "", "number of mixed examples", m)


def _first(series: Sequence[Series]) -> Record:
    return series[0].points[0][1]


def _label(axes: Axes, title: str, x: str, m: Metric) -> None:
    axes.set_title(title)
    axes.set_xlabel(x)
    axes.set_ylabel(f"test {m.label} {m.arrow}")


def _seeds(found: Panels) -> str:
    return style.seeds_note([len(r.seeds) for series in found.values() for one in series for _, r in one.points])
