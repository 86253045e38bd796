"""Which analyses there are, what decides their numbers, and which one is a sweep instead. Imports no torch."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from powmix.mistakes import unknown

Settings = Mapping[str, Any]


@dataclass(frozen=True)
class Analysis:
    """figure: of the paper, or ours. settings: from the number of repetitions, what decides the numbers (JSON)."""

    figure: str
    title: str
    settings: Callable[[int], dict[str, Any]]


GRID = [k / 20 for k in range(9)]
"""5 to 40 %, the paper's; 0 is ours, as the end that the test metrics give."""

ANALYSES = {
    "unimodal": Analysis(
        "Figure 5",
        "a linear head on each frozen modality, beside the model's own fusion",
        lambda _: {"penalties": [10.0**k for k in range(3, -6, -1)]},
    ),
    "noise": Analysis(
        "Figure 6",
        "test frames lost with probability p, aligned across modalities and independently",
        lambda repetitions: {"p": GRID, "repetitions": repetitions},
    ),
    "dominance": Analysis(
        "Figure 7",
        "test texts lost with probability p, or replaced by the training mean",
        lambda repetitions: {"p": GRID, "repetitions": repetitions},
    ),
    "regularity": Analysis(
        "ours",
        "mixed labels and weights, gradients of clean against mixed loss, calibration, slopes",
        lambda _: {"batches": 16, "levels": [k / 20 for k in range(1, 20)], "groups": 5, "slopes": "test"},
    ),
}
NAMES = tuple(ANALYSES)
REPETITIONS = 15
SWEEPS = {"limited": "limited trains on fractions of the data (Figure 8), it is a sweep: powmix -m sweeps=figure8"}


def choose(names: Iterable[str]) -> tuple[str, ...]:
    """The analyses asked for, `all` being every one, each once. ValueError lists every wrong name with its nearest."""
    asked = list(dict.fromkeys(name.strip() for name in names))
    problems = [_problem(name) for name in asked if name not in (*NAMES, "all")]
    if problems or not asked:
        raise ValueError("; ".join(problems) or f"no analysis given; allowed: all, {', '.join(NAMES)}")
    return NAMES if "all" in asked else tuple(asked)


def _problem(name: str) -> str:
    if name in SWEEPS:
        return SWEEPS[name]
    [sentence] = unknown([name], ["all", *NAMES], "analysis")
    return sentence
