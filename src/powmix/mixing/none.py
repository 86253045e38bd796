"""The baseline: no mixing."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Generator

from powmix.mixing.mixed import Mixer


@dataclass(eq=False)
class NoMixer(Mixer):
    """Every mini-batch stays clean and nothing is drawn, whatever p_mix a sweep over mixers sets for all of them."""

    p_mix: float = 0.0

    def flip(self, generator: Generator | None, size: int, epoch: int | None = None) -> bool:
        return False
