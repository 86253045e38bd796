"""Figures 5, 6 and 7 from what analyses leave beside a run (`report/analyses.py`), and the regularity study."""

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from powmix.metrics.columns import MODALITIES, Metric
from powmix.report.analyses import KINDS, analysed, by_seed, curve
from powmix.report.figures import style
from powmix.report.table import Row, Table
from powmix.runs.records import Record

QUANTITIES = {
    "label_spread": "spread of mixed labels",
    "effective_number": "effective examples in one",
    "gradient_alignment": "cosine, clean·mixed gradient",
    "calibration_error": "calibration error ↓",
}


def unimodal(table: Table) -> Figure | None:
    """Figure 5: a linear head on each frozen modality, and the fused model, by variant."""
    found = analysed(table, "unimodal")
    if not found:
        return None
    with style.context():
        figure, places = style.metric_panels(found, table, _first, width=4.8)
        counts = []
        for axis, title, rows, m in places:
            counts += _unimodal_bars(axis, rows, m)
            axis.set_title(title)
        style.legend(figure, [place[0] for place in places])
        style.footnote(figure, f"{style.seeds_note(counts)}; mean ± std over seeds; the axis does not start at 0")
    return figure


def noise(table: Table) -> Figure | None:
    """Figure 6: frames dropped with probability p, aligned across modalities and independent, averaged."""
    return _robustness(table, "noise", "dropped frames, %")


def dominance(table: Table) -> Figure | None:
    """Figure 7: text dropped with probability p, or replaced by its training mean, averaged."""
    return _robustness(table, "dominance", "examples without text, %")


def regularity(table: Table) -> Figure | None:
    """How the mixers change the geometry: a row per model, a column per quantity, a point per seed."""
    found = analysed(table, "regularity")
    records = [row.record for rows in found.values() for row in rows]
    measured = {key for record in records for one in record.analysis("regularity") for key in one} - {"seed"}
    quantities = [*(key for key in QUANTITIES if key in measured), *sorted(measured - set(QUANTITIES))]
    if not quantities:
        return None
    with style.context():
        figure, axes = style.panels(
            len(found) * len(quantities), 2.9, 0.3 * max(map(len, found.values())) + 0.9, len(quantities)
        )
        for i, (title, rows) in enumerate(found.items()):
            line = axes[i * len(quantities) : (i + 1) * len(quantities)]
            for axis, quantity in zip(line, quantities):
                _regularity_panel(axis, rows, quantity)
            line[0].set_yticks(range(len(rows)), [row.label for row in rows])
            line[0].set_ylabel(title.replace(", ", ",\n") if len(found) > 1 else "", fontweight="bold", labelpad=9)
        counts = [len(by_seed(record, "regularity", quantities[0])) or len(record.seeds) for record in records]
        style.footnote(figure, f"{style.seeds_note(counts)}; points are seeds, the diamond their mean")
    return figure


def _first(rows: list[Row]) -> Record:
    return rows[0].record


def _unimodal_bars(axes: Axes, rows: list[Row], m: Metric) -> list[int]:
    """Bars of every target, one colour per variant; the number of seeds behind each."""
    width, counts, ends = 0.8 / len(rows), [], []
    for i, (row, color) in enumerate(zip(rows, style.colors([row.record for row in rows]))):
        for x, target in enumerate(MODALITIES):
            values = [value * m.scale for value in by_seed(row.record, "unimodal", m.key, target=target).values()]
            if not values:
                continue
            mean, std = float(np.mean(values)), float(np.std(values, ddof=1)) if len(values) > 1 else 0.0
            counts.append(len(values))
            ends += [mean - std, mean + std]
            at = x + (i - (len(rows) - 1) / 2) * width
            axes.bar(at, mean, width * 0.9, yerr=std, color=color, capsize=2, label=row.label, ecolor=style.INK)
    if ends:
        margin = 0.25 * (max(ends) - min(ends) or 1)
        axes.set_ylim(min(ends) - margin, max(ends) + margin)
    axes.set_xticks(range(len(MODALITIES)), MODALITIES.values())
    axes.set_ylabel(f"test {m.label} {m.arrow}")
    axes.grid(axis="x", visible=False)
    return counts or [0]


def _robustness(table: Table, name: str, label: str) -> Figure | None:
    found = analysed(table, name)
    if not found:
        return None
    counts = []
    with style.context():
        figure, places = style.metric_panels(found, table, _first)
        for axis, title, rows, m in places:
            for i, (row, color) in enumerate(zip(rows, style.colors([row.record for row in rows]))):
                seeds = curve(row.record.analysis(name), m.key, KINDS[name])
                counts.append(len(seeds))
                _band(axis, seeds, m, color, row.label, style.MARKERS[i % len(style.MARKERS)])
            axis.set(xlabel=label, ylabel=f"test {m.label} {m.arrow}")
            axis.set_title(title)
        style.legend(figure, [place[0] for place in places])
        kinds = " and ".join(KINDS[name])
        style.footnote(
            figure, f"{style.seeds_note(counts)}; {kinds} averaged, repetitions averaged; band ± std over seeds"
        )
    return figure


def _band(axes: Axes, seeds: dict[int, dict[float, float]], m: Metric, color: str, label: str, marker: str) -> None:
    """Mean over seeds with its std, on the p that every seed has."""
    shared = sorted(set.intersection(*(set(values) for values in seeds.values()))) if seeds else []
    y_NP = np.array([[values[p] * m.scale for p in shared] for values in seeds.values()])
    if not y_NP.size:
        return
    x_P, mean_P = 100 * np.array(shared), y_NP.mean(axis=0)
    std_P = y_NP.std(axis=0, ddof=1) if len(y_NP) > 1 else np.zeros_like(mean_P)
    axes.plot(x_P, mean_P, marker=marker, color=color, label=label, zorder=3)
    axes.fill_between(x_P, mean_P - std_P, mean_P + std_P, color=color, alpha=0.15, linewidth=0)


def _regularity_panel(axes: Axes, rows: list[Row], quantity: str) -> None:
    for y, (row, color) in enumerate(zip(rows, style.colors([row.record for row in rows]))):
        values = list(by_seed(row.record, "regularity", quantity).values())
        if values:
            axes.scatter(values, [y] * len(values), s=22, color=color, alpha=0.5, linewidths=0)
            axes.plot(np.mean(values), y, "D", color=color)
    axes.set_yticks(range(len(rows)), [""] * len(rows))
    axes.set_ylim(len(rows) - 0.5, -0.5)
    axes.margins(x=0.1)
    axes.xaxis.set_major_locator(MaxNLocator(5))
    axes.set_title(QUANTITIES.get(quantity, quantity.replace("_", " ")))
    axes.grid(axis="y", visible=False)
