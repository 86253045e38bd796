"""Whose encoders compute together: one seed alone, or several as one computation over a leading axis.

Shape suffixes: S seeds, B batch.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from powmix.data.splits import Batch, Split
from powmix.models.base import Encoded, FusionModel
from powmix.models.dropout import Noise
from powmix.models.stacking import stack
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


class Stack:
    """Several seeds: their models' parameters and buffers become rows of a stacked model's, in the same memory.

    The encoders run stacked, forward and backward. Mixing, fusion and optimisation belong to each seed: it finds the
    rows of the stacked gradients as its own, so whatever it does (clipping, its learning rate, leaving the stack) it
    does as if alone. A seed's loss goes back to the encoders' outputs: one fusion's graph is alive at a time.
    """

    def __init__(self, solvers: Sequence[Solver]):
        self.solvers = list(solvers)
        self.model = stack([solver.model for solver in solvers])
        self.noise = Noise([solver.generators.dropout for solver in solvers])
        self.rows = list(_shared(self.model, [solver.model for solver in solvers]))
        self.space: dict[str, Tensor] = {}

    def encode(self, indices: Sequence[Tensor]) -> list[tuple[Batch, Encoded]]:
        """Each seed's batch (B,) and what its encoders give, cut off from their graph."""
        first = self.solvers[0]
        batch = self._batch(first.splits.train, torch.stack(list(indices)))
        self.encoded = encode(self.model, batch, self.noise, first.precision)
        self.leaves = list(_leaves(self.encoded, len(self.solvers)))
        return list(zip(_batches(batch), self.leaves, strict=True))

    def backward(self) -> None:
        """The encoders' share of the gradients, once every seed's loss has gone back to the encoders' outputs."""
        begins = not self.solvers[0].optimisation.pending
        if begins:
            self.model.zero_grad(set_to_none=True)
        pairs = list(_gradients(self.encoded, self.leaves))
        torch.autograd.backward([whole for whole, _ in pairs], [torch.stack(rows) for _, rows in pairs])
        del self.encoded, self.leaves
        if begins:  # the later batches of an accumulation add to these gradients in place
            self._hand_out()

    def _batch(self, split: Split, index_SB: Tensor) -> Batch:
        """As `split.batch`, but features are written to one place every time: fresh pages cost more than the copy."""
        features, size = {}, index_SB.numel()
        for name, value in split.features.items():
            if name not in self.space or len(self.space[name]) < size:
                self.space[name] = value.new_empty(size, *value.shape[1:])
            rows = torch.index_select(value, 0, index_SB.flatten(), out=self.space[name][:size])
            features[name] = rows.unflatten(0, index_SB.shape)
        return replace(replace(split, features={}).batch(index_SB), features=features)

    def _hand_out(self) -> None:
        for stacked, parameters in self.rows:
            if stacked.grad is not None:
                assert all(parameter.grad is None for parameter in parameters), "encode and fuse share a parameter"
                for parameter, gradient in zip(parameters, stacked.grad, strict=True):
                    parameter.grad = gradient


def _leaves(encoded: Encoded, seeds: int) -> Iterator[Encoded]:
    """What stacked encoders give, seed by seed, each tensor the leaf of a graph of its own."""
    parts = [
        {name: [row.requires_grad_(x.requires_grad) for row in x.detach().unbind()] for name, x in tensors.items()}
        for tensors in (encoded.hidden, encoded.clean)
    ]
    for k in range(seeds):
        yield Encoded(*({name: rows[k] for name, rows in part.items()} for part in parts))


def _gradients(encoded: Encoded, leaves: Sequence[Encoded]) -> Iterator[tuple[Tensor, list[Tensor]]]:
    """Each stacked tensor that a loss depends on, and its gradient for every seed."""
    for part in ("hidden", "clean"):
        for name, whole in getattr(encoded, part).items():
            rows = [getattr(leaf, part)[name] for leaf in leaves]
            if any(row.grad is not None for row in rows):
                yield whole, [torch.zeros_like(row) if row.grad is None else row.grad for row in rows]


def _shared(stacked: FusionModel, models: Sequence[FusionModel]) -> Iterator[tuple[Tensor, list[Tensor]]]:
    """Makes every model's tensors rows of the stacked one's; yields each trainable parameter with its rows."""
    tensors = [dict([*model.named_parameters(), *model.named_buffers()]) for model in models]
    for name, whole in [*stacked.named_parameters(), *stacked.named_buffers()]:
        rows = [of_model[name] for of_model in tensors]
        for row, value in zip(rows, whole.data):
            row.data = value
        if whole.requires_grad:
            yield whole, rows


def _batches(batch: Batch) -> list[Batch]:
    """A stacked batch (S, B), seed by seed."""
    features, lengths = (list(_rows(x)) for x in (batch.features, batch.lengths))
    tokens = [None] * len(batch.index) if batch.tokens is None else batch.tokens
    parts = zip(features, tokens, lengths, batch.target, batch.index, strict=True)
    return [Batch(*part[:3], batch.side, *part[3:]) for part in parts]


def _rows(tensors: Mapping[str, Tensor]) -> Iterator[dict[str, Tensor]]:
    """Tensors with a leading axis, by name, as one dictionary for each row."""
    for rows in zip(*tensors.values(), strict=True):
        yield dict(zip(tensors, rows))
