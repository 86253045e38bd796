"""Who hears of a run while it trains: the terminal always, and a tracker where one is chosen."""

from __future__ import annotations

import logging
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from powmix.tracking.bars import ProgressBars, QuietLines
from powmix.training.listener import Listener, Pruned

__all__ = ["Listener", "Listeners", "chosen", "listening"]


class Listeners(Listener):
    """Several listeners as one, told in order."""

    def __init__(self, listeners: Sequence[Listener]):
        self.listeners = list(listeners)

    def on_seed_start(self, seed: int, max_epochs: int) -> None:
        for listener in self.listeners:
            listener.on_seed_start(seed, max_epochs)

    def on_epoch(self, seed: int, row: Mapping[str, Any]) -> None:
        for listener in self.listeners:
            listener.on_epoch(seed, row)

    def on_seed_end(self, seed: int, record: Mapping[str, Any]) -> None:
        for listener in self.listeners:
            listener.on_seed_end(seed, record)

    def close(self, status: str) -> None:
        for listener in self.listeners:
            listener.close(status)


def chosen(config: Mapping[str, Any], result: Mapping[str, Any], folder: Path) -> list[Listener]:
    """The listeners that a configuration asks for: bars where a person is looking, lines where not; W&B.

    In a sweep each seed's line goes to the log at level DEBUG: the sweep itself tells how far it is.
    """
    in_sweep = result.get("sweep") is not None
    kind = ProgressBars if sys.stderr.isatty() and not in_sweep else QuietLines
    terminal = kind(result["name"], result["objective_metric"], logging.DEBUG if in_sweep else logging.INFO)
    if config["tracker"]["name"] != "wandb":
        return [terminal]
    from powmix.tracking.wandb_runs import WandbListener

    return [terminal, WandbListener(config["tracker"], folder, config, result)]


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
    finally:
        together.close(status)
