"""Which examples form the batches of an epoch, and in which order: indices only, no example is copied.

Shape suffixes: N examples, B of a batch.
"""

from __future__ import annotations

import math

import torch
from torch import Generator, Tensor

from powmix.data.splits import Split

POOL = 16
"""Batches that are sorted by length together: enough for similar lengths, few enough that batches differ by epoch."""
STEPS_AT_ONCE = 65536


def training_batches(split: Split, size: int, generator: Generator, bucket: bool) -> list[Tensor]:
    """Every example once, in random order, as indices (B,) on the split's device; the last batch may be smaller."""
    order_N = torch.randperm(len(split), generator=generator)
    if not bucket or not split.lengths:
        return list(order_N.to(split.target.device).split(size))
    length_N = (split.lengths["text"] if "text" in split.lengths else next(iter(split.lengths.values()))).cpu()
    batches = bucketed(order_N, length_N, size)
    places = torch.randperm(len(batches), generator=generator).tolist()
    return [batches[place].to(split.target.device) for place in places]


def bucketed(order_N: Tensor, length_N: Tensor, size: int) -> list[Tensor]:
    """Batches of similar lengths: pools of a random order are sorted by length, then cut into batches."""
    batches = []
    for pool in order_N.split(size * POOL):
        batches += pool[length_N[pool].argsort(stable=True)].split(size)
    return batches


def evaluation_batches(split: Split, size: int) -> tuple[Tensor, ...]:
    """Every example once, in the split's order, in batches of `size` or more, bounded by their time steps."""
    steps = sum(math.prod(value.shape[1:-1]) for value in split.features.values()) + (split.tokens is not None) * 64
    return torch.arange(len(split), device=split.target.device).split(
        max(size, min(512, STEPS_AT_ONCE // max(steps, 1)))
    )
