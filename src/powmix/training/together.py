"""All seeds of a variant: which are done, which train side by side, which one after another."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from itertools import pairwise
from pathlib import Path

from powmix.data.splits import Splits
from powmix.mixing.mixed import Mixer
from powmix.training.listener import Listener
from powmix.training.loop import run
from powmix.training.settings import Settings
from powmix.training.solver import BuildModel, Record, Solver, finished


def train_seeds(
    build_model: BuildModel,
    splits: Splits,
    mixer: Mixer,
    settings: Settings,
    seeds: Sequence[int],
    folder_of: Callable[[int], Path],
    listener: Listener | None = None,
) -> list[Record]:
    """The records of `seeds`, in their order; `folder_of(seed)` is a seed's folder, where `train` says what is left.

    `settings.stack` seeds train side by side: `off` one; K so many, where the model can; `auto` as many as memory
    takes on a GPU, one on a CPU. A seed's result is the same alone or side by side, within float tolerance.
    """
    on_start, on_end = (getattr(listener, name, None) for name in ("on_seed_start", "on_seed_end"))
    records: dict[int, Record] = {}
    for seed in seeds:
        if record := finished(Path(folder_of(seed)), seed):
            records[seed] = record
            if on_end:
                on_end(seed, record)
    solvers = [
        Solver(build_model, splits, mixer, settings, seed, Path(folder_of(seed)), listener)
        for seed in seeds
        if seed not in records
    ]
    for group in groups(solvers, 1):
        for solver in group:
            if on_start:
                on_start(solver.seed, settings.max_epochs)
        for solver, record in zip(group, run(group, on_end)):
            records[solver.seed] = record
    return [records[seed] for seed in seeds]


def groups(solvers: Sequence[Solver], size: int) -> list[Sequence[Solver]]:
    """As few groups of at most `size` as possible, as equal as possible, in order."""
    count = math.ceil(len(solvers) / size)
    cuts = [round(k * len(solvers) / count) for k in range(count + 1)] if count else []
    return [solvers[start:stop] for start, stop in pairwise(cuts)]
