"""The table in a terminal: one rich table per dataset, the difference to the baseline in the main metric."""

import shutil
from collections.abc import Sequence
from io import StringIO
from typing import Literal, NamedTuple

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.measure import Measurement
from rich.table import Table as Grid
from rich.text import Text as Styled

from powmix.metrics.columns import Metric
from powmix.report import lines as printed
from powmix.report.claims import CLAIM_COLUMNS, CLAIMS, Checked, claim_cells
from powmix.report.lines import Line, Text
from powmix.report.paper_tables import Group, PaperTable
from powmix.report.published import Published
from powmix.report.table import Section, Table
from powmix.report.verdict import show_interval

MIN_LABEL = 16


class Layout(NamedTuple):
    """How a table saves width: around columns, before an arrow, before a std, before an interval."""

    padding: int
    arrow: str
    spread: str
    interval: str


LAYOUTS = (Layout(1, " ", " ± ", " "), Layout(0, " ", "±", " "), Layout(0, "", "\n±", "\n"))


def render(table: Table, published: Published | None = None, color: bool = False, width: int | None = None) -> str:
    """The table as text; std under the mean where the terminal is narrow."""
    width = width or shutil.get_terminal_size((120, 24)).columns
    shown = [_fitting(section, section.main, published, color, width) for section in table.sections]
    shown.append(_print(_legend(table), color, width, style="dim"))
    return "\n".join(line.rstrip() for text in shown for line in text.splitlines()) + "\n"


def render_paper(table: PaperTable, color: bool = False, width: int | None = None) -> str:
    """A published table as text: all datasets side by side where they fit, else one below the other."""
    width = width or shutil.get_terminal_size((120, 24)).columns
    grids = [_paper_grid(table, table.groups, table.title)]
    if _natural_width(grids[0]) > width:
        grids = [_paper_grid(table, (group,), f"{table.title}: {group.title}") for group in table.groups]
    shown = [_print(grid, color, max(width, _natural_width(grid))) for grid in grids]
    shown.append(_print(table.note, color, width, style="dim"))
    return "\n".join(line.rstrip() for text in shown for line in text.splitlines()) + "\n"


def render_claims(claims: Sequence[Checked], color: bool = False, width: int | None = None) -> str:
    """The paper's claims with what our runs say to each."""
    width = width or shutil.get_terminal_size((120, 24)).columns
    grid = Grid(title=CLAIMS, box=SIMPLE_HEAD, title_justify="left", title_style="bold", pad_edge=False)
    for name in CLAIM_COLUMNS:
        grid.add_column(name, overflow="fold")
    for one in claims:
        grid.add_row(*(Styled(text) for text in claim_cells(one)))
        grid.add_section()
    text = _print(grid, color, max(width, 100))
    return "\n".join(line.rstrip() for line in text.splitlines()) + "\n"


def _paper_grid(table: PaperTable, groups: tuple[Group, ...], title: str) -> Grid:
    grid = Grid(title=title, box=SIMPLE_HEAD, title_justify="left", title_style="bold", pad_edge=False, padding=(0, 0))
    for head in table.heads:
        grid.add_column(f"\n{head}")
    for group in groups:
        for i, m in enumerate(group.columns):
            name = "" if i or len(groups) == 1 else group.title
            grid.add_column(f"{name}\n{m.label}{m.arrow}", justify="right", no_wrap=True)
    for block in table.blocks:
        for line in block:
            if any((group.dataset, m.key) in line.cells for group in groups for m in group.columns):
                dim = table.own and line.kind != "ours"
                heads = line.heads if line.kind == "published" or table.own else (f"  {line.heads[0]}", *line.heads[1:])
                grid.add_row(*heads, *map(_paper_cell, line.texts(groups)), style="dim" if dim else None)
        grid.add_section()
    return grid


def _paper_cell(text: Text) -> Styled:
    mark = "*" if text.best else "!" if text.worse else ""
    return Styled(f"{mark}{text.mean}", style="bold green" if text.best else "red" if text.worse else "")


def _fitting(section: Section, main: Metric, published: Published | None, color: bool, width: int) -> str:
    """The section in the airiest layout that fits; in the last one labels fold."""
    for layout in LAYOUTS:
        grid = _grid(section, main, published, layout)
        if _natural_width(grid) <= width:
            return _print(grid, color, width)
    fixed = _natural_width(grid) - _natural_width(_labels(grid))
    return _print(grid, color, max(width, fixed + MIN_LABEL))


def _natural_width(grid: Grid) -> int:
    console = Console(width=10_000)
    return Measurement.get(console, console.options, grid).maximum


def _labels(grid: Grid) -> Grid:
    """The grid's first column alone."""
    alone = Grid(box=SIMPLE_HEAD, pad_edge=False, padding=(0, 0))
    alone.add_column(grid.columns[0].header)
    for cell in grid.columns[0].cells:
        alone.add_row(cell)
    return alone


def _print(content: Grid | str, color: bool, width: int, style: str | None = None) -> str:
    text = StringIO()
    system: Literal["standard"] | None = "standard" if color else None
    console = Console(file=text, width=width, color_system=system, force_terminal=color, highlight=False)
    console.print(content, style=style)
    return text.getvalue()


def _legend(table: Table) -> str:
    parts = ["mean ± std over seeds (ddof 1)"]
    if len(table.rows) > 1:
        parts.append("* best of its model")
    if any(row.baseline for row in table.rows):
        parts.append("! worse than no mixing")
        parts.append("Δ against no mixing, paired by seed, with Student's 95% interval")
    return "; ".join(parts)


def _grid(section: Section, main: Metric, published: Published | None, layout: Layout) -> Grid:
    grid = Grid(title=section.title, box=SIMPLE_HEAD, title_justify="left", title_style="bold", pad_edge=False)
    grid.padding = (0, layout.padding)
    grid.add_column("Variant", overflow="fold")
    grid.add_column("n", justify="right")
    for m in section.columns:
        grid.add_column(f"{m.label}{layout.arrow}{m.arrow}", justify="right", no_wrap=True)
    compared = any(block.compared for block in section.blocks)
    if compared:
        grid.add_column(f"Δ {main.label} [95% CI]", justify="right", no_wrap=True)
    for block in section.blocks:
        grid.add_row(Styled(block.title, style="bold"), *[""] * (len(grid.columns) - 1))
        for line in printed.lines(section, block, published):
            style = None if line.kind == "row" else "dim"
            cells = [_cell(text, layout) for text in line.cells]
            label = Styled(("  " if line.kind == "row" else "    ") + line.label)
            gap = [_difference(line, main, layout)] if compared else []
            grid.add_row(label, line.seeds, *cells, *gap, style=style)
        grid.add_section()
    return grid


def _cell(text: Text, layout: Layout) -> Styled:
    mark = "*" if text.best else "!" if text.worse else ""
    std = f"{layout.spread}{text.std}" if text.std else ""
    style = "bold green" if text.best else "red" if text.worse else ""
    return Styled(f"{mark}{text.mean}{std}", style=style)


def _difference(line: Line, main: Metric, layout: Layout) -> str:
    if line.row is None or line.row.is_baseline:
        return ""
    cell = line.row.cells.get(main.key)
    if cell is None or cell.comparison is None:
        return "—"
    few = f"({cell.comparison.n} seed{'s' * (cell.comparison.n != 1)}: no CI)"
    interval = show_interval(cell.comparison, main) if cell.comparison.ci else few
    return main.show_difference(cell.comparison.difference) + layout.interval + interval
