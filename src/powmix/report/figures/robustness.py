"""Figures 5, 6 and 7 from what analyses leave beside a run (`report/analyses.py`), and the regularity study."""

from collections.abc import Mapping

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from powmix.metrics.columns import MODALITIES, Metric
from powmix.report.analyses import KINDS, analysed, by_seed, curve
from powmix.report.figures import paired, style
from powmix.report.figures.paired import Curve, Panel
from powmix.report.figures.style import Look
from powmix.report.folds import Key
from powmix.report.table import Row, Table
from powmix.runs.records import Record

QUANTITIES = {
    "label_spread": "spread of mixed labels",
    "effective_number": "effective examples in one",
    "gradient_alignment": "cosine, clean·mixed gradient",
    "calibration_error": "calibration error ↓",
}
ACROSS = 4
"""Quantities side by side: more would make a picture whose letters no page shows large enough."""


def unimodal(table: Table) -> Figure | None:
    """Figure 5: a linear head on each frozen modality, and the fused model, by variant."""
    found = analysed(table, "unimodal")
    if not found:
        return None
    looks, panels = style.looks(table), []
    for title, rows, m in paired.places(found, table, _first):
        curves = []
        for row in rows:
            own, base = (_heads(record, m) for record in (row.record, row.baseline))
            curves.append(Curve(looks[row.record.signature], range(len(MODALITIES)), own, base))
        panels.append(Panel(title, m, curves, [*MODALITIES.values()]))
    return paired.draw(panels, "", paired.note(curves))


def _heads(record: Record | None, m: Metric) -> list[dict[Key, float]]:
    """{seed: value} for each of MODALITIES."""
    return [by_seed(record, "unimodal", m.key, target=target) if record else {} for target in MODALITIES]


def noise(table: Table) -> Figure | None:
    """Figure 6: frames dropped with probability p, aligned across modalities and independent, averaged."""
    return _robustness(table, "noise", "dropped frames, %")


def dominance(table: Table) -> Figure | None:
    """Figure 7: text dropped with probability p, or replaced by its training mean, averaged."""
    return _robustness(table, "dominance", "examples without text, %")


def regularity(table: Table) -> Figure | None:
    """How the mixers change the geometry: lines per model, ACROSS quantities in each, a point per seed."""
    found = analysed(table, "regularity")
    records = [row.record for rows in found.values() for row in rows]
    measured = {key for record in records for one in record.analysis("regularity") for key in one} - {"seed"}
    quantities = [*(key for key in QUANTITIES if key in measured), *sorted(measured - set(QUANTITIES))]
    if not quantities:
        return None
    looks = style.looks(table)
    with style.context():
        across = min(ACROSS, len(quantities))
        places = -(-len(quantities) // across) * across
        figure, axes = style.panels(len(found) * places, 2.9, 0.3 * max(map(len, found.values())) + 0.9, across)
        for i, (title, rows) in enumerate(found.items()):
            own = axes[i * places : (i + 1) * places]
            for axis, quantity in zip(own, quantities):
                _regularity_panel(axis, rows, quantity, looks)
            for spare in own[len(quantities) :]:
                spare.remove()
            for first in own[: len(quantities) : across]:
                first.set_yticks(range(len(rows)), [looks[row.record.signature].key for row in rows])
                first.set_ylabel(title.replace(", ", ",\n") if len(found) > 1 else "", fontweight="bold", labelpad=9)
        style.keys(figure, axes[0], [looks[record.signature] for record in records])
        counts = [len(by_seed(record, "regularity", quantities[0])) or len(record.seeds) for record in records]
        style.footnote(figure, f"{style.seeds_note(counts)}; points are seeds, the marker their mean")
    return figure


def _first(rows: list[Row]) -> Record:
    return rows[0].record


def _robustness(table: Table, name: str, label: str) -> Figure | None:
    found = analysed(table, name)
    if not found:
        return None
    looks, panels = style.looks(table), []
    for title, rows, m in paired.places(found, table, _first):
        curves = []
        for row in rows:
            own = curve(row.record.analysis(name), m.key, KINDS[name])
            base = curve(row.baseline.analysis(name), m.key, KINDS[name]) if row.baseline else {}
            levels = sorted({p for by_p in own.values() for p in by_p})
            sides = [
                [{seed: by_p[p] for seed, by_p in side.items() if p in by_p} for p in levels] for side in (own, base)
            ]
            curves.append(Curve(looks[row.record.signature], [100 * p for p in levels], *sides))
        panels.append(Panel(title, m, curves))
    kinds = " and ".join(KINDS[name])
    return paired.draw(panels, label, f"{paired.note(curves)}; {kinds} averaged, repetitions averaged")


def _regularity_panel(axes: Axes, rows: list[Row], quantity: str, looks: Mapping[str, Look]) -> None:
    for y, row in enumerate(rows):
        look = looks[row.record.signature]
        values = list(by_seed(row.record, "regularity", quantity).values())
        if values:
            axes.scatter(values, [y] * len(values), s=22, color=look.color, alpha=0.5, linewidths=0)
            axes.plot(np.mean(values), y, look.marker, color=look.color)
    axes.set_yticks(range(len(rows)), [""] * len(rows))
    axes.set_ylim(len(rows) - 0.5, -0.5)
    axes.margins(x=0.1)
    axes.xaxis.set_major_locator(MaxNLocator(5))
    axes.set_title(QUANTITIES.get(quantity, quantity.replace("_", " ")))
    axes.grid(axis="y", visible=False)
