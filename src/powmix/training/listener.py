"""Who may watch a training (progress bar, tracker, pruner), and the two ways a training ends early. No torch."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any


class Listener:
    """Hears of a training. Each method does nothing unless a subclass says what."""

    def on_seed_start(self, seed: int, max_epochs: int) -> None:
        """A seed begins or continues."""

    def on_seed_continued(self, seed: int, rows: Sequence[Mapping[str, Any]]) -> None:
        """The seed goes on from a checkpoint; `rows` are the epochs that an earlier command trained."""

    def on_epoch(self, seed: int, row: Mapping[str, Any]) -> None:
        """An epoch is done; `row` is its line of history.csv. Who was killed tells those since the checkpoint again.

        Raising stops the training there: `Pruned` leaves a result that says pruned, anything else leaves the
        checkpoint to continue from.
        """

    def on_workers_start(self, seeds: Sequence[int]) -> None:
        """These seeds are trained in other processes: of each only its end is heard, in any order."""

    def on_seed_end(self, seed: int, record: Mapping[str, Any]) -> None:
        """A seed is finished, now or by an earlier command; `record` is its entry in result.json."""

    def close(self, status: str) -> None:
        """The run has ended: finished, pruned, failed or interrupted."""


class Pruned(Exception):
    """Raised by a listener: this training is not worth finishing."""


class TrainingFailed(RuntimeError):
    """A training that has no result: its loss or its predictions are not finite."""
