"""Everything random about one training, derived from its seed as independent streams.

Mixing, dropout and shuffling each have a generator of their own: what one of them draws never shifts another, so
switching mixing off changes nothing else. Dropout is drawn where the model computes, the others on the CPU.
"""

from __future__ import annotations

from collections.abc import Callable, Collection
from typing import TypeVar

import numpy as np
import torch
from torch import Generator, Tensor

from powmix.runs.identity import DEFAULT_SEED
from powmix.training.settings import STREAMS

Built = TypeVar("Built")


def stream_seeds(seed: int, vary: Collection[str] | None = None) -> dict[str, int]:
    """One 63-bit seed for each stream (numpy's SeedSequence keeps them independent).

    vary: the streams that follow the seed, None for all; the others are as of the default seed, whatever the seed.
    """
    if not isinstance(seed, int) or isinstance(seed, bool) or seed < 0:
        raise ValueError(f"seed must be a whole number >= 0, got {seed!r}")
    if vary is not None:
        own, fixed = stream_seeds(seed), stream_seeds(DEFAULT_SEED)
        return {name: (own if name in vary else fixed)[name] for name in STREAMS}
    children = np.random.SeedSequence(seed).spawn(len(STREAMS))
    return {name: int(child.generate_state(1, np.uint64)[0] >> 1) for name, child in zip(STREAMS, children)}


class Generators:
    """The generators of one seed: `shuffle` and `mixing` on the CPU, `dropout` on the compute device."""

    def __init__(self, seed: int, device: torch.device, vary: Collection[str] | None = None):
        seeds = stream_seeds(seed, vary)
        self.initialisation = seeds["init"]
        self.shuffle = Generator().manual_seed(seeds["shuffle"])
        self.mixing = Generator().manual_seed(seeds["mixing"])
        self.dropout = Generator(device).manual_seed(seeds["dropout"])

    def initialised(self, build: Callable[[], Built]) -> Built:
        """What `build` makes with torch's global CPU generator seeded; that generator is as before afterwards."""
        with torch.random.fork_rng([]):
            torch.manual_seed(self.initialisation)
            return build()

    def state(self) -> dict[str, Tensor]:
        return {name: getattr(self, name).get_state() for name in ("shuffle", "mixing", "dropout")}

    def restore(self, state: dict[str, Tensor]) -> None:
        for name, value in state.items():
            getattr(self, name).set_state(value)
