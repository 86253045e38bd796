"""Metrics over the probability of damage: kinds of damage, probabilities, seeded repetitions."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
from torch import Generator

Damaged = Callable[[float, Generator], dict[str, float]]
"""The test metrics when everything is lost with probability p, drawn from a generator."""


def over_probabilities(
    clean: Mapping[str, float], kinds: Mapping[str, Damaged], probabilities: Sequence[float], repetitions: int
) -> Iterator[dict[str, Any]]:
    """Rows {repetition, kind, p, metrics}; p = 0 is `clean`, and with p = 1 nothing is left to chance: both once.

    A repetition draws the same numbers for every p, seed and variant: what is lost at p stays lost at a larger p, and
    variants are compared under the same damage.
    """
    for number, (kind, damaged) in enumerate(kinds.items()):
        for p in probabilities:
            for repetition in range(repetitions if 0 < p < 1 else 1):
                metrics = clean if p == 0 else damaged(p, _generator(number, repetition))
                yield {"repetition": repetition, "kind": kind, "p": p, **metrics}


def _generator(kind: int, repetition: int) -> Generator:
    seed = np.random.SeedSequence([kind, repetition]).generate_state(1, np.uint64)[0]
    return Generator().manual_seed(int(seed >> 1))
