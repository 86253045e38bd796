"""The picture of a comparison: every seed's score by variant, and the difference to the baseline with its interval."""

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from powmix.metrics.columns import Metric
from powmix.report.figures import style
from powmix.report.figures.style import Look
from powmix.report.table import Block, Row, Table

AIRY, DENSE = 0.38, 0.25
"""Inches of a row, up to DENSE_FROM rows and beyond."""
DENSE_FROM = 8
MAX_ROWS = 24

Looks = dict[str, Look]


def draw(table: Table) -> Figure:
    """Two panels per model: scores of all seeds with their mean, and paired differences with their 95 % interval.

    More than two models stand in two columns. Without any baseline there are the scores alone.
    """
    blocks = [(section.title, block) for section in table.sections for block in section.blocks]
    looks = style.looks(table)
    compared = any(block.compared for _, block in blocks)
    wide = 2 if len(blocks) > 2 else 1
    lines = [blocks[i : i + wide] for i in range(0, len(blocks), wide)]
    counts = [max(len(shown(block)) for _, block in line) for line in lines]
    each = AIRY if max(counts) <= DENSE_FROM else DENSE
    heights = [max(count, 2) * each + 0.95 for count in counts]
    kinds = [1.2, 1] if compared else [1.6]
    with style.context():
        size = (wide * (3.1 * sum(kinds) + 1.2), sum(heights) + 0.3)
        figure = Figure(figsize=size, layout="constrained")
        grid = figure.subplots(
            len(lines), wide * len(kinds), squeeze=False, height_ratios=heights, width_ratios=kinds * wide
        )
        places = [(i, j * len(kinds)) for i in range(len(lines)) for j in range(wide)]
        for number, (i, j) in enumerate(places):
            own = grid[i, j : j + len(kinds)]
            if number >= len(blocks):
                for spare in own:
                    spare.remove()
                continue
            title, block = blocks[number]
            _scores(own[0], shown(block), looks, f"{title}, {block.title}", counts[i])
            if compared and block.compared:
                _differences(own[1], shown(block), looks, counts[i])
            elif compared:
                own[1].set_axis_off()
        style.keys(figure, grid[0, 0], [looks[row.record.signature] for _, block in blocks for row in shown(block)])
        seeds = [len(row.seeds) for _, block in blocks for row in shown(block)]
        meaning = "a faint point per seed, the mean with ± std"
        if compared:
            meaning = f"left: {meaning}; right: difference to no mixing, paired by seed, with Student's 95% interval"
        if any(len(block.rows) > MAX_ROWS for _, block in blocks):
            meaning += f"; of more than {MAX_ROWS} variants of a model, the baseline and those with the best mean"
        if table.sequential:
            meaning += "; seeds were added until it was decided, so these intervals are too narrow"
        style.footnote(figure, f"{style.seeds_note(seeds)}; {meaning}")
    return figure


def shown(block: Block) -> list[Row]:
    """The block's rows in order; of more than MAX_ROWS, the baselines and the best means."""
    rows = [row for row in block.rows if row.main.key in row.cells]
    ranked = sorted(rows, key=lambda row: (not row.is_baseline, -row.main.sign * row.cells[row.main.key].summary.mean))
    kept = {id(row) for row in ranked[:MAX_ROWS]}
    return [row for row in rows if id(row) in kept]


def _rows(axes: Axes, rows: list[Row], places: int) -> None:
    axes.set_ylim(places - 0.45, -0.55)
    axes.set_yticks(range(len(rows)))
    axes.grid(axis="y", visible=False)
    axes.margins(x=0.08)


def _scores(axes: Axes, rows: list[Row], looks: Looks, title: str, places: int) -> None:
    points, spreads = [], []
    for y, row in enumerate(rows):
        look, m = looks[row.record.signature], row.main
        mean, std = row.cells[m.key].summary.mean * m.scale, (row.cells[m.key].summary.std or 0) * m.scale
        points += [(value * m.scale, y - 0.22, look.color) for value in row.record.values(m.key).values()]
        spreads.append((y, mean - std, mean + std, look.color))
        axes.plot(mean, y, look.marker, color=look.color, markersize=6, zorder=3)
        if row.is_baseline:
            axes.axvline(mean, color=style.SOFT, linestyle=(0, (3, 3)), linewidth=1, zorder=1)
    x, heights, colors = zip(*points)
    axes.scatter(x, heights, s=13, c=colors, alpha=0.5, linewidths=0)
    heights, low, high, colors = zip(*spreads)
    axes.hlines(heights, low, high, colors=colors, linewidth=1.2)
    _rows(axes, rows, places)
    axes.set_yticklabels([looks[row.record.signature].key for row in rows])
    axes.xaxis.set_major_locator(MaxNLocator(5))
    if rows:
        axes.set_xlabel(f"test {rows[0].main.label} {rows[0].main.arrow}")
    axes.set_title(title)


def _differences(axes: Axes, rows: list[Row], looks: Looks, places: int) -> None:
    axes.axvline(0, color=style.SOFT, linestyle=(0, (3, 3)), linewidth=1)
    intervals = []
    for y, row in enumerate(rows):
        look, m = looks[row.record.signature], row.main
        comparison = row.cells[m.key].comparison
        if comparison is None:
            continue
        middle = comparison.difference * m.scale
        axes.plot(middle, y, look.marker, color=look.color, markersize=6, zorder=3)
        if comparison.ci:
            intervals.append((y, *(bound * m.scale for bound in comparison.ci), look.color))
        else:
            few = f"{comparison.n} seed{'s' * (comparison.n != 1)}: no interval"
            axes.annotate(few, (middle, y), (8, 0), textcoords="offset points", va="center", fontsize=8)
    if intervals:
        heights, low, high, colors = zip(*intervals)
        axes.hlines(heights, low, high, colors=colors, linewidth=2.2, zorder=2)
    _rows(axes, rows, places)
    axes.set_yticklabels([])
    axes.xaxis.set_major_locator(MaxNLocator(4))
    axes.set_xlabel(_better(rows[0].main))


def _better(m: Metric) -> str:
    return f"Δ {m.label} (better →)" if m.higher_is_better else f"Δ {m.label} (← better)"
