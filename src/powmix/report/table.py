"""The table as a model: sections (one dataset's columns) of blocks (one model) of rows (variants).

A row is compared, by seed, with its baseline: the variant without mixing on the same data, model and protocol,
trained most alike otherwise. `building` makes it of records; renderers (`terminal`, `formats`, `page`) only print it.
"""

from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from powmix.metrics.columns import Metric, convention, metric
from powmix.metrics.statistics import Comparison, Summary
from powmix.report import folds, labels
from powmix.runs.records import Record

NO_BASELINE = "no baseline (mixer=none) among these runs"

DRAWN = {
    "mosi": ("Non0_acc_2", "MAE"),
    "sims": ("Mult_acc_2", "MAE"),
    "regression": ("MAE", "R2"),
    "classification": ("Accuracy", "Weighted_F1"),
    "multilabel": ("mAP", "Multilabel_micro_F1"),
}
"""The two metrics that figures draw; of mosi and sims the paper's, Acc-2 and MAE."""


@dataclass(frozen=True)
class Cell:
    """One metric of one row; `best` of its block and `worse` than its baseline at the printed precision."""

    summary: Summary
    comparison: Comparison | None = None
    best: bool = False
    worse: bool = False


@dataclass(frozen=True)
class Row:
    """main: the metric of summaries. uneven: its seeds are not those of most rows of its block."""

    record: Record
    label: str
    cells: Mapping[str, Cell]
    main: Metric
    baseline: Record | None = None
    notes: tuple[str, ...] = ()
    uneven: bool = False

    @property
    def is_baseline(self) -> bool:
        return self.record.mixer == "none"

    @property
    def place(self) -> str:
        """Data and model in a few letters, for lists over the whole table."""
        part = fraction(self.record)
        return f"{self.record.dataset}/{self.record.model}" + (f", {part:.0%} of the data" if part != 1.0 else "")

    @property
    def seeds(self) -> list[folds.Key]:
        return folds.keys(self.record)

    @property
    def count(self) -> str:
        """How many seeds, and over how many folds; with a dagger where most rows of the block have others."""
        over = f" ({len(folds.parts(self.record))} folds)" if isinstance(self.record, folds.Folded) else ""
        return f"{len(self.seeds)}{over}{'†' * self.uneven}"


@dataclass(frozen=True)
class Block:
    """Rows that share dataset, model and protocol, the baseline first. notes: what is true of several rows."""

    title: str
    dataset: str
    model: str
    rows: tuple[Row, ...]
    notes: tuple[str, ...] = ()

    @property
    def compared(self) -> bool:
        """Whether any row has a baseline."""
        return any(row.baseline for row in self.rows)


@dataclass(frozen=True)
class Section:
    """Blocks with the same data and columns."""

    title: str
    columns: tuple[Metric, ...]
    blocks: tuple[Block, ...]

    @property
    def main(self) -> Metric:
        """The metric of its summaries."""
        return self.blocks[0].rows[0].main


@dataclass(frozen=True)
class Table:
    """main: the first section's metric of summaries. asked: it was asked for, so figures draw it alone.

    regions: {metric's key: difference that does not matter}, where another was asked for than `verdict.REGIONS`.
    sequential: {signature: what `command/sweeping.py` has written of a run} where seeds were added until it was
    decided: no other verdict holds for such a run.
    """

    sections: tuple[Section, ...]
    main: Metric
    tests: int = 0
    asked: bool = False
    regions: Mapping[str, float] = field(default_factory=dict)
    sequential: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)

    def drawn(self, record: Record) -> tuple[Metric, ...]:
        """The metrics that figures draw side by side, as far as the run has them; the one that was asked for alone."""
        has = record.seeds[0].test
        shown = tuple(metric(key) for key in DRAWN[convention(has)] if key in has)
        return (self.main_of(record),) if self.asked or not shown else shown

    def main_of(self, record: Record) -> Metric:
        """The metric of summaries of its section."""
        return next(row.main for row in self.rows if row.record is record)

    @property
    def rows(self) -> list[Row]:
        return [row for section in self.sections for block in section.blocks for row in block.rows]

    @property
    def notes(self) -> list[str]:
        """What a reader must know; what is true of many rows, once."""
        found: dict[str, list[str]] = defaultdict(list)
        for block in (block for section in self.sections for block in section.blocks):
            for note in block.notes:
                found[note].append(block.rows[0].place)
            for row in block.rows:
                for note in row.notes:
                    if note != NO_BASELINE:
                        found[f"{row.label}: {note}"].append(row.place)
        return [f"{', '.join(places)}: {note}" for note, places in found.items()]


def fraction(record: Record) -> float:
    """The part of the training data a run has used."""
    try:
        return float(record.option("dataset.fraction", labels.named_settings(record).get("dataset.fraction", 1.0)))
    except (TypeError, ValueError):
        return 1.0
