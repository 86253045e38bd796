"""When a training has seen enough: the best epoch so far and how long ago it was."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass

from powmix.metrics.values import DIRECTIONS

TOLERANCE = 1e-6


@dataclass
class EarlyStopping:
    """The best value of a validation metric so far. An epoch is better when it improves by at least 1e-6."""

    metric: str
    patience: int
    best: float | None = None
    best_epoch: int = 0

    def update(self, epoch: int, value: float) -> bool:
        """Whether this epoch (1, 2, ...) is the best so far; a value that is not finite never is."""
        sign = 1 if DIRECTIONS[self.metric] == "minimize" else -1
        better = math.isfinite(value) and (self.best is None or sign * value <= sign * self.best - TOLERANCE)
        if better:
            self.best, self.best_epoch = value, epoch
        return better

    def is_over(self, epoch: int) -> bool:
        """Whether `patience` epochs have passed without improvement once `epoch` epochs are done."""
        return epoch - self.best_epoch >= self.patience

    def state(self) -> dict[str, str | int | float | None]:
        return asdict(self)
