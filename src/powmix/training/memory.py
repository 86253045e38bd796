"""How many seeds fit side by side: an estimate from one step of one seed, made before training."""

from __future__ import annotations

import copy
import os
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from torch import Generator, Tensor

from powmix.models.dropout import Noise
from powmix.training.step import training_step

if TYPE_CHECKING:
    from powmix.training.solver import Solver

SHARE = 0.5
"""Of the available memory: other jobs may share the machine, and the step is measured without its scratch space."""


def seeds_that_fit(solver: Solver) -> int:
    """At least one; as many as SHARE of the available memory holds."""
    return max(1, int(SHARE * available(solver.device) / bytes_per_seed(solver)))


def bytes_per_seed(solver: Solver) -> int:
    """What a seed that has begun needs: twelve times its weights, and twice what a step keeps for its backward pass.

    Weights, gradients, two moments, the best epoch's copy, their stacked twins while seeds join or leave, and the
    checkpoint on its way to disk. The step is one of the first `batch_size` (for a mixer that pairs mini-batches,
    twice) examples, mixed; it draws nothing from the seed's generators.
    """
    weights = sum(value.nbytes for value in solver.model.state_dict().values())
    mixer = copy.copy(solver.mixer)
    mixer.p_mix, mixer.start_epoch = float(mixer.p_mix > 0), 0
    rows = min(solver.settings.batch_size * mixer.batch_factor, len(solver.splits.train))
    batch = solver.splits.train.batch(torch.arange(rows, device=solver.device))
    inputs = sum(x.nbytes for x in batch.features.values())
    noise, kept = Noise(Generator(solver.device)), _Kept()
    with torch.autograd.graph.saved_tensors_hooks(kept.add, lambda x: x):
        training_step(solver.model, mixer, batch, solver.row_loss, noise, Generator(), 0, solver.precision)
    return 12 * weights + 2 * (kept.bytes + inputs)


class _Kept:
    """The storages that an autograd graph keeps, each counted once."""

    def __init__(self) -> None:
        self.seen: dict[int, Tensor] = {}

    def add(self, x: Tensor) -> Tensor:
        self.seen.setdefault(x.untyped_storage().data_ptr(), x)
        return x

    @property
    def bytes(self) -> int:
        return sum(x.untyped_storage().nbytes() for x in self.seen.values())


def available(device: torch.device) -> int:
    """Bytes that a process may still take, on a GPU or of main memory (the container's limit included)."""
    if device.type == "cuda":
        return torch.cuda.mem_get_info(device)[0]
    limits = [_meminfo(), _control_group()]
    known = [limit for limit in limits if limit is not None]
    return min(known) if known else os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") // 2


def _meminfo() -> int | None:
    """Linux's own estimate of what can be taken without swapping."""
    try:
        lines = Path("/proc/meminfo").read_text().splitlines()
    except OSError:
        return None
    return next((int(line.split()[1]) * 1024 for line in lines if line.startswith("MemAvailable")), None)


def _control_group() -> int | None:
    """What a container's limit (cgroup 2) leaves."""
    folder = Path("/sys/fs/cgroup")
    try:
        limit, used = ((folder / f"memory.{name}").read_text().strip() for name in ("max", "current"))
    except OSError:
        return None
    return None if limit == "max" else max(0, int(limit) - int(used))
