"""Who may watch a training (progress bar, tracker, pruner), and the two ways a training ends early. No torch."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Protocol


class Listener(Protocol):
    """Called by the loop. Optional: `on_batch(seed, epoch, done, total)` after each step, and by `train_seeds`
    `on_seed_start(seed, max_epochs)` and `on_seed_end(seed, record)`, the latter for finished seeds, too.
    `seeds_in_order = True` asks `trainer.stack=auto` to train seeds one after another.

    on_epoch: a row of history.csv, after the epoch is safe on disk. Raising stops the training there: `Pruned` leaves a
    result that says pruned, anything else leaves the checkpoint to continue from.
    """

    def on_epoch(self, seed: int, row: Mapping[str, Any]) -> None: ...


class Pruned(Exception):
    """Raised by a listener: this training is not worth finishing."""


class TrainingFailed(RuntimeError):
    """A training that has no result: its loss or its predictions are not finite."""
