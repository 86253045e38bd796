"""Dropout whose masks come from a generator of the run's own, not from torch's global one."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import torch
from torch import Generator, Tensor

PIECE = 2**17
"""Mask entries drawn at a time on a CPU, so that their random bits stay in the cache; a multiple of 4."""


class Noise:
    """Draws dropout masks from a generator, which lives on the device of the tensors it serves.

    A mask entry is 16 of the 64 bits of one draw, so rates are rounded to 1/65536. That takes 1/7 of the time of
    `bernoulli_` (3 million entries, one CPU thread).
    """

    def __init__(self, generator: Generator):
        self.generator = generator

    def dropout(self, x: Tensor, rate: float) -> Tensor:
        """Zeroes entries of x with probability `rate` in [0, 1), and divides the others by 1 - rate."""
        if rate == 0:
            return x
        mask = torch.empty_like(x, memory_format=torch.contiguous_format)
        self._draw(mask, rate)
        return x * mask.mul_(1 / (1 - rate))

    def keep(self, shape: Sequence[int], rate: float | Sequence[float], device: torch.device) -> Tensor:
        """Draws what dropout keeps: ones and zeros (uint8), not scaled. Several rates serve the rows of a shape."""
        keep = torch.empty(shape, dtype=torch.uint8, device=device)
        if isinstance(rate, Sequence):
            for row, rate_of_row in zip(keep, rate, strict=True):
                self._draw(row, rate_of_row)
        else:
            self._draw(keep, rate)
        return keep

    @contextmanager
    def as_global(self, device: torch.device) -> Iterator[None]:
        """Inside, torch's global generators follow this one; outside they are as before. For foreign modules (BERT)."""
        seed = torch.randint(2**62, (), generator=self.generator, device=self.generator.device)
        with torch.random.fork_rng([device] if device.type == "cuda" else []):
            torch.manual_seed(int(seed))
            yield

    def _draw(self, out: Tensor, rate: float) -> None:
        """Fills `out` (contiguous) with ones (probability 1 - rate) and zeros."""
        assert 0 <= rate < 1, rate
        if rate == 0:
            out.fill_(1)
            return
        piece = PIECE if out.device.type == "cpu" else max(out.numel(), 1)
        words = torch.empty((min(piece, out.numel()) + 3) // 4, dtype=torch.int64, device=out.device)
        threshold = min(round(rate * 65536), 65535) - 32768  # of a 16-bit integer
        for part in out.view(-1).split(piece):
            bits = words[: (part.numel() + 3) // 4].random_(-(2**63), None, generator=self.generator)
            torch.ge(bits.view(torch.int16)[: part.numel()], threshold, out=part)


def dropout(x: Tensor, rate: float, noise: Noise | None) -> Tensor:
    """`noise.dropout(x, rate)` in training; x itself in evaluation, where there is no noise."""
    return x if noise is None else noise.dropout(x, rate)
