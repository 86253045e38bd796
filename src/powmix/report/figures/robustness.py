"""Figures 5, 6 and 7 from what analyses leave beside a run, and the regularity study.

A run's folder holds `analysis/<name>.json`: {"schema": 1, "name": <name>, "rows": [{...}, ...]}. Metric values carry
the keys of the run's test metrics, as fractions; `p` is a fraction; every row names its `seed`.

- unimodal: {seed, target: "text" | "audio" | "vision" | "fusion", <metrics>}; `fusion` is the whole model f_F.
- noise: {seed, repetition, kind: "aligned" | "independent", p, <metrics>}; p = 0 equals the run's test metrics.
- dominance: {seed, repetition, kind: "drop" | "mean", p, <metrics>}; p = 0 equals the run's test metrics.
- regularity: {seed, <quantity>: value, ...}, for instance label_spread, effective_number, gradient_alignment.
"""

from collections import defaultdict
from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from powmix.report.figures import style
from powmix.report.metrics import MODALITIES, Metric
from powmix.report.table import Row, Table

KINDS = {"noise": ("aligned", "independent"), "dominance": ("drop", "mean")}


def unimodal(table: Table) -> Figure | None:
    """Figure 5: a linear head on each frozen modality, and the fused model, by variant."""
    found = _analysed(table, "unimodal")
    if not found:
        return None
    with style.context():
        figure, axes = style.panels(len(found), width=4.8)
        counts = []
        for axis, (title, rows) in zip(axes, found.items()):
            counts += _unimodal_bars(axis, rows, table.main)
            axis.set_title(title)
        style.legend(figure, axes)
        style.footnote(figure, f"{style.seeds_note(counts)}; mean ± std over seeds; the axis does not start at 0")
    return figure


def noise(table: Table) -> Figure | None:
    """Figure 6: frames dropped with probability p, aligned across modalities and independent, averaged."""
    return _robustness(table, "noise", "dropped frames, %")


def dominance(table: Table) -> Figure | None:
    """Figure 7: text dropped with probability p, or replaced by its training mean, averaged."""
    return _robustness(table, "dominance", "examples without text, %")


def regularity(table: Table) -> Figure | None:
    """How the mixers change the geometry: one panel per quantity, a point per seed."""
    rows = [(f"{title}: {row.label}", row) for title, rows in _analysed(table, "regularity").items() for row in rows]
    quantities = sorted({key for _, row in rows for one in row.record.analysis("regularity") for key in one} - {"seed"})
    if not quantities:
        return None
    titles = {label.rpartition(": ")[0] for label, _ in rows}
    with style.context():
        figure, axes = style.panels(len(quantities), height=0.34 * len(rows) + 1.1)
        for i, (axis, quantity) in enumerate(zip(axes, quantities)):
            _regularity_panel(axis, rows, quantity, labelled=i % 3 == 0, short=len(titles) == 1)
        counts = [len(_by_seed(row, "regularity", quantities[0])) or len(row.seeds) for _, row in rows]
        style.footnote(figure, f"{style.seeds_note(counts)}; points are seeds, the diamond their mean")
    return figure


def curve(rows: Sequence[Mapping], key: str, kinds: Sequence[str]) -> dict[int, dict[float, float]]:
    """{seed: {p: value}}: repetitions averaged within a kind, then the kinds (of those that p has) averaged."""
    cells: dict[tuple[int, float, str], list[float]] = defaultdict(list)
    for row in rows:
        if key in row and row.get("kind", kinds[0]) in kinds:
            cells[(int(row["seed"]), float(row["p"]), row.get("kind", kinds[0]))].append(float(row[key]))
    by_kind: dict[tuple[int, float], list[float]] = defaultdict(list)
    for (seed, p, _), values in cells.items():
        by_kind[(seed, p)].append(float(np.mean(values)))
    found: dict[int, dict[float, float]] = defaultdict(dict)
    for (seed, p), values in sorted(by_kind.items()):
        found[seed][p] = float(np.mean(values))
    return found


def _analysed(table: Table, name: str) -> dict[str, list[Row]]:
    """{panel title: rows whose runs carry that analysis}."""
    found = {
        f"{section.title}, {block.title}": [row for row in block.rows if row.record.analysis(name)]
        for section in table.sections
        for block in section.blocks
    }
    return {title: rows for title, rows in found.items() if rows}


def _by_seed(row: Row, name: str, key: str, **where: str) -> list[float]:
    rows = row.record.analysis(name)
    return [float(one[key]) for one in rows if key in one and all(one.get(k) == v for k, v in where.items())]


def _unimodal_bars(axes: Axes, rows: list[Row], m: Metric) -> list[int]:
    """Bars of every target, one colour per variant; the number of seeds behind each."""
    width, counts, ends = 0.8 / len(rows), [], []
    for i, (row, color) in enumerate(zip(rows, style.colors([row.record for row in rows]))):
        for x, target in enumerate(MODALITIES):
            values = [value * m.scale for value in _by_seed(row, "unimodal", m.key, target=target)]
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
    found = _analysed(table, name)
    if not found:
        return None
    m, counts = table.main, []
    with style.context():
        figure, axes = style.panels(len(found))
        for axis, (title, rows) in zip(axes, found.items()):
            for i, (row, color) in enumerate(zip(rows, style.colors([row.record for row in rows]))):
                seeds = curve(row.record.analysis(name), m.key, KINDS[name])
                counts.append(len(seeds))
                _band(axis, seeds, m, color, row.label, style.MARKERS[i % len(style.MARKERS)])
            axis.set(xlabel=label, ylabel=f"test {m.label} {m.arrow}")
            axis.set_title(title)
        style.legend(figure, axes)
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


def _regularity_panel(axes: Axes, rows: list[tuple[str, Row]], quantity: str, labelled: bool, short: bool) -> None:
    for y, ((_, row), color) in enumerate(zip(rows, style.colors([row.record for _, row in rows]))):
        values = _by_seed(row, "regularity", quantity)
        if values:
            axes.scatter(values, [y] * len(values), s=22, color=color, alpha=0.5, linewidths=0)
            axes.plot(np.mean(values), y, "D", color=color)
    names = [row.label if short else label for label, row in rows]
    axes.set_yticks(range(len(rows)), names if labelled else [""] * len(rows))
    axes.set_ylim(len(rows) - 0.5, -0.5)
    axes.set_title(quantity.replace("_", " "))
    axes.grid(axis="y", visible=False)
