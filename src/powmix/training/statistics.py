"""What an epoch's mixing did: counts and sums stay tensors until the epoch ends, so that no step waits for them."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping

from torch import Tensor

from powmix.mixing.mixer import Mixed

RATES = ("attention", "dropped")
STATISTICS = ("mean_k", "label_spread", "attention_rate", "dropped_rate", "mixed_rate")
Row = Mapping[str, float | int | None]


class MixingStatistics:
    """Sums over the steps of one epoch."""

    def __init__(self) -> None:
        self.steps = self.mixed = 0
        self.sums: dict[str, Tensor | float] = defaultdict(float)
        self.counts: dict[str, Tensor | int] = defaultdict(int)

    def add(self, mixed: Mixed) -> None:
        self.steps += 1
        if mixed.is_mixed:
            self.mixed += 1
            for name, value in mixed.statistics.items():
                self.sums[name] = self.sums[name] + value
            for name, value in mixed.fallbacks.items():
                self.counts[name] = self.counts[name] + value

    def row(self) -> dict[str, float | None]:
        """The epoch's statistics; None where nothing was mixed or the mixer has no such thing."""
        row: dict[str, float | None] = dict.fromkeys(STATISTICS)
        row["mixed_rate"] = self.mixed / self.steps
        for name, value in self.sums.items():
            row[name] = float(value) / self.mixed
        for name in RATES:
            if of := int(self.counts.get(f"{name}_of", 0)):
                row[f"{name}_rate"] = int(self.counts[name]) / of
        return row


def mean_of_epochs(history: Iterable[Row], prefix: str = "mixing_") -> dict[str, float | None]:
    """The statistics of a whole training: the mean over the epochs that have one."""
    values: dict[str, list[float]] = defaultdict(list)
    for row in history:
        for key, value in row.items():
            if key.startswith(prefix):
                values[key.removeprefix(prefix)] += [] if value is None else [value]
    return {name: sum(found) / len(found) if found else None for name, found in values.items()}
