"""A search's trials by validation alone: what the terminal shows at its end, and what trackers keep."""

from __future__ import annotations

import csv
from collections.abc import Sequence
from io import StringIO
from pathlib import Path
from typing import Any

from powmix.metrics.columns import metric
from powmix.metrics.statistics import summarise
from powmix.runs import collection
from powmix.runs.files import replacing
from powmix.runs.records import Record, read_jobs
from powmix.runs.seed_records import FINISHED

PRUNED = "pruned"
SHOWN = 20
"""Trials on the terminal; trials.csv has all."""


def write_trials(folder: Path) -> str:
    """A search's folder -> trials.csv in it, and the table to print. No test metric is in either."""
    found = collection.read([folder])
    columns, rows = trials(folder, found.records)
    unfinished = _unfinished([failure for failure in found.failures if failure.status != PRUNED])
    text = StringIO()
    csv.writer(text, lineterminator="\n").writerows([columns, *rows])
    with replacing(folder / "trials.csv") as temporary:
        temporary.write_text(text.getvalue(), encoding="utf-8")
    if not rows:
        return f"No trial has finished.\n{unfinished}"
    lines = _aligned([columns, *([_short(value) for value in row] for row in rows[:SHOWN])])
    more = f"... and {len(rows) - SHOWN} more in trials.csv\n" if len(rows) > SHOWN else ""
    best = (folder / read_jobs(folder)[rows[0][0]]["run"]).resolve()
    return f"{lines}{more}{unfinished}The best trial's test metrics, on demand: powmix-report {best}\n"


def _unfinished(failures: Sequence[collection.Failure]) -> str:
    """What failed or was interrupted, a line each."""
    if not failures:
        return ""
    lines = "".join(f"- {failure.sentence}\n" for failure in failures[:SHOWN])
    more = f"... and {len(failures) - SHOWN} more\n" if len(failures) > SHOWN else ""
    return f"Not finished ({len(failures)}):\n{lines}{more}"


def trials(folder: Path, records: Sequence[Record]) -> tuple[list[str], list[tuple[Any, ...]]]:
    """Columns and a row for each finished trial, the best first: its number, validation mean and std, what it varies.

    The objective is in the units in which tables print it.
    """
    by_folder = {record.folder.resolve(): record for record in records}
    jobs = {n: job for n, job in read_jobs(folder).items() if job["status"] == FINISHED and job.get("run")}
    places = {n: (folder / job["run"]).resolve() for n, job in jobs.items()}
    found = {n: by_folder[place] for n, place in places.items() if place in by_folder}
    if not found:
        return ["trial"], []
    given = {n: dict(text.lstrip("+").split("=", 1) for text in jobs[n]["overrides"] if "=" in text) for n in found}
    keys = dict.fromkeys(key for one in given.values() for key in one)
    varied = [key for key in keys if len({one.get(key) for one in given.values()}) > 1]
    m = metric(next(iter(found.values())).objective_metric)
    rows: list[tuple[Any, ...]] = []
    for number, record in found.items():
        over = summarise([value * m.scale for value in record.values(m.key, "validation").values()])
        rows.append((number, over.mean, over.std, over.n, *(given[number].get(key) for key in varied)))
    rows.sort(key=lambda line: (-m.sign * line[1], line[0]))
    return ["trial", f"validation {m.label}", "std", "seeds", *varied], rows


def _aligned(rows: Sequence[Sequence[str]]) -> str:
    widths = [max(map(len, column)) for column in zip(*rows)]
    return "".join("  ".join(map(str.rjust, row, widths)).rstrip() + "\n" for row in rows)


def _short(value: Any) -> str:
    """A number by four digits, whether it is one or an override's text."""
    try:
        number = float(value)
    except (TypeError, ValueError):
        return "" if value is None else str(value)
    return str(value) if number.is_integer() else f"{number:.4g}"
