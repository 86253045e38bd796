"""Hidden vectors of a whole split.

Shape suffixes: N examples, D hidden width.
"""

from __future__ import annotations

import torch
from torch import Tensor

from powmix.data.splits import Split
from powmix.training import Solver
from powmix.training.batches import evaluation_batches


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
