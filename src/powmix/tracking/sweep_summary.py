"""A sweep as trackers keep it: the table of its comparisons, or of a search its trials, and its pictures."""

from __future__ import annotations

import hashlib
import math
from pathlib import Path
from typing import Any

from powmix.report.building import build
from powmix.report.figures import forest, style
from powmix.report.table import Row, Table
from powmix.report.verdict import judge, region, summaries
from powmix.runs import collection
from powmix.runs.files import read_json
from powmix.tracking.tracker import SweepTold
from powmix.tracking.trial_table import trials

COMPARISON = (
    *("dataset", "model", "variant", "metric", "seeds", "mean", "std", "difference", "low", "high", "p", "verdict"),
)
"""mean, std, difference and its 95 % interval in the units in which tables print; p after Holm's correction."""
WIDEST = 8
"""Mixers in a forest plot, which has a panel for each."""


def summarise(folder: Path) -> SweepTold:
    """A sweep's folder -> what trackers keep of it; its forest plot is drawn into the folder."""
    folder = Path(folder)
    sweep = read_json(folder / "sweep.json") or {}
    name, command = sweep.get("name") or folder.resolve().name, sweep.get("command") or ""
    identity = hashlib.sha256(f"{name}\n{command}".encode()).hexdigest()[:12]
    records = collection.read([folder]).records
    columns: tuple[str, ...]
    rows: tuple[Any, ...]
    sentences: tuple[str, ...]
    if sweep.get("search"):
        names, lines = trials(folder, records)
        columns, rows, sentences = tuple(names), tuple(lines), ()
    else:
        table = build(records)
        columns, rows, sentences = COMPARISON, tuple(comparisons(table)), tuple(summaries(table))
        _draw_forest(table, folder)
    pictures = {path.stem: path for path in sorted([*folder.glob("*.png"), *folder.glob("figures/*.png")])}
    return SweepTold(name, identity, folder, command, sentences, columns, rows, pictures)


def comparisons(table: Table) -> list[tuple[Any, ...]]:
    """A row of COMPARISON for each variant and metric, the main metric of the table first."""
    found = []
    for row in table.rows:
        for key in sorted(row.cells, key=lambda key: key != table.main.key):
            found.append(_comparison(row, key, table))
    return sorted(found, key=lambda line: line[3] != table.main.label)


def _comparison(row: Row, key: str, table: Table) -> tuple[Any, ...]:
    [m] = [m for section in table.sections for m in section.columns if m.key == key][:1]
    cell, c = row.cells[key], row.cells[key].comparison
    own = (row.record.dataset, row.record.model, row.label, m.label, cell.summary.n, cell.summary.mean * m.scale)
    std = None if cell.summary.std is None else cell.summary.std * m.scale
    if c is None:
        return (*own, std, None, None, None, None, "baseline" if row.is_baseline else "no baseline")
    low, high = [bound * m.scale for bound in c.ci] if c.ci else (None, None)
    kind, _ = judge(c, m, table.tests, region(m, row, table))
    return (*own, std, c.difference * m.scale, low, high, c.p_t_holm, kind)


def _draw_forest(table: Table, folder: Path) -> None:
    """Over three tasks or more the report's own plot; else each variant's gain in the table's metric."""
    if over_tasks := forest.of_tasks(table):
        style.save(over_tasks, folder, "forest")
        return
    m = table.main
    effects: dict[str, dict[str, forest.Effect]] = {}
    for row in table.rows:
        c = row.cells[m.key].comparison if m.key in row.cells else None
        if c is None or not c.ci or not c.std:
            continue
        low, high = sorted(m.sign * m.scale * bound for bound in c.ci)
        gain, error = m.sign * m.scale * c.difference, m.scale * c.std / math.sqrt(c.n)
        effects.setdefault(row.label, {})[row.place] = forest.Effect(gain, (low, high), error, c.n)
    if 0 < len(effects) <= WIDEST:
        style.save(forest.draw(effects, f"gain in test {m.label}", m.decimals), folder, "forest")
