"""How weights move and when that ends: Adam, accumulation, clipping, the plateau schedule, early stopping."""

from __future__ import annotations

import inspect
import math
from dataclasses import asdict, dataclass
from typing import Any

import torch
from torch import Tensor
from torch.optim.lr_scheduler import ReduceLROnPlateau

from powmix.metrics.columns import direction
from powmix.models import FusionModel
from powmix.training.settings import Settings

TOLERANCE = 1e-6


class Adam(torch.optim.Adam):
    """torch's own, less the marks for its compiler, which nothing here uses.

    The first call of a marked method imports torch._dynamo: 2.1 of the 7 s of CPU time that a short training takes as a
    process (measured side by side, 2.13).
    """

    add_param_group = inspect.unwrap(torch.optim.Adam.add_param_group)
    zero_grad = inspect.unwrap(torch.optim.Adam.zero_grad)
    state_dict = inspect.unwrap(torch.optim.Adam.state_dict)
    load_state_dict = inspect.unwrap(torch.optim.Adam.load_state_dict)
    step = torch.no_grad()(inspect.unwrap(torch.optim.Adam.step))


class Optimisation:
    """Adam over a model's parameter groups, stepped after every `accumulate` backward passes.

    accumulation `sum` (published): the gradients of a group of batches are summed and clipped by value after every
    backward pass; a group that the epoch's end leaves incomplete is dropped. `mean`: they are averaged over the batches
    of the group and clipped once before the step; every batch is stepped. A parameter without gradient (None) is left
    alone, decay included.
    """

    def __init__(self, model: FusionModel, settings: Settings):
        groups = model.parameter_groups(settings.optimizer)
        self.parameters = [parameter for group in groups for parameter in group["params"]]
        self.adam = Adam(groups, fused=True)
        self.plateau = None
        if settings.plateau_patience is not None:
            self.plateau = ReduceLROnPlateau(self.adam, patience=settings.plateau_patience, factor=settings.factor)
        self.accumulate, self.clip_value = settings.accumulate, settings.clip_value
        self.sums = settings.accumulation == "sum"
        self.pending = 0

    @property
    def learning_rate(self) -> float:
        """Of the first group, now."""
        return self.adam.param_groups[0]["lr"]

    def backward(self, loss: Tensor) -> None:
        """Adds a batch's gradient to the group's."""
        loss.backward()
        self.pending += 1
        if self.sums:
            self._clip()

    def step_if_due(self) -> None:
        """Steps when the group of batches is complete."""
        if self.pending == self.accumulate:
            self._step()

    def end_epoch(self) -> None:
        """Drops (`sum`) or steps (`mean`) a group of batches that is still incomplete."""
        if self.pending and not self.sums:
            self._step()
        self._clear()

    def schedule(self, validation_loss: float) -> None:
        """Lowers every learning rate when the validation loss has not improved for the plateau's patience."""
        if self.plateau is not None:
            self.plateau.step(validation_loss)

    def state(self) -> dict[str, Any]:
        return {"adam": self.adam.state_dict(), "plateau": self.plateau and self.plateau.state_dict()}

    def restore(self, state: dict[str, Any]) -> None:
        self.adam.load_state_dict(state["adam"])
        if self.plateau is not None:
            self.plateau.load_state_dict(state["plateau"])

    def _step(self) -> None:
        if not self.sums:
            if self.pending > 1:
                torch._foreach_div_([p.grad for p in self.parameters if p.grad is not None], self.pending)
            self._clip()
        self.adam.step()
        self._clear()

    def _clip(self) -> None:
        if self.clip_value is not None:
            torch.nn.utils.clip_grad_value_(self.parameters, self.clip_value)

    def _clear(self) -> None:
        self.adam.zero_grad(set_to_none=True)
        self.pending = 0


@dataclass
class EarlyStopping:
    """The best value of a validation metric so far. An epoch is better when it improves by at least 1e-6."""

    metric: str
    patience: int
    best: float | None = None
    best_epoch: int = 0

    def update(self, epoch: int, value: float) -> bool:
        """Whether this epoch (1, 2, ...) is the best so far; a value that is not finite never is."""
        sign = 1 if direction(self.metric) == "minimize" else -1
        better = math.isfinite(value) and (self.best is None or sign * value <= sign * self.best - TOLERANCE)
        if better:
            self.best, self.best_epoch = value, epoch
        return better

    def is_over(self, epoch: int) -> bool:
        """Whether `patience` epochs have passed without improvement once `epoch` epochs are done."""
        return epoch - self.best_epoch >= self.patience

    def state(self) -> dict[str, str | int | float | None]:
        return asdict(self)
