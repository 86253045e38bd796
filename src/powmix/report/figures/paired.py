"""Panels in pairs: mean scores over x above, and below them the differences to no mixing, paired by seed.

Where seeds share their luck, the spreads of two variants overlap while one beats the other on every seed: no band is
drawn around a mean, the differences are.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from powmix.metrics.columns import Metric
from powmix.metrics.statistics import student_interval
from powmix.report.figures import style
from powmix.report.figures.style import Look
from powmix.report.folds import Key
from powmix.report.table import Table
from powmix.runs.records import Record

Found = TypeVar("Found")
Seeds = Mapping[Key, float]

DODGE, MOST = 0.018, 0.12
"""Of the axis: what lies between variants at one x, and at the most between the first and the last."""
APART, SHARE = 0.04, 0.6
"""Of the axis, what lies between variants at one name; of a name's place, what all of them take at the most."""
BESIDE = 0.027
"""Of the axis: how far to the left of its mean a seed's point stands, and nearer where variants are closer."""
FEW = 3
"""Places, such as models on datasets, that are shown in two metrics each."""
CLOSE = 0.055
"""Of the axis: ticks nearer than that to the one before are left out."""
MEANING = "below: paired by seed with no mixing, a point per seed, the mean with Student's 95% interval"


@dataclass(frozen=True)
class Curve:
    """One variant over x. own, base: at every x {seed: value} of it and of its baseline; no base for a baseline."""

    look: Look
    x: Sequence[float]
    own: Sequence[Seeds]
    base: Sequence[Seeds] = ()


@dataclass(frozen=True)
class Panel:
    """What a pair of panels shows. names: of x = 0, 1, ... where these are categories, which no line joins.

    level: no mixing, where it is the same for every x.
    """

    title: str
    metric: Metric
    curves: Sequence[Curve]
    names: Sequence[str] = ()
    level: tuple[Look, Seeds] | None = None


def places(found: Mapping[str, Found], table: Table, record_of: Callable[[Found], Record]) -> list[tuple]:
    """(title, what was found, metric): each thing that was found, in each of its metrics; of many, in the main one."""
    shown = table.drawn if len(found) <= FEW else lambda record: (table.main_of(record),)
    return [(title, one, m) for title, one in found.items() for m in shown(record_of(one))]


def draw(panels: Sequence[Panel], label: str, note: str, log2: bool = False) -> Figure:
    """A figure of the panels, two side by side, of many four; label: what x is, note: what a reader must know."""
    paired = any(any(curve.base) for panel in panels for curve in panel.curves)
    wide = 4 if len(panels) > 4 else min(len(panels), 2)
    width = 3.5 if wide == 4 else 4.6
    tall = -(-len(panels) // wide)
    heights = [2.3, 1.9] if paired else [2.8]
    with style.context():
        figure = Figure(figsize=(width * wide, (sum(heights) + 0.35) * tall + 0.5), layout="constrained")
        grid = figure.subplots(tall * len(heights), wide, squeeze=False, height_ratios=heights * tall)
        for place in range(tall * wide):
            row, column = divmod(place, wide)
            own = grid[row * len(heights) : (row + 1) * len(heights), column]
            if place >= len(panels):
                for spare in own:
                    spare.remove()
                continue
            for axes in own:
                _ticks(axes, panels[place], log2)
            _scores(own[0], panels[place], seeds=not paired)
            if paired:
                _differences(own[1], panels[place])
            own[0].set_title(panels[place].title)
            own[0].tick_params(labelbottom=not paired)
            own[-1].set_xlabel(label)
        style.legend(figure, [axes for axes in figure.axes if axes.get_ylabel().startswith("test ")])
        points = ", a faint point per seed" if not paired or any(panel.names for panel in panels) else ""
        style.footnote(figure, f"{note}; above: means{points}; {MEANING}" if paired else f"{note}; means{points}")
    return figure


def _scores(axes: Axes, panel: Panel, seeds: bool) -> None:
    m, apart = panel.metric, _apart(panel, len(panel.curves))
    for i, curve in enumerate(panel.curves):
        places = _moved(axes, curve.x, _place(i, len(panel.curves)) * apart) if panel.names else curve.x
        shown = [(x, one) for x, one in zip(places, curve.own) if one]
        means = [m.scale * float(np.mean([*one.values()])) for _, one in shown]
        line = "" if panel.names else "-"
        drawn: dict[str, Any] = {"color": curve.look.color, "marker": curve.look.marker, "linestyle": line, "zorder": 3}
        axes.plot([x for x, _ in shown], means, **drawn, label=curve.look.told)
        if seeds or panel.names:
            _points(axes, [(x, m.scale * value) for x, one in shown for value in one.values()], curve.look)
    if panel.level is not None and panel.level[1]:
        look, values = panel.level
        mean = m.scale * float(np.mean([*values.values()]))
        axes.axhline(mean, color=look.color, linestyle=(0, (2.5, 1.5)), label=look.told, zorder=2)
    axes.set_ylabel(f"test {m.label} {m.arrow}")


def _differences(axes: Axes, panel: Panel) -> None:
    m = panel.metric
    axes.axhline(0, color=style.SOFT, linestyle=(0, (3, 3)), linewidth=1, zorder=1)
    curves = [curve for curve in panel.curves if any(curve.base)]
    apart = _apart(panel, len(curves))
    beside = min(BESIDE, apart / 2) if panel.names and len(curves) > 1 else BESIDE
    for i, curve in enumerate(curves):
        found = [
            (x, [m.scale * (own[key] - base[key]) for key in own if key in base])
            for x, own, base in zip(_moved(axes, curve.x, _place(i, len(curves)) * apart), curve.own, curve.base)
        ]
        found = [(x, gaps) for x, gaps in found if gaps]
        drawn: dict[str, Any] = {"color": curve.look.color, "marker": curve.look.marker, "linestyle": ""}
        left = _moved(axes, [x for x, _ in found], -beside)
        _points(axes, [(x, gap) for x, (_, gaps) in zip(left, found) for gap in gaps], curve.look)
        axes.plot([x for x, _ in found], [np.mean(gaps) for _, gaps in found], zorder=3, **drawn)
        bounds = [(x, *interval) for x, gaps in found if (interval := student_interval(gaps))]
        if bounds:
            axes.vlines(*zip(*bounds), color=curve.look.color, linewidth=1.5, zorder=2)
    axes.set_ylabel(f"Δ {m.label} {m.arrow}")


def _points(axes: Axes, places: Sequence[tuple[float, float]], look: Look) -> None:
    if places:
        axes.plot(*zip(*places), "o", color=look.color, alpha=0.35, markersize=3, markeredgewidth=0)


def _apart(panel: Panel, count: int) -> float:
    """Of the axis: what lies between `count` variants at one x."""
    return min(APART, SHARE / len(panel.names) / count) if panel.names else min(DODGE, MOST / count)


def _place(index: int, count: int) -> float:
    """Where a variant stands among `count`, the middle being 0."""
    return index - (count - 1) / 2


def _moved(axes: Axes, x: Sequence[float], share: float) -> list[float]:
    """Moved sideways by a share of the axis, whose ends are set already."""
    scale = axes.xaxis.get_transform()
    low, high = scale.transform(np.array(axes.get_xlim()))
    return [*scale.inverted().transform(scale.transform(np.array(x, dtype=float)) + share * (high - low))]


def _ticks(axes: Axes, panel: Panel, log2: bool) -> None:
    """Where there are data; of names, at every one."""
    if panel.names:
        axes.set_xticks(range(len(panel.names)), panel.names)
        axes.set_xlim(-0.5, len(panel.names) - 0.5)
        axes.grid(axis="x", visible=False)
        return
    if log2:
        axes.set_xscale("log", base=2)
    values = sorted({x for curve in panel.curves for x in curve.x})
    at = np.log2(values) if log2 else np.array(values, dtype=float)
    margin = 0.06 * (at[-1] - at[0] or 1)
    low, high = at[0] - margin, at[-1] + margin
    kept: list[int] = []
    for i, place in enumerate(at):
        if not kept or place - at[kept[-1]] >= CLOSE * (high - low):
            kept.append(i)
    axes.set_xticks(
        [values[i] for i in kept], [f"{values[i]:.3g}" if values[i] < 1000 else f"{values[i]:.0f}" for i in kept]
    )
    axes.set_xticks([], minor=True)
    axes.set_xlim(*((2**low, 2**high) if log2 else (low, high)))


def note(curves: Sequence[Curve]) -> str:
    """How many seeds are behind the means."""
    return style.seeds_note([len(one) for curve in curves for one in curve.own if one] or [0])
