"""Who may watch a training (progress bar, tracker, pruner), and the two ways a training ends early. No torch."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Protocol


class Listener(Protocol):
    """Called by the loop; `on_batch(seed, epoch, done, total)` after each step is optional.

    on_epoch: a row of history.csv, after the epoch is safe on disk. Raising stops the training there: `Pruned` leaves a
    result that says pruned, anything else leaves the checkpoint to continue from.
    """

    def on_epoch(self, seed: int, row: Mapping[str, Any]) -> None: ...


class Pruned(Exception):
    """Raised by a listener: this training is not worth finishing."""


class TrainingFailed(RuntimeError):
    """A training that has no result: its loss or its predictions are not finite."""
