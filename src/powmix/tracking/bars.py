"""A run on the terminal: bars where a person is looking, a line per finished seed where not."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from typing import Any

from powmix.training.listener import Listener

log = logging.getLogger("powmix")


class QuietLines(Listener):
    """One line per finished seed, for logs and pipes."""

    def __init__(self, name: str, metric: str, level: int = logging.INFO):
        self.name, self.metric, self.level = name, metric, level
        self.begun: set[int] = set()

    def on_seed_start(self, seed: int, max_epochs: int) -> None:
        self.begun.add(seed)
        log.debug("%s seed %d: up to %d epochs", self.name, seed, max_epochs)

    def on_workers_start(self, seeds: Sequence[int]) -> None:
        self.begun.update(seeds)

    def on_epoch(self, seed: int, row: Mapping[str, Any]) -> None:
        log.debug("%s seed %d: %s", self.name, seed, row)

    def on_seed_end(self, seed: int, record: Mapping[str, Any]) -> None:
        validation, test = (record[split].get(self.metric, float("nan")) for split in ("validation", "test"))
        already = "" if seed in self.begun else "already finished: "
        log.log(
            self.level, "%s seed %d: %s%s validation %.3f, test %.3f (best of %d epochs: %d; %.0f s)",
            self.name, seed, already, self.metric, validation, test,
            record["epochs"], record["best_epoch"], record["seconds"],
        )  # fmt: skip


class ProgressBars(QuietLines):
    """A bar per seed that counts epochs and shows the validation metric; it ends in the quiet line.

    Seeds in worker processes have one bar, which counts those that are finished.
    """

    def __init__(self, name: str, metric: str, level: int = logging.INFO):
        super().__init__(name, metric, level)
        from rich.console import Console
        from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

        columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
        self.progress = Progress(*columns, console=Console(stderr=True), transient=True)
        self.tasks: dict[int | None, Any] = {}  # None: of all seeds in workers

    def on_seed_start(self, seed: int, max_epochs: int) -> None:
        super().on_seed_start(seed, max_epochs)
        self.progress.start()
        self.tasks[seed] = self.progress.add_task(f"{self.name} seed {seed}", total=max_epochs)

    def on_workers_start(self, seeds: Sequence[int]) -> None:
        super().on_workers_start(seeds)
        self.progress.start()
        self.tasks[None] = self.progress.add_task(f"{self.name} seeds", total=len(seeds))

    def on_epoch(self, seed: int, row: Mapping[str, Any]) -> None:
        value = row.get(f"validation_{self.metric}", float("nan"))
        self.progress.update(
            self.tasks[seed], completed=row["epoch"], description=f"{self.name} seed {seed} {self.metric} {value:.3f}"
        )

    def on_seed_end(self, seed: int, record: Mapping[str, Any]) -> None:
        self._take_down(seed)
        if None in self.tasks:
            self.progress.advance(self.tasks[None])
        super().on_seed_end(seed, record)

    def close(self, status: str) -> None:
        for seed in list(self.tasks):
            self._take_down(seed)

    def _take_down(self, seed: int | None) -> None:
        if seed in self.tasks:
            self.progress.remove_task(self.tasks.pop(seed))
        if not self.tasks:
            self.progress.stop()
