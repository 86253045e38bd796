"""The table as lines of text cells, the common ground of the terminal, Markdown, LaTeX and HTML renderers."""

from collections.abc import Iterator
from dataclasses import dataclass

from powmix.metrics.columns import Metric
from powmix.report.published import PublishedRow
from powmix.report.table import Block, Row, Section, fraction


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
Published = dict[tuple[str, str, str, str | None], list[PublishedRow]]


def lines(section: Section, block: Block, published: Published | None = None) -> Iterator[Line]:
    """The block's rows; what is published stands once, below the first row it belongs to, on the whole data alone."""
    waiting = dict(published or {})
    for row in block.rows:
        cells = tuple(_cell(row, m) for m in section.columns)
        yield Line("row", row.label, str(len(row.seeds)), cells, row)
        record = row.record
        if fraction(record) == 1.0:
            for known in waiting.pop((record.dataset, record.model, record.mixer, record.ablation), []):
                yield from _published(known, row, section.columns)


def _cell(row: Row, m: Metric) -> Text:
    cell = row.cells.get(m.key)
    if cell is None:
        return MISSING
    std = m.show(cell.summary.std) if cell.summary.std is not None else ""
    return Text(m.show(cell.summary.mean), std, cell.best, cell.worse)


def _published(known: PublishedRow, row: Row, columns: tuple[Metric, ...]) -> Iterator[Line]:
    values = [known.values.get(m.key) for m in columns]
    printed = tuple(MISSING if v is None else Text(known.printed(m.key, m)) for v, m in zip(values, columns))
    yield Line("published", f"published: {known.title}", "", printed, source=known.source)
    ours = [row.cells[m.key].summary.mean if m.key in row.cells else None for m in columns]
    gaps = tuple(
        MISSING if v is None or our is None else Text(m.show_difference(our - v))
        for v, our, m in zip(values, ours, columns)
    )
    yield Line("difference", "ours − published", "", gaps, source=known.source)
