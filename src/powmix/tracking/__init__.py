"""Who hears of a run while it trains: the terminal always, and the trackers that are chosen."""

from __future__ import annotations

import logging
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from powmix.mistakes import refuse
from powmix.tracking.bars import ProgressBars, QuietLines
from powmix.tracking.tracker import Told, Tracker
from powmix.training.listener import Listener, Pruned

__all__ = ["Listener", "Listeners", "chosen", "listening", "tell_of_sweep", "trackers"]

log = logging.getLogger("powmix")

TRACKERS = {
    "wandb": ("powmix.tracking.wandb_runs", "WandbTracker"),
    "tensorboard": ("powmix.tracking.tensorboard_runs", "TensorboardTracker"),
    "mlflow": ("powmix.tracking.mlflow_runs", "MlflowTracker"),
}
"""Where each tracker stands."""


class Listeners(Listener):
    """Several listeners as one, told in order."""

    def __init__(self, listeners: Sequence[Listener]):
        self.listeners = list(listeners)

    def on_seed_start(self, seed: int, max_epochs: int) -> None:
        for listener in self.listeners:
            listener.on_seed_start(seed, max_epochs)

    def on_seed_continued(self, seed: int, rows: Sequence[Mapping[str, Any]]) -> None:
        for listener in self.listeners:
            listener.on_seed_continued(seed, rows)

    def on_epoch(self, seed: int, row: Mapping[str, Any]) -> None:
        for listener in self.listeners:
            listener.on_epoch(seed, row)

    def on_workers_start(self, seeds: Sequence[int]) -> None:
        for listener in self.listeners:
            listener.on_workers_start(seeds)

    def on_seed_end(self, seed: int, record: Mapping[str, Any]) -> None:
        for listener in self.listeners:
            listener.on_seed_end(seed, record)

    def close(self, status: str) -> None:
        for listener in self.listeners:
            listener.close(status)


def chosen(config: Mapping[str, Any], result: Mapping[str, Any], folder: Path) -> list[Listener]:
    """The listeners that a configuration asks for: bars where a person is looking, lines where not; its trackers.

    In a sweep each seed's line goes to the log at level DEBUG: the sweep itself tells how far it is.
    """
    in_sweep = result.get("sweep") is not None
    kind = ProgressBars if sys.stderr.isatty() and not in_sweep else QuietLines
    terminal = kind(result["name"], result["objective_metric"], logging.DEBUG if in_sweep else logging.INFO)
    told = replace(Told.of(config, result, folder, result["sweeps"]), in_sweep=in_sweep)
    return [terminal, *trackers(config["tracker"], told)]


def trackers(settings: Mapping[str, Any], told: Told) -> list[Tracker]:
    """The trackers that the section `tracker` names, for one variant."""
    return [kind_of(name)(options, told) for name, options in settings.items()]


def tell_of_sweep(settings: Mapping[str, Any], folder: Path) -> None:
    """A sweep's summary to every tracker that the section `tracker` names; where it is to be seen goes to the log."""
    if not settings:
        return
    from powmix.tracking.sweep_summary import summarise

    sweep = summarise(folder)
    for name, options in settings.items():
        try:
            log.info("%s: %s", name, kind_of(name).sweep(options, sweep))
        except Exception as error:
            log.warning("tracker=%s: %s; `powmix-track %s` sends the sweep's summary later", name, error, folder)


def kind_of(name: str) -> type[Tracker]:
    """The class of a tracker. ValueError where its package is not installed."""
    refuse(lacking([name]))
    module, kind = TRACKERS[name]
    return getattr(import_module(module), kind)


def lacking(names: Iterable[str]) -> list[str]:
    """A sentence for each tracker whose package, called as it is, is not installed."""
    return [
        f"tracker={name} needs the package {name}: pip install 'powmix[{name}]'"
        for name in names
        if find_spec(name) is None
    ]


@contextmanager
def listening(listeners: Sequence[Listener]) -> Iterator[Listeners]:
    """The listeners as one; whatever happens, they are told how it ended."""
    together, status = Listeners(listeners), "failed"
    try:
        yield together
        status = "finished"
    except Pruned:
        status = "pruned"
        raise
    except KeyboardInterrupt:
        status = "interrupted"
        raise
    finally:
        together.close(status)
