"""Training curves: loss on training and validation by epoch, and its difference to no mixing, paired by seed."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from powmix.report.figures import style
from powmix.report.figures.style import Look
from powmix.report.folds import Key, parts
from powmix.report.table import Block, Row, Table
from powmix.runs.records import Record

MAX_ROWS = 8
VALIDATION, TRAINING = "validation_Loss", "train_loss"


def draw(table: Table) -> Figure | None:
    """A pair of panels per model, at most MAX_ROWS variants: loss, and validation loss minus that without mixing."""
    found = {
        f"{section.title}, {block.title}": rows
        for section in table.sections
        for block in section.blocks
        if (rows := chosen(block))
    }
    if not found:
        return None
    looks = style.looks(table)
    wide = min(len(found), 3)
    width = 6.4 if wide == 1 else 4.4
    tall = -(-len(found) // wide)
    with style.context():
        figure = Figure(figsize=(width * wide, 4.8 * tall + 0.4), layout="constrained")
        grid = figure.subplots(2 * tall, wide, squeeze=False, height_ratios=[2.3, 1.9] * tall)
        pairs = [(grid[2 * row, column], grid[2 * row + 1, column]) for row in range(tall) for column in range(wide)]
        for upper, lower in pairs[len(found) :]:
            upper.remove()
            lower.remove()
        for (upper, lower), (title, rows) in zip(pairs, found.items()):
            for row in rows:
                _losses(upper, row.record, looks[row.record.signature])
                if row.baseline is not None:
                    _difference(lower, row.record, row.baseline, looks[row.record.signature])
            lower.axhline(0, color=style.SOFT, linestyle=(0, (3, 3)), linewidth=1, zorder=1)
            upper.set(title=title, ylabel="loss")
            upper.tick_params(labelbottom=False)
            lower.set(xlabel="epoch", ylabel="Δ validation loss ↓")
            for axes in (upper, lower):
                axes.xaxis.set_major_locator(MaxNLocator(8, integer=True))
                axes.set_xlim(0.5, upper.dataLim.x1 + 0.5)
        style.legend(figure, [upper for upper, _ in pairs[: len(found)]])
        counts = [len(row.seeds) for rows in found.values() for row in rows]
        note = "above: solid validation, dotted training with its auxiliary losses; below: mean difference to no mixing"
        while_ = "paired by seed, while at least half of the seeds train"
        some = f"; of many variants of a mixer the best on validation, at most {MAX_ROWS}"
        style.footnote(
            figure, f"{style.seeds_note(counts)}; {note}, {while_}{some if len(table.rows) > MAX_ROWS else ''}"
        )
    return figure


def chosen(block: Block) -> list[Row]:
    """The rows that have histories; of more than MAX_ROWS the baseline and each mixer's best on validation first."""
    rows = [row for row in block.rows if any(seed.history() for seed in row.record.seeds)]
    if len(rows) <= MAX_ROWS:
        return rows

    def score(row: Row) -> float:
        return row.main.sign * float(np.mean([*row.record.values(row.main.key, "validation").values()] or [-np.inf]))

    best: dict[str, Row] = {}
    for row in rows:
        kept = best.setdefault(row.record.mixer, row)
        if score(row) > score(kept):
            best[row.record.mixer] = row
    first = {id(row) for row in [*best.values()][:MAX_ROWS]}
    return [row for row in rows if id(row) in first]


def mean_curve(curves: Sequence[Sequence[float]]) -> tuple[np.ndarray, np.ndarray]:
    """Epochs, and the mean over the curves that reach each epoch, up to the last that half of the curves reach."""
    last = sorted(map(len, curves), reverse=True)[(len(curves) - 1) // 2]
    padded_NE = np.full((len(curves), last), np.nan)
    for i, one in enumerate(curves):
        padded_NE[i, : min(len(one), last)] = one[:last]
    return np.arange(1, last + 1), np.nanmean(padded_NE, axis=0)


def histories(record: Record, column: str) -> dict[Key, list[float]]:
    """{seed: a column of its history}; of folds {(fold, seed): ...}."""
    several = len(parts(record)) > 1
    found = {
        (number, seed.seed) if several else seed.seed: seed.history().get(column)
        for number, one in enumerate(parts(record))
        for seed in one.seeds
    }
    return {key: values for key, values in found.items() if values}


def _losses(axes: Axes, record: Record, look: Look) -> None:
    for column, line in ((VALIDATION, "-"), (TRAINING, ":")):
        if curves := [*histories(record, column).values()]:
            epoch_E, mean_E = mean_curve(curves)
            if line == "-":
                axes.plot(epoch_E, mean_E, line, label=look.told, **_marked(look, len(epoch_E)))
            else:
                axes.plot(epoch_E, mean_E, line, color=look.color, linewidth=1.2)


def _difference(axes: Axes, record: Record, baseline: Record, look: Look) -> None:
    own, base = histories(record, VALIDATION), histories(baseline, VALIDATION)
    gaps = [[x - y for x, y in zip(own[key], base[key])] for key in own if key in base]
    if gaps:
        epoch_E, mean_E = mean_curve(gaps)
        axes.plot(epoch_E, mean_E, **_marked(look, len(epoch_E)))


def _marked(look: Look, epochs: int) -> dict[str, Any]:
    """A line with about six markers."""
    return {
        "color": look.color,
        "marker": look.marker,
        "markevery": max(1, epochs // 6),
        "markersize": 4,
        "linewidth": 1.4,
    }
