"""One seed as the loop sees it. Shape suffix: B batch."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from torch import Tensor

from powmix.data.splits import Batch
from powmix.models.base import Encoded
from powmix.training.step import encode

if TYPE_CHECKING:
    from powmix.training.solver import Solver


class Alone:
    """One seed, its model as it is."""

    def __init__(self, solver: Solver):
        self.solvers = [solver]

    def encode(self, indices: Sequence[Tensor]) -> list[tuple[Batch, Encoded]]:
        """The seed's batch (B,) and what its encoders give."""
        (solver,), (index_B,) = self.solvers, indices
        batch = solver.splits.train.batch(index_B)
        return [(batch, encode(solver.model, batch, solver.noise, solver.precision))]

    def backward(self) -> None:
        """Nothing is left to do: the loss's graph reaches into the encoders."""
