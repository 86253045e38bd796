"""The forest plot of mixers over tasks: each paired effect with its interval, and the estimate that tasks share."""

from collections.abc import Mapping, Sequence

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from powmix.metrics.meta_analysis import Shrunken, shrunken
from powmix.mixing.registry import COLOURS, TITLES
from powmix.report import atlas
from powmix.report.atlas import Effect
from powmix.report.figures import style
from powmix.report.table import Table

ROW = 0.36
APART = 0.17
"""Of a row: how far a task's own effect stands above the middle, and the shrunken one below it."""

NUMBERS = 0.22
"""Of the axis: the room kept for the numbers at its right."""

MEANING = (
    "thin: a task's own paired effect and its 95% interval; thick, and the number: the same drawn towards the other "
    "tasks (random effects); diamond: their mean"
)


def of_tasks(table: Table) -> Figure | None:
    """The table's tasks (report/atlas.py), in per cent of each baseline's error; None under three of them."""
    found = atlas.tasks(table)
    if len(found) < atlas.LEAST:
        return None
    effects = {
        mixer: {task.title: task.effects[mixer] for task in found if mixer in task.effects}
        for mixer in atlas.mixers(found)
    }
    return draw(effects, f"effect in {atlas.UNIT}")


def draw(effects: Mapping[str, Mapping[str, Effect]], unit: str, decimals: int = 1) -> Figure:
    """{mixer: {task: effect}} -> one panel per mixer on one scale, a row per task, below them all tasks together.

    unit: what the horizontal axis counts, the same for all tasks. decimals: of the numbers beside the rows. A mixer's
    estimate over tasks needs three of them.
    """
    tasks = list(dict.fromkeys(task for found in effects.values() for task in found))
    with style.context():
        figure = Figure(figsize=(2.3 * len(effects) + 1.6, ROW * (len(tasks) + 1) + 1.6), layout="constrained")
        figure.get_layout_engine().set(w_pad=0.03, wspace=0.02)
        panels = figure.subplots(1, len(effects), sharex=True, sharey=True, squeeze=False)[0]
        for axes, (mixer, found) in zip(panels, effects.items()):
            _panel(axes, tasks, found, COLOURS.get(mixer, style.INK), decimals)
            axes.set_title(TITLES.get(mixer, mixer))
        panels[0].set_yticks(range(len(tasks) + 1), [*tasks, "all tasks"])
        panels[0].get_yticklabels()[-1].set_fontweight("bold")
        panels[0].set_ylim(len(tasks) + 0.6, -0.7)
        low, high = panels[0].get_xlim()
        panels[0].set_xticks([tick for tick in MaxNLocator(5).tick_values(low, high) if low <= tick <= high])
        panels[0].set_xlim(low, high + NUMBERS * (high - low))
        panels[len(panels) // 2].set_xlabel(f"{unit} (right is better)")
        counts = [effect.n for found in effects.values() for effect in found.values()]
        style.footnote(figure, f"{style.seeds_note(counts)}; {MEANING}")
    return figure


def _panel(axes: Axes, tasks: Sequence[str], found: Mapping[str, Effect], color: str, decimals: int) -> None:
    """One mixer: its own effects, the shrunken ones, the overall mean."""
    axes.axvline(0, color=style.SOFT, linestyle=(0, (3, 3)), linewidth=1, zorder=1)
    shown = [task for task in tasks if task in found]
    for task in shown:
        y = tasks.index(task) - APART
        axes.plot(found[task].interval, [y, y], color=style.SOFT, linewidth=1.1, zorder=2)
        axes.plot(found[task].gain, y, "o", color="white", markeredgecolor=style.SOFT, markersize=4.2, zorder=3)
    together = _together([found[task] for task in shown])
    if together is not None:
        rows = [(tasks.index(task), *row) for task, *row in zip(shown, together.means, together.intervals)]
        for row, mean, interval in rows:
            y = row + APART
            axes.plot(interval, [y, y], color=color, linewidth=2.8, solid_capstyle="round", zorder=2)
            axes.plot(mean, y, "o", color=color, markeredgecolor="white", markersize=5.6, zorder=3)
            _number(axes, row, mean, decimals)
        last = len(tasks)
        low, high = together.interval
        axes.fill([low, together.overall, high, together.overall], [last, last - 0.2, last, last + 0.2], color=color)
        _number(axes, last, together.overall, decimals, weight="bold")
    axes.axhline(len(tasks) - 0.5, color=style.RULE, linewidth=0.8)
    axes.grid(axis="y", visible=False)


def _number(axes: Axes, y: float, value: float, decimals: int, weight: str = "normal") -> None:
    rounded = round(value, decimals)
    text = f"{rounded:+.{decimals}f}".replace("-", "−") if rounded else f"{0:.{decimals}f}"
    axes.text(1.0, y, text, transform=axes.get_yaxis_transform(), ha="right", va="center", fontsize=8, weight=weight)


def _together(found: Sequence[Effect]) -> Shrunken | None:
    return shrunken([one.gain for one in found], [one.error for one in found]) if len(found) > 2 else None
