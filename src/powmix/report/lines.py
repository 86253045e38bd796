"""The table as lines of text cells, the common ground of the terminal, Markdown, LaTeX and HTML renderers."""

from collections.abc import Iterator
from dataclasses import dataclass

from powmix.metrics.columns import Metric
from powmix.report.published import Published, PublishedRow
from powmix.report.table import Block, Row, Section


@dataclass(frozen=True)
class Text:
    """One printed cell: mean and std as text, and how to emphasise them."""

    mean: str
    std: str = ""
    best: bool = False
    worse: bool = False

    @property
    def plain(self) -> str:
        return f"{self.mean} ± {self.std}" if self.std else self.mean


@dataclass(frozen=True)
class Line:
    """A row of ours (`row` set), a published one beside it, or the difference between the two."""

    kind: str
    label: str
    seeds: str
    cells: tuple[Text, ...]
    row: Row | None = None
    source: str = ""


MISSING = Text("—")


def lines(section: Section, block: Block, published: Published | None = None) -> Iterator[Line]:
    """The block's rows, each with what is published of it below; what belongs to no row stands at the end."""
    beside = list(published.beside(block.rows)) if published else []
    for row in block.rows:
        cells = tuple(text_of(row, m) for m in section.columns)
        yield Line("row", row.label, row.count, cells, row)
        for known, owner in beside:
            if owner is row:
                yield _published(known, section.columns, f"published: {known.title}")
                yield _difference(known, row, section.columns)
    for known, owner in beside:
        if owner is None:
            yield _published(known, section.columns, f"published: {known.title}, {known.label}")


def text_of(row: Row, m: Metric) -> Text:
    """One cell of ours."""
    cell = row.cells.get(m.key)
    if cell is None:
        return MISSING
    std = m.show(cell.summary.std) if cell.summary.std is not None else ""
    return Text(m.show(cell.summary.mean), std, cell.best, cell.worse)


def _published(known: PublishedRow, columns: tuple[Metric, ...], label: str) -> Line:
    cells = tuple(Text(known.printed(m)) if m.key in known.values else MISSING for m in columns)
    return Line("published", label, "", cells, source=known.source)


def _difference(known: PublishedRow, row: Row, columns: tuple[Metric, ...]) -> Line:
    cells = tuple(
        Text(m.show_difference(row.cells[m.key].summary.mean - known.values[m.key]))
        if m.key in known.values and m.key in row.cells
        else MISSING
        for m in columns
    )
    return Line("difference", "ours − published", "", cells, source=known.source)
