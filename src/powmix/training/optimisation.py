"""Adam, gradient accumulation, clipping by value, and the plateau schedule."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor

from powmix.models.base import FusionModel
from powmix.training.settings import Settings


class Optimisation:
    """Adam over a model's parameter groups, stepped after every `accumulate` backward passes.

    `sum` (published): the gradients of a group of batches are summed and clipped by value after every backward pass; a
    group that the epoch's end leaves incomplete is dropped. `mean`: they are averaged over the batches of the group and
    clipped once before the step; every batch is stepped. A parameter without gradient (None) is left alone, decay
    included.
    """

    def __init__(self, model: FusionModel, settings: Settings):
        groups = model.parameter_groups(settings.optimizer)
        self.parameters = [parameter for group in groups for parameter in group["params"]]
        self.adam = torch.optim.Adam(groups, fused=True)
        self.plateau = Plateau(settings.plateau_patience, settings.factor)
        self.initial = [group["lr"] for group in self.adam.param_groups]
        self.accumulate, self.clip_value = settings.accumulate, settings.clip_value
        self.published = settings.accumulation == "sum"
        self.pending = 0

    @property
    def learning_rate(self) -> float:
        """Of the first group, now."""
        return self.adam.param_groups[0]["lr"]

    def backward(self, loss: Tensor) -> None:
        """Adds a batch's gradient to the group's."""
        loss.backward()
        self.collect()

    def collect(self) -> None:
        """Counts a backward pass that has been done."""
        self.pending += 1
        if self.published:
            self._clip()

    def step_if_due(self) -> None:
        if self.pending == self.accumulate:
            self._step()

    def end_epoch(self) -> None:
        """Drops (`sum`) or steps (`mean`) a group of batches that is still incomplete."""
        if self.pending and not self.published:
            self._step()
        self._clear()

    def schedule(self, validation_loss: float) -> None:
        """Lowers every learning rate when the validation loss has not improved for the plateau's patience."""
        scale = self.plateau.update(validation_loss)
        for group, initial in zip(self.adam.param_groups, self.initial):
            group["lr"] = initial * scale

    def state(self) -> dict[str, Any]:
        return {"adam": self.adam.state_dict(), "plateau": self.plateau.state()}

    def restore(self, state: dict[str, Any]) -> None:
        self.adam.load_state_dict(state["adam"])
        self.plateau.restore(state["plateau"])

    def _step(self) -> None:
        if not self.published:
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


class Plateau:
    """The factor on the learning rates, as torch's ReduceLROnPlateau with its defaults; patience None: always 1.

    A loss is better when below the best by more than a 1e-4 part of it; more than `patience` epochs without a better
    one multiply the learning rates by `factor`.
    """

    def __init__(self, patience: int | None, factor: float):
        self.patience, self.factor = patience, factor
        self.best, self.bad_epochs, self.reductions = math.inf, 0, 0

    def update(self, loss: float) -> float:
        better = loss < self.best * (1 - 1e-4)
        self.best = loss if better else self.best
        self.bad_epochs = 0 if better else self.bad_epochs + 1
        if self.patience is not None and self.bad_epochs > self.patience:
            self.reductions, self.bad_epochs = self.reductions + 1, 0
        return self.factor**self.reductions

    def state(self) -> dict[str, Any]:
        return {"best": self.best, "bad_epochs": self.bad_epochs, "reductions": self.reductions}

    def restore(self, state: dict[str, Any]) -> None:
        self.best, self.bad_epochs, self.reductions = state["best"], state["bad_epochs"], state["reductions"]
