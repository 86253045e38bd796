"""A comparison's jobs: the product of the swept values, and beside it jobs without what those values are about.

A sweep over options of a mixer needs its line without mixing, which is no point of the product:

    hydra/sweeper: comparison
    hydra.sweeper.params:   {mixer.n_out: "64,256"}
    hydra.sweeper.baseline: [mixer=none]
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from hydra._internal.core_plugins.basic_sweeper import BasicSweeper
from hydra.core.plugins import Plugins


class ComparisonSweeper(BasicSweeper):
    """Hydra's own grid, preceded by the baseline's jobs: one for each model, dataset, ... that the grid goes through.

    baseline: overrides in place of the grid's; `mixer=none` replaces all of `mixer`, and the ablation, which is a part
    of it. Empty: the grid alone.
    """

    def __init__(self, max_batch_size: int | None, params: dict[str, str] | None, baseline: Sequence[str]) -> None:
        super().__init__(max_batch_size, params)
        self.baseline = list(baseline)

    def split_arguments(self, overrides: list[Any], max_batch_size: int | None) -> list[list[list[str]]]:
        """Batches of jobs, each a list of overrides."""
        [grid] = BasicSweeper.split_arguments(overrides, None)
        jobs = [*beside(grid, self.baseline), *grid] if self.baseline else grid
        return list(self.split_overrides_to_chunks(jobs, max_batch_size))


def beside(grid: Sequence[Sequence[str]], baseline: Sequence[str]) -> list[list[str]]:
    """The baseline's jobs beside a grid: every job's overrides less those that `baseline` replaces, each once."""
    replaced = {text.partition("=")[0] for text in baseline}
    replaced |= {"ablation"} if "mixer" in replaced else set()

    def kept(text: str) -> bool:
        key = text.partition("=")[0].lstrip("+~")
        return not any(key == one or key.startswith(f"{one}.") for one in replaced)

    return [list(job) for job in dict.fromkeys((*filter(kept, job), *baseline) for job in grid)]


def register() -> None:
    """Make the class known to Hydra, which starts no sweeper that it does not know."""
    Plugins.instance().register(ComparisonSweeper)
