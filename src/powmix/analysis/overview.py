"""An analysis in a terminal: one row per variant, means over seeds, repetitions and kinds, as its figure averages.

Regularity has a row for each quantity of a variant: there are as many as its model has modalities, and more.
"""

from __future__ import annotations

import shutil
import statistics
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from io import StringIO
from typing import Any

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table as Grid

from powmix.analysis.catalogue import ANALYSES
from powmix.metrics.columns import Metric, columns, metric
from powmix.runs.records import Record

Rows = Sequence[Mapping[str, Any]]
SHOWN = 6
"""At most so many columns of a curve over p."""


def table(name: str, runs: Sequence[tuple[Record, Rows]]) -> str:
    """The table as text. runs: each variant with its rows."""
    title = f"{name}: {ANALYSES[name].title} ({ANALYSES[name].figure})"
    grid = Grid(title=title, box=SIMPLE_HEAD, title_justify="left", title_style="bold", pad_edge=False)
    grid.add_column("Variant", no_wrap=True, min_width=min(48, max(len(record.name) for record, _ in runs)))
    grid.add_column("n", justify="right")
    if name == "regularity":
        _add_quantities(grid, runs)
    else:
        _add_columns(grid, name, runs)
    console = Console(file=StringIO(), width=shutil.get_terminal_size((120, 24)).columns, highlight=False)
    console.print(grid)
    return "\n".join(line.rstrip() for line in console.file.getvalue().splitlines())


def _add_quantities(grid: Grid, runs: Sequence[tuple[Record, Rows]]) -> None:
    grid.add_column("Quantity", no_wrap=True)
    grid.add_column("mean ± std", justify="right", no_wrap=True)
    for record, rows in runs:
        before = [record.name, str(len(rows))]
        for key in dict.fromkeys(key for row in rows for key in row if key != "seed"):
            values = [row[key] for row in rows if key in row]
            spread = f" ± {statistics.stdev(values):.3f}" if len(values) > 1 else ""
            grid.add_row(*before, key.replace("_", " "), f"{_mean(values):.3f}{spread}")
            before = ["", ""]


def _add_columns(grid: Grid, name: str, runs: Sequence[tuple[Record, Rows]]) -> None:
    found = [_columns(name, record, rows) for record, rows in runs]
    heads = list(dict.fromkeys(head for cells in found for head in cells))
    heads = heads if name == "unimodal" else _thinned(heads)
    for head in heads:
        grid.add_column(head, justify="right")
    for (record, rows), cells in zip(runs, found, strict=True):
        seeds = len({row["seed"] for row in rows})
        grid.add_row(record.name, str(seeds), *(cells.get(head, "—") for head in heads))


def _columns(name: str, record: Record, rows: Rows) -> dict[str, str]:
    """{column: cell} of one variant."""
    m = _main(record)
    by_column: dict[str, dict[str, list[float]]] = defaultdict(lambda: defaultdict(list))
    for row in rows:
        if m.key in row:
            head = row["target"] if name == "unimodal" else f"p={row['p']:g}"
            by_column[f"{m.label} {head}"][row.get("kind", "")].append(row[m.key])
    return {head: m.show(_mean(_mean(values) for values in kinds.values())) for head, kinds in by_column.items()}


def _main(record: Record) -> Metric:
    """The metric the run's objective names, else the first of its columns."""
    keys = record.seeds[0].test
    return metric(record.objective_metric) if record.objective_metric in keys else columns(keys)[0]


def _thinned(heads: Sequence[str]) -> list[str]:
    """The first, the last, and evenly those between."""
    if len(heads) <= SHOWN:
        return list(heads)
    return [heads[round(i * (len(heads) - 1) / (SHOWN - 1))] for i in range(SHOWN)]


def _mean(values: Iterable[float]) -> float:
    return statistics.fmean(values)
