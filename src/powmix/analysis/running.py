"""From names and a run's folder to `analysis/<name>.json`: what is already measured is not measured again.

The file: {"schema", "name", "settings": what decides the numbers, "measured": {seed: the test Loss that the seed's
result recorded}, "rows": [...]}, rows as `report/figures/robustness.py` documents them. It is written after every seed.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

from powmix.analysis.catalogue import ANALYSES, REPETITIONS, choose
from powmix.runs.files import alone_in, read_json, write_json
from powmix.runs.identity import SCHEMA
from powmix.runs.records import Record, read_record
from powmix.runs.seed_records import SeedResult

if TYPE_CHECKING:
    from powmix.analysis.restoring import FinishedRun

Row = dict[str, Any]
OnRow = Callable[[str, int, int], None]


def run(
    names: Iterable[str],
    folder: Path | str,
    *,
    repetitions: int = REPETITIONS,
    device: str = "auto",
    force: bool = False,
    dataset_path: Path | None = None,
    on_row: OnRow | None = None,
) -> dict[str, list[Row]]:
    """Measure the named analyses on every seed of a finished run; {name: rows}, also those found from an earlier call.

    repetitions: of each random damage (`noise`, `dominance`). device: `auto` is the run's own where this machine has
    it. force: measure again. dataset_path: where the run's feature file is now. on_row(name, seed, rows so far) is told
    of every row. ValueError for unknown names, an unfinished run, missing weights, and moved or changed data.
    """
    if repetitions < 1:
        raise ValueError(f"repetitions must be a whole number >= 1, got {repetitions}")
    names, folder = choose(names), Path(folder)
    record = finished_record(folder)
    made = _Bench(record, device, dataset_path, on_row or (lambda *_: None))
    with alone_in(folder / "analysis"):
        return {name: made.analyse(name, ANALYSES[name].settings(repetitions), force) for name in names}


def finished_record(folder: Path) -> Record:
    """What a finished run's folder tells. ValueError says what is missing, and which command continues it."""
    try:
        record = read_record(folder)
    except ValueError as error:
        raise ValueError(f"{folder}: {error}") from error
    if record.status != "finished" or not record.seeds:
        why = f" ({record.error})" if record.error else ""
        hint = f"; the same command continues it: {record.command}" if record.command else ""
        raise ValueError(f"{folder}: the run is {record.status}, not finished{why}{hint}")
    return record


class _Bench:
    """One run on the bench; it is restored only when something must be measured."""

    def __init__(self, record: Record, device: str, dataset_path: Path | None, on_row: OnRow):
        self.record, self.device, self.dataset_path, self.on_row = record, device, dataset_path, on_row
        self._restored: FinishedRun | None = None

    def analyse(self, name: str, settings: Mapping[str, Any], force: bool) -> list[Row]:
        """The rows of every seed, the missing ones measured; each seed's are on disk as soon as they are complete."""
        path = self.record.folder / "analysis" / f"{name}.json"
        head = {"schema": SCHEMA, "name": name, "settings": settings}
        found = None if force else read_json(path)
        if not found or any(found.get(key) != value for key, value in head.items()):
            found = {}
        recorded = {str(seed.seed): seed.test["Loss"] for seed in self.record.seeds}
        measured = {seed: loss for seed, loss in found.get("measured", {}).items() if recorded.get(seed) == loss}
        rows = [row for row in found.get("rows", []) if str(row["seed"]) in measured]
        for seed in self.record.seeds:
            if str(seed.seed) not in measured:
                rows += self._measure(name, seed, settings)
                measured[str(seed.seed)] = recorded[str(seed.seed)]
                write_json(path, {**head, "measured": measured, "rows": rows})
        return rows

    def _measure(self, name: str, seed: SeedResult, settings: Mapping[str, Any]) -> list[Row]:
        from powmix.training.solver import reproducible

        rows: list[Row] = []
        with reproducible():
            for row in import_module(f"powmix.analysis.{name}").measure(self._run().solver(seed), settings):
                rows.append({"seed": seed.seed, **{k: v for k, v in row.items() if v == v}})
                self.on_row(name, seed.seed, len(rows))
        return rows

    def _run(self) -> FinishedRun:
        if self._restored is None:
            from powmix.analysis.restoring import restore

            self._restored = restore(self.record, self.device, self.dataset_path)
        return self._restored
