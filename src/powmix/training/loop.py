"""The loop: restore; for each remaining epoch train, validate, commit; then test once. For one seed or for several.

Seeds side by side share the forward and backward pass of their encoders (stack.py); all else each does for itself.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from powmix.training.interruption import sigterm_as_interrupt
from powmix.training.listener import Pruned
from powmix.training.stack import Alone
from powmix.training.statistics import MixingStatistics

if TYPE_CHECKING:
    from powmix.training.solver import Solver

Row = dict[str, Any]


def run(solvers: Sequence[Solver], on_end: Callable[[int, Row], None] | None = None) -> list[Row]:
    """Trains seeds to their ends; their records, in order, which `on_end(seed, record)` hears as they come.

    Seeds at the same epoch train as one computation. Those that an interruption left behind train until they have
    caught up; those that stop early leave. Solvers may differ in their mixers, if these form batches of one size.
    """
    running, records, crew = list(solvers), {}, None
    with sigterm_as_interrupt(), torch.backends.cudnn.flags(benchmark=False, deterministic=True):
        try:
            for solver in solvers:
                solver.restore()
            while running:
                for solver in [solver for solver in running if solver.is_over()]:
                    records[solver] = solver.finish()
                    running.remove(solver)
                    if on_end:
                        on_end(solver.seed, records[solver])
                if crew := crew_of(running, crew):
                    for solver, row in zip(crew.solvers, train_epoch(crew)):
                        solver.commit(row)
        except Pruned:
            for solver in running:
                solver.give_up()
            raise
    return [records[solver] for solver in solvers]


def crew_of(solvers: Sequence[Solver], crew: Alone | None) -> Alone | None:
    """The solvers that train next, those with the fewest epochs: the crew that has just trained, or a new one."""
    fewest = min((solver.epoch for solver in solvers), default=0)
    behind = [solver for solver in solvers if solver.epoch == fewest][:1]
    if not behind:
        return None
    if crew and crew.solvers == behind:
        return crew
    return Alone(behind[0])


def train_epoch(crew: Alone) -> list[Row]:
    """One pass over the training split, then validation: each seed's row of history.csv.

    A seed's `seconds` are its equal share of the pass and its own validation.
    """
    start = time.perf_counter()
    trained = train_pass(crew)
    share = (time.perf_counter() - start) / len(crew.solvers)
    return [solver.end_epoch(means, share) for solver, means in zip(crew.solvers, trained)]


def train_pass(crew: Alone) -> list[dict[str, float | None]]:
    """Trains on every batch; by seed, the mean of the optimised losses and the mixing statistics. Syncs at the end."""
    tallies = [_Tally() for _ in crew.solvers]
    for solver in crew.solvers:
        solver.model.train()
    batches = list(zip(*(solver.batches() for solver in crew.solvers), strict=True))
    for done, indices in enumerate(batches, 1):
        parts = crew.encode(indices)
        for solver, part, tally in zip(crew.solvers, parts, tallies):
            step = solver.step(*part)
            step.loss.backward()
            tally.add(step.loss.detach(), step.mixed)
        crew.backward()
        for solver, (batch, encoded) in zip(crew.solvers, parts):
            solver.optimisation.collect()
            solver.model.observe(encoded, batch, solver.epoch + 1, solver.noise)
            solver.optimisation.step_if_due()
            if solver.on_batch:
                solver.on_batch(solver.seed, solver.epoch + 1, done, len(batches))
    for solver in crew.solvers:
        solver.optimisation.end_epoch()
    return [tally.row() for tally in tallies]


class _Tally(MixingStatistics):
    """The mixing statistics of an epoch and its losses."""

    def __init__(self) -> None:
        super().__init__()
        self.losses: list[Tensor] = []

    def add(self, loss: Tensor, mixed: Any) -> None:
        super().add(mixed)
        self.losses.append(loss)

    def row(self) -> dict[str, float | None]:
        return {"loss": torch.stack(self.losses).double().mean().item(), **super().row()}
