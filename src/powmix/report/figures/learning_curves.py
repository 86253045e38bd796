"""Training curves: loss on training and validation by epoch, mean over the seeds still training."""

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from powmix.report.figures import style
from powmix.report.table import Row, Table

MAX_ROWS = 8


def draw(table: Table) -> Figure | None:
    """One panel per model: validation loss (solid) and training loss (dotted), at most MAX_ROWS variants each."""
    found = {}
    for section in table.sections:
        for block in section.blocks:
            rows = [row for row in block.rows if any(seed.history() for seed in row.record.seeds)]
            if rows:
                found[f"{section.title}, {block.title}"] = rows[:MAX_ROWS]
    if not found:
        return None
    with style.context():
        figure, axes = style.panels(len(found))
        for axis, (title, rows) in zip(axes, found.items()):
            for row, color in zip(rows, style.colors([row.record for row in rows])):
                _curves(axis, row, color)
            axis.set(title=title, xlabel="epoch", ylabel="loss")
            axis.xaxis.set_major_locator(MaxNLocator(8, integer=True))
        style.legend(figure, axes)
        counts = [len(row.seeds) for rows in found.values() for row in rows]
        note = "solid: validation, dotted: training with its auxiliary losses"
        spread = "mean, band ± std, while at least half of the seeds train"
        style.footnote(figure, f"{style.seeds_note(counts)}; {note}; {spread}")
    return figure


def mean_curve(curves: list[list[float]]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Epochs, mean and std over the seeds that reach each epoch, up to the last that half of the seeds reach."""
    last = sorted(map(len, curves), reverse=True)[(len(curves) - 1) // 2]
    padded_NE = np.full((len(curves), last), np.nan)
    for i, one in enumerate(curves):
        padded_NE[i, : min(len(one), last)] = one[:last]
    return np.arange(1, last + 1), np.nanmean(padded_NE, axis=0), np.nanstd(padded_NE, axis=0)


def _curves(axes: Axes, row: Row, color: str) -> None:
    histories = [history for seed in row.record.seeds if (history := seed.history())]
    for column, line in (("validation_Loss", "-"), ("train_loss", ":")):
        curves = [history[column] for history in histories if history.get(column)]
        if not curves:
            continue
        epoch_E, mean_E, std_E = mean_curve(curves)
        axes.plot(epoch_E, mean_E, line, color=color, linewidth=1.6, label=row.label if line == "-" else None)
        if line == "-":
            axes.fill_between(epoch_E, mean_E - std_E, mean_E + std_E, color=color, alpha=0.13, linewidth=0)
