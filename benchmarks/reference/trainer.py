"""The training loop of the reference framework: one batch, one backward, one `.item()` at a time.

`keep_graphs`: predictions are appended with their autograd graphs until the epoch ends, as the framework does.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.data import DataLoader

from benchmarks.reference import misa
from benchmarks.reference.dataset import on_device
from benchmarks.reference.recipes import Recipe
from benchmarks.reference.self_mm import TASKS, LabelMaker

LOSSES = {"l1": F.l1_loss, "mse": F.mse_loss}


class Trainer:
    """Adam with gradients summed over a group of batches; a group that the epoch leaves incomplete is thrown away."""

    def __init__(
        self, model: nn.Module, recipe: Recipe, *, device: torch.device | str = "cpu", keep_graphs: bool = True
    ):
        self.model, self.recipe = model.to(device), recipe
        self.device, self.keep_graphs = device, keep_graphs
        self.optimizer = torch.optim.Adam(self.groups())

    def groups(self) -> list[dict[str, Any]]:
        rate, decay = self.recipe.groups["all"]
        return [{"params": list(self.model.parameters()), "lr": rate, "weight_decay": decay}]

    def loss(self, output: dict[str, Any], batch: dict[str, Any]) -> Tensor:
        return LOSSES[self.recipe.loss](output["M"], batch["labels"]["M"])

    def after_backward(self, output: dict[str, Any], batch: dict[str, Any], epoch: int) -> None:
        """What a model remembers of a batch."""

    def epoch(self, batches: DataLoader, number: int = 1) -> float:
        """One training epoch (`number` counts from 1); the mean of the batch losses."""
        self.model.train()
        predictions, truths, total, waiting = [], [], 0.0, 0
        for batch in batches:
            if waiting == 0:
                self.optimizer.zero_grad()
            batch = on_device(batch, self.device)
            output = self.model(batch)
            loss = self.loss(output, batch)
            loss.backward()
            if self.recipe.clip is not None:
                nn.utils.clip_grad_value_(self.model.parameters(), self.recipe.clip)
            self.after_backward(output, batch, number)
            total += loss.item()
            predictions.append(output["M"].cpu() if self.keep_graphs else output["M"].detach().cpu())
            truths.append(batch["labels"]["M"].cpu())
            waiting = (waiting + 1) % self.recipe.accumulate
            if waiting == 0:
                self.optimizer.step()
        absolute_error(torch.cat(predictions), torch.cat(truths))
        return total / len(batches)

    @torch.no_grad()
    def evaluate(self, batches: DataLoader) -> float:
        """Mean of the batch losses in evaluation mode."""
        self.model.eval()
        total = 0.0
        for batch in batches:
            batch = on_device(batch, self.device)
            total += F.l1_loss(self.model(batch)["M"], batch["labels"]["M"]).item()
        return total / len(batches)


def absolute_error(prediction_NC: Tensor, truth_NC: Tensor) -> float:
    """The training metric, computed on NumPy arrays at the end of an epoch."""
    return float(abs(prediction_NC.detach().numpy() - truth_NC.numpy()).mean())


class MISATrainer(Trainer):
    def loss(self, output: dict[str, Any], batch: dict[str, Any]) -> Tensor:
        parts = misa.auxiliary_losses(output)
        return super().loss(output, batch) + sum(self.recipe.weights[name] * part for name, part in parts.items())


class SelfMMTrainer(Trainer):
    """Four tasks against labels that the label maker moves; `target_N` are the training labels."""

    def __init__(self, model: nn.Module, recipe: Recipe, target_N: Tensor, *, limit: float = 3.0, **options: Any):
        super().__init__(model, recipe, **options)
        widths = {task: model.head[task].linear_1.out_features for task in TASKS}
        self.labels = LabelMaker(target_N.flatten().to(self.device), widths, limit)

    def groups(self) -> list[dict[str, Any]]:
        return self.model.groups(self.recipe.groups)

    def loss(self, output: dict[str, Any], batch: dict[str, Any]) -> Tensor:
        index_B = batch["index"]
        parts = []
        for task in TASKS:
            error_B = torch.abs(output[task].view(-1) - self.labels.labels[task][index_B])
            parts.append(torch.mean(self.labels.weights(task, index_B) * error_B))
        return sum(parts)

    def after_backward(self, output: dict[str, Any], batch: dict[str, Any], epoch: int) -> None:
        self.labels.observe(output["features"], batch["index"], epoch)
