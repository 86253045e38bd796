"""Hidden vectors of a whole split, and the metrics of predictions that were made elsewhere.

Shape suffixes: N examples, D hidden width, C outputs.
"""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor, nn

from powmix.data.splits import Batch, Split
from powmix.training import Solver
from powmix.training.batches import evaluation_batches
from powmix.training.step import predict


@torch.no_grad()
def hidden_vectors(solver: Solver, split: Split) -> dict[str, Tensor]:
    """What the encoders give of every example, without dropout: by the model's own names, (N, D) float32."""
    solver.model.eval()
    with solver.precision():
        parts = [
            solver.model.encode(split.batch(index)).hidden
            for index in evaluation_batches(split, solver.settings.batch_size)
        ]
    return {name: torch.cat([part[name].float() for part in parts]) for name in parts[0]}


def of_modality(hidden: dict[str, Tensor], modality: str) -> list[str]:
    """The hidden vectors that come from one modality alone: `text`, or MISA's `private_text` and `shared_text`."""
    return [name for name in hidden if modality in name.split("_")]


def predictions(solver: Solver, split: Split) -> Tensor:
    """What the model says of every example, (N, C), as `solver.evaluate` asks it."""
    solver.model.eval()
    return predict(solver.model, split, solver.settings.batch_size, solver.precision)


def score(solver: Solver, split: Split, prediction_NC: Tensor) -> dict[str, float]:
    """The metrics, Loss included, of given predictions: `solver.evaluate` with a table in the model's place."""
    model, solver.model = solver.model, _Table(prediction_NC.to(split.target.device))
    try:
        return solver.evaluate(replace(split, features={}, tokens=None, lengths={}))[0]
    finally:
        solver.model = model


class _Table(nn.Module):
    """A model that looks its predictions up."""

    def __init__(self, prediction_NC: Tensor):
        super().__init__()
        self.prediction_NC = prediction_NC

    def forward(self, batch: Batch) -> Tensor:
        return self.prediction_NC[batch.index]
