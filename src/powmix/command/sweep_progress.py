"""How far a comparison is, on the terminal, whatever launches its jobs: it is read off what they leave on disk."""

from __future__ import annotations

import logging
import sys
import threading
import time
from collections.abc import Sequence
from datetime import timedelta
from pathlib import Path
from typing import Any

from powmix.metrics.columns import metric
from powmix.runs.files import read_json
from powmix.runs.records import read_jobs

SECONDS = 0.5
log = logging.getLogger("powmix")


class SweepProgress:
    """While it is entered: a line for each job that ends, and where a person is looking one bar over all seeds.

    labels: what tells a job from the others, by its number. seeds: of each job.
    """

    def __init__(self, folder: Path, labels: Sequence[str], seeds: Sequence[Sequence[int]]):
        self.folder, self.labels, self.seeds = folder, labels, seeds
        self.finished: dict[Path, set[int]] = {}
        self.told: dict[int, str] = {number: job["status"] for number, job in read_jobs(folder).items()}
        self.began = time.time()
        self.over = threading.Event()
        self.thread = threading.Thread(target=self._watch, daemon=True)

    def __enter__(self) -> SweepProgress:
        self.bar = _bar() if sys.stderr.isatty() else None
        if self.bar:
            done = self._look(tell=False)
            self.task = self.bar.add_task("", total=sum(map(len, self.seeds)), completed=done, left="")
            self.bar.start()
        self.before = {number: _stamp(self.folder, number) for number in range(len(self.labels))}
        self.thread.start()
        return self

    def __exit__(self, *_: Any) -> None:
        self.over.set()
        self.thread.join()
        self._show()
        if self.bar:
            self.bar.stop()

    def _watch(self) -> None:
        while not self.over.wait(SECONDS):
            self._show()

    def _show(self) -> None:
        done = self._look(tell=True)
        if self.bar:
            ended = sum(status != "running" for status in self.told.values())
            left = time_left(self._ends(), self.began, time.time(), sum(map(len, self.seeds)) - done)
            told = "" if left is None else f"{timedelta(seconds=round(left))} left"
            self.bar.update(self.task, completed=done, description=f"{ended} of {len(self.labels)} variants", left=told)

    def _ends(self) -> list[float]:
        """When seeds of this sweep were finished since it began."""
        results = (run / f"seed_{seed}" / "result.json" for run, seeds in self.finished.items() for seed in seeds)
        ends = [path.stat().st_mtime for path in results if path.is_file()]
        return [end for end in ends if end >= self.began]

    def _look(self, tell: bool) -> int:
        """How many seeds are finished; if `tell`, jobs that have ended since the last look are told of."""
        done = 0
        for number, job in read_jobs(self.folder).items():
            if number >= len(self.labels) or not job.get("run"):
                continue
            run = (self.folder / job["run"]).resolve()
            found = self.finished.setdefault(run, set())
            found |= {seed for seed in self.seeds[number] if seed not in found and _is_finished(run, seed)}
            done += len(found & set(self.seeds[number]))
            if tell and job["status"] != "running" and self._is_news(number):
                self._tell(number, job, run)
            self.told[number] = job["status"]
        return done

    def _is_news(self, number: int) -> bool:
        """Whether a job's record has been written since the sweep began, and since the last look."""
        stamp = _stamp(self.folder, number)
        is_news = stamp != self.before[number]
        self.before[number] = stamp
        return is_news

    def _tell(self, number: int, job: dict[str, Any], run: Path) -> None:
        result = read_json(run / "result.json") or {}
        key, seconds = result.get("objective_metric"), sum(seed["seconds"] for seed in result.get("seeds", ()))
        text = f"{self.labels[number] or result.get('name', number)}: {job['status']}"
        if job["status"] == "finished" and key:
            m, mean, std = metric(key), result["mean"]["validation"][key], result["std"]["validation"][key]
            spread = f" ± {m.show(std)}" if std is not None else ""
            count = len(result["seeds"])
            already = "already finished: " if self._was_finished(number, run) else ""
            text = (
                f"{self.labels[number] or result['name']}: {already}validation {m.label} {m.show(mean)}{spread}, "
                f"{count} seed{'s' * (count != 1)} in {seconds:.0f} s"
            )
        if self.bar:
            self.bar.console.print(text, highlight=False, markup=False)
        else:
            log.info(text)

    def _was_finished(self, number: int, run: Path) -> bool:
        """Whether a job found all its seeds finished when the sweep began."""
        results = [run / f"seed_{seed}" / "result.json" for seed in self.seeds[number]]
        return all(path.is_file() and path.stat().st_mtime < self.began for path in results)


def time_left(ends: Sequence[float], began: float, now: float, count: int) -> float | None:
    """Seconds until `count` more seeds are finished, at the pace of those that were finished since the beginning.

    ends: when these were. It falls while the next one is on its way, to 0 at the least; None before the first.
    Rich's own estimate forgets what is older than half a minute, so for longer seeds it says nothing.
    """
    if not ends:
        return None
    pace = (max(ends) - began) / len(ends)
    return max(0.0, count * pace - (now - max(ends)))


def _is_finished(run: Path, seed: int) -> bool:
    return (read_json(run / f"seed_{seed}" / "result.json") or {}).get("status") == "finished"


def _stamp(folder: Path, number: int) -> int | None:
    """When a job's record was last written."""
    try:
        return (folder / str(number) / "job.json").stat().st_mtime_ns
    except OSError:
        return None


def _bar() -> Any:
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

    return Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("seeds"),
        TimeElapsedColumn(),
        TextColumn("{task.fields[left]}"),
        console=Console(stderr=True),
        transient=True,
    )
