"""The picture of a comparison: every seed's score by variant, and the difference to the baseline with its interval."""

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from powmix.metrics.columns import Metric
from powmix.report.figures import style
from powmix.report.table import Block, Row, Table

ROW_HEIGHT = 0.42
MAX_ROWS = 24


def draw(table: Table) -> Figure:
    """Two panels per model: scores of all seeds with mean and std, and paired differences with their 95 % CI."""
    blocks = [(section.title, block) for section in table.sections for block in section.blocks]
    heights = [max(len(shown(block, table.main)), 2) * ROW_HEIGHT + 1.0 for _, block in blocks]
    with style.context():
        figure = Figure(figsize=(9.6, sum(heights) + 0.3), layout="constrained")
        grid = figure.subplots(
            len(blocks), 2, squeeze=False, gridspec_kw={"height_ratios": heights, "width_ratios": [1.25, 1]}
        )
        for (title, block), (scores, gaps) in zip(blocks, grid):
            rows = shown(block, table.main)
            _scores(scores, rows, table.main, f"{title}, {block.title}")
            _differences(gaps, rows, table.main)
        counts = [len(row.seeds) for _, block in blocks for row in shown(block, table.main)]
        meaning = "left: seeds, mean ± std; right: paired by seed, Student's 95% interval"
        if any(len(block.rows) > MAX_ROWS for _, block in blocks):
            meaning += f"; of more than {MAX_ROWS} variants of a model, the baseline and those with the best mean"
        style.footnote(figure, f"{style.seeds_note(counts)}; {meaning}")
    return figure


def shown(block: Block, m: Metric) -> list[Row]:
    """The block's rows in order; of more than MAX_ROWS, the baselines and the best means."""
    rows = [row for row in block.rows if m.key in row.cells]
    ranked = sorted(rows, key=lambda row: (not row.is_baseline, -m.sign * row.cells[m.key].summary.mean))
    kept = {id(row) for row in ranked[:MAX_ROWS]}
    return [row for row in rows if id(row) in kept]


def _rows(axes: Axes, rows: list[Row]) -> None:
    axes.set_ylim(len(rows) - 0.45, -0.55)
    axes.set_yticks(range(len(rows)))
    axes.grid(axis="y", visible=False)
    axes.margins(x=0.08)
    axes.xaxis.set_major_locator(MaxNLocator(6))


def _scores(axes: Axes, rows: list[Row], m: Metric, title: str) -> None:
    palette = style.colors([row.record for row in rows])
    for y, (row, color) in enumerate(zip(rows, palette)):
        values = [value * m.scale for value in row.record.values(m.key).values()]
        summary = row.cells[m.key].summary
        axes.scatter(values, [y - 0.2] * len(values), s=22, color=color, alpha=0.55, linewidths=0, zorder=2)
        axes.errorbar(
            summary.mean * m.scale,
            y,
            xerr=(summary.std or 0) * m.scale,
            fmt="D",
            color=color,
            markersize=6,
            capsize=3,
            zorder=3,
        )
        if row.is_baseline:
            axes.axvline(summary.mean * m.scale, color=style.SOFT, linestyle=(0, (3, 3)), linewidth=1, zorder=1)
    _rows(axes, rows)
    axes.set_yticklabels([row.label for row in rows])
    axes.set_xlabel(f"test {m.label} {m.arrow}")
    axes.set_title(title)


def _differences(axes: Axes, rows: list[Row], m: Metric) -> None:
    palette = style.colors([row.record for row in rows])
    axes.axvline(0, color=style.SOFT, linestyle=(0, (3, 3)), linewidth=1)
    for y, (row, color) in enumerate(zip(rows, palette)):
        comparison = row.cells[m.key].comparison
        if comparison is None:
            continue
        middle = comparison.difference * m.scale
        axes.plot(middle, y, "D", color=color, markersize=6, zorder=3)
        if comparison.ci:
            low, high = (bound * m.scale for bound in comparison.ci)
            axes.plot([low, high], [y, y], color=color, linewidth=2.4, solid_capstyle="round", zorder=2)
        else:
            axes.annotate(
                f"{comparison.n} seed(s): no interval", (middle, y), (8, 0), textcoords="offset points", va="center"
            )
    _rows(axes, rows)
    axes.set_yticklabels([])
    axes.set_xlabel(f"difference to no mixing in {m.label} ({'right' if m.higher_is_better else 'left'} is better)")
    if not any(row.cells[m.key].comparison for row in rows):
        axes.text(0.5, 0.5, "no baseline to compare with", transform=axes.transAxes, ha="center", color=style.SOFT)
