"""Figure 6: how the test metrics fall as frames are lost, in all modalities at the same moments, or in each alone."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from torch import Generator

from powmix.analysis.damage import Damaged, over_probabilities
from powmix.data.corruption import drop_frames
from powmix.training import Solver


def measure(solver: Solver, settings: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    """Rows {repetition, kind: aligned | independent, p, metrics}; at p = 0 the run's own test metrics.

    A lost frame is zero; models that read token ids lose words instead, as [UNK] (data/corruption.py).
    """
    test = solver.splits.test

    def losing(aligned: bool) -> Damaged:
        def damaged(p: float, generator: Generator) -> dict[str, float]:
            return solver.evaluate(drop_frames(test, p, aligned, generator))[0]

        return damaged

    kinds = {"aligned": losing(True), "independent": losing(False)}
    return over_probabilities(solver.evaluate(test)[0], kinds, settings["p"], settings["repetitions"])
