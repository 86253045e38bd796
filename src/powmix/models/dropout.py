"""Where dropout gets its randomness: a generator of the run's own, one per seed trained side by side."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import torch
from torch import Generator, Tensor

CACHED = 2**17
"""Mask entries drawn at a time on a CPU; a multiple of 4."""


class Noise:
    """Dropout masks drawn from one generator, or from S of them for inputs with a leading axis S.

    A stacked seed draws from its own generator exactly what it would draw alone: stacking changes no mask.
    Generators live on the device of the tensors they serve. Rates are rounded to 1/65536: a mask entry is 16 of the
    64 bits of one draw, which on a CPU is twenty times faster than `bernoulli_`.
    """

    def __init__(self, generators: Generator | Sequence[Generator]):
        self.stacked = not isinstance(generators, Generator)
        self.generators = [generators] if isinstance(generators, Generator) else list(generators)

    def dropout(self, x: Tensor, p: float | Sequence[float]) -> Tensor:
        """Inverted dropout. A sequence of G rates serves an input whose first axis (after S) has size G."""
        if not (any(p) if isinstance(p, Sequence) else p):
            return x
        return x * self.mask(x, p)

    def mask(self, like: Tensor, p: float | Sequence[float]) -> Tensor:
        """A mask shaped as `like`, of 0 and 1 / (1 - p): multiply by it."""
        mask = torch.empty_like(like, memory_format=torch.contiguous_format)
        for group, rate, generator in self._parts(mask, p):
            _draw(group, rate, generator)
            if 0 < rate < 1:
                group.mul_(1 / (1 - rate))
        return mask

    def keep(self, shape: Sequence[int], p: float | Sequence[float], device: torch.device) -> Tensor:
        """What is kept: uint8 ones and zeros of a shape, not scaled."""
        keep = torch.empty(shape, dtype=torch.uint8, device=device)
        for group, rate, generator in self._parts(keep, p):
            _draw(group, rate, generator)
        return keep

    def _parts(self, mask: Tensor, p: float | Sequence[float]) -> Iterator[tuple[Tensor, float, Generator]]:
        for part, generator in zip(mask if self.stacked else [mask], self.generators, strict=True):
            for group, rate in zip(part, p, strict=True) if isinstance(p, Sequence) else [(part, p)]:
                yield group, rate, generator

    @contextmanager
    def as_global(self, device: torch.device) -> Iterator[None]:
        """Inside, torch's global generators follow this one; outside they are as before. For foreign modules (BERT)."""
        if self.stacked:
            raise ValueError("Noise.as_global: a foreign module's dropout cannot be drawn for stacked seeds")
        generator = self.generators[0]
        seed = torch.randint(2**62, (), generator=generator, device=generator.device)
        with torch.random.fork_rng([device] if device.type == "cuda" else []):
            torch.manual_seed(int(seed))
            yield


def _draw(out: Tensor, rate: float, generator: Generator) -> None:
    """Fill `out` (contiguous) with ones (probability 1 - rate) and zeros; on a CPU in pieces that stay in the cache."""
    if rate in (0, 1):
        out.fill_(1 - rate)
        return
    threshold = round(rate * 65536) - 32768
    piece = CACHED if out.device.type == "cpu" else out.numel()
    words = torch.empty((min(piece, out.numel()) + 3) // 4, dtype=torch.int64, device=out.device)
    for part in out.view(-1).split(max(piece, 1)):
        bits = words[: (part.numel() + 3) // 4].random_(-(2**63), None, generator=generator).view(torch.int16)
        torch.ge(bits[: part.numel()], threshold, out=part)
