"""What trackers are told of a run and of a sweep, and what each has to do; W&B, TensorBoard and MLflow do it."""

from __future__ import annotations

import logging
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, ClassVar

from powmix.runs.files import SeedFolder, read_columns
from powmix.training.listener import Listener

log = logging.getLogger("powmix")


@dataclass(frozen=True)
class Told:
    """A variant as trackers are told of it: its names, its configuration, and every sweep that it belongs to."""

    name: str
    signature: str
    folder: Path
    variant: Mapping[str, Any]
    config: Mapping[str, Any]
    sweeps: tuple[str, ...]
    command: str
    objective: str
    trial: Mapping[str, Any]
    in_sweep: bool = False
    """Whether this process trains it as one job of many, so that nothing is said of it at level INFO."""

    @classmethod
    def of(cls, config: Mapping[str, Any], result: Mapping[str, Any], folder: Path, sweeps: Sequence[str]) -> Told:
        """From a run's config.yaml and result.json (which need not be whole yet)."""
        return cls(
            name=result["name"],
            signature=result["signature"],
            folder=folder,
            variant=result["variant"],
            config=config,
            sweeps=tuple(sweeps),
            command=result["command"],
            objective=result["objective_metric"],
            trial=result.get("trial") or {},
        )

    @property
    def group(self) -> str:
        """What the seeds of this variant have in common, readable and unique."""
        return f"{self.name} {self.signature[:6]}"

    def seed_id(self, seed: int) -> str:
        return f"{self.signature}-{seed}"

    def flat_config(self) -> dict[str, Any]:
        """The configuration by dotted names, for trackers without nested values."""
        return dict(_flat(self.config, ""))


@dataclass(frozen=True)
class SweepTold:
    """A sweep that has ended, as trackers are told of it (tracking/sweep_summary.py).

    columns, rows: its comparison table, or of a search its trials. pictures: PNG files by name.
    """

    name: str
    identity: str
    folder: Path
    command: str
    sentences: tuple[str, ...]
    columns: tuple[str, ...]
    rows: tuple[tuple[Any, ...], ...]
    pictures: Mapping[str, Path]

    def markdown(self) -> str:
        lines = [self.columns, [":---"] * len(self.columns), *self.rows]
        return (
            "\n".join("| " + " | ".join("" if x is None else _short(x) for x in line) + " |" for line in lines) + "\n"
        )


class Tracker(Listener):
    """A place that keeps runs. Each has one run for a seed and one for a sweep, and gets every epoch once.

    What is on disk decides: a seed that was finished or begun by an earlier command is logged from there, as far as
    the tracker does not have it already. A subclass says how; an error there stops no training.
    """

    name: ClassVar[str]

    def __init__(self, settings: Mapping[str, Any], told: Told) -> None:
        self.settings, self.told = settings, told
        self._last: dict[int, int] = {}
        self._lost: set[int] = set()

    # --- what a tracker does ------------------------------------------------------------------------------------------

    def start(self, seed: int, is_live: bool) -> int:
        """Opens the seed's run, new or again: the last epoch that it holds. ValueError for what a user must mend."""
        raise NotImplementedError

    def row(self, seed: int, epoch: int, values: Mapping[str, float]) -> None:
        """Keeps an epoch; values: by name, in sections (`validation/MAE`)."""
        raise NotImplementedError

    def result(self, seed: int, record: Mapping[str, Any]) -> None:
        """Keeps a finished seed's entry of result.json, and closes its run."""
        raise NotImplementedError

    def stop(self, seed: int, status: str) -> None:
        """Closes the run of a seed that has no result."""
        raise NotImplementedError

    def end(self, status: str) -> None:
        """Whatever is to be done for the variant as a whole, when all its seeds are closed."""

    @classmethod
    def sweep(cls, settings: Mapping[str, Any], sweep: SweepTold) -> str:
        """Keeps a sweep's summary, the same run each time; where it is to be seen."""
        raise NotImplementedError

    # --- what it hears of a training ----------------------------------------------------------------------------------

    def on_seed_start(self, seed: int, max_epochs: int) -> None:
        self._open(seed, is_live=True)

    def on_seed_continued(self, seed: int, rows: Sequence[Mapping[str, Any]]) -> None:
        for row in rows:
            self.on_epoch(seed, row)

    def on_epoch(self, seed: int, row: Mapping[str, Any]) -> None:
        epoch = int(row["epoch"])
        if epoch > self._last.get(seed, 0):
            self._last[seed] = epoch
            values = {slashed(name): value for name, value in row.items() if _is_number(value)}
            self._try(seed, lambda: self.row(seed, epoch, values | {"epoch": epoch}))

    def on_seed_end(self, seed: int, record: Mapping[str, Any]) -> None:
        if seed not in self._last:
            self._open(seed, is_live=False)
        columns = read_columns(SeedFolder(self.told.folder / record["folder"]).history)
        for row in zip(*columns.values()):
            self.on_epoch(seed, dict(zip(columns, row)))
        self._try(seed, lambda: self.result(seed, record))
        self._last.pop(seed, None)

    def close(self, status: str) -> None:
        for seed in list(self._last):
            self._try(seed, partial(self.stop, seed, status))
        self._last.clear()
        self._try(None, lambda: self.end(status))

    def _open(self, seed: int, is_live: bool) -> None:
        self._last[seed] = 0
        self._try(seed, lambda: self._last.update({seed: self.start(seed, is_live)}))

    def _try(self, seed: int | None, act: Callable[[], Any]) -> None:
        if seed in self._lost:
            return
        try:
            act()
        except ValueError:
            raise
        except Exception as error:
            if seed is not None:
                self._lost.add(seed)
            said = str(error).strip().splitlines() or [type(error).__name__]
            log.warning(
                "tracker=%s: %s; the training goes on, and `powmix-track %s` sends it later",
                self.name, said[0], self.told.folder,
            )  # fmt: skip


def slashed(name: str) -> str:
    """history.csv's `validation_MAE` is a tracker's `validation/MAE`: one section of panels per prefix."""
    prefix, _, rest = name.partition("_")
    return f"{prefix}/{rest}" if rest and prefix in ("train", "validation", "mixing") else name


def results(record: Mapping[str, Any]) -> dict[str, float]:
    """A finished seed's numbers, as every tracker names them."""
    found = {f"test/{name}": value for name, value in record["test"].items()}
    found |= {f"best/validation/{name}": value for name, value in record["validation"].items()}
    return found | {"best_epoch": record["best_epoch"], "epochs": record["epochs"], "seconds": record["seconds"]}


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and math.isfinite(value)


def _short(value: Any) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def _flat(section: Mapping[str, Any], prefix: str) -> Any:
    for key, value in section.items():
        if isinstance(value, Mapping):
            yield from _flat(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", value
