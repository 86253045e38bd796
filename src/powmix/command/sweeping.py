"""A comparison's jobs: the product of the swept values, and beside it jobs without what those values are about.

Hydra's default sweeper here.

A sweep over options of a mixer needs its line without mixing, which is no point of the product:

    hydra/sweeper: comparison
    hydra.sweeper.params:   {mixer.n_out: "64,256"}
    hydra.sweeper.baseline: [mixer=none]

A comparison over tasks whose options differ (`dataset.path`, `dataset.train_examples`) has its grid on each of them:

    hydra.sweeper.tasks: {digits: {dataset: mfeat, dataset.train_examples: 100}, speech: {dataset: mosi, model: mult}}

With `seeds=until_decided` all jobs are run with a few seeds, then those that are not yet decided against their baseline
with more, until all are or have the most that `until.seeds` allows. What an earlier round trained is found again.
"""

from __future__ import annotations

import math
import os
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict
from functools import cache
from pathlib import Path
from typing import Any

import yaml
from hydra._internal.core_plugins.basic_sweeper import BasicSweeper
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.plugins import Plugins
from hydra.plugins.launcher import Launcher
from hydra.types import HydraContext
from omegaconf import DictConfig

from powmix.command.sweep_progress import SweepProgress
from powmix.runs.identity import UNTIL_DECIDED, seed_list
from powmix.tracking.wandb_session import is_agents

FIRST = 5
"""Seeds of the first round: no verdict is given on fewer."""


class ComparisonSweeper(BasicSweeper):
    """Hydra's own grid, preceded by the baseline's jobs: one for each model, dataset, ... that the grid goes through.

    baseline: overrides in place of the grid's; `mixer=none` replaces all of `mixer`, and the ablation, which is a part
    of it. Empty: the grid alone. tasks: {name: {key: value}}; the jobs are run on each but those that are null, behind
    its overrides, so that the command's own override them; none: once.
    """

    config: DictConfig
    hydra_context: HydraContext
    launcher: Launcher

    def __init__(
        self,
        max_batch_size: int | None,
        params: dict[str, str] | None,
        baseline: Sequence[str],
        tasks: Mapping[str, Mapping[str, Any] | None] | None = None,
    ) -> None:
        super().__init__(max_batch_size, params)
        self.baseline = list(baseline)
        chosen = [task for task in (tasks or {}).values() if task]
        self.tasks = [[f"{key}={as_text(value)}" for key, value in task.items()] for task in chosen]

    def split_arguments(  # type: ignore[override]  # a static method there; this one knows the baseline
        self, overrides: list[Any], max_batch_size: int | None
    ) -> list[list[list[str]]]:
        """Batches of jobs, each a list of overrides."""
        [grid] = BasicSweeper.split_arguments(overrides, None)
        jobs = [*beside(grid, self.baseline), *grid] if self.baseline else grid
        jobs = [[*task, *job] for task in self.tasks or [[]] for job in jobs]
        return list(self.split_overrides_to_chunks(jobs, max_batch_size))

    def sweep(self, arguments: list[str]) -> list[Any]:
        """Runs all jobs, or with `seeds=until_decided` as many rounds of them as it takes; what each job returned."""
        words = [*self._parse_config(), *arguments]
        overrides = OverridesParser.create(config_loader=self.hydra_context.config_loader).parse_overrides(words)
        batches = self.split_arguments(overrides, self.max_batch_size)
        told = {text.partition("=")[0]: text.partition("=")[2] for text in words}
        folder = Path(self.config.hydra.sweep.dir)
        folder.mkdir(parents=True, exist_ok=True)
        jobs = [job for batch in batches for job in batch]
        self.validate_batch_is_legal(self._kinds(jobs))
        if len(jobs) > 1 and "wandb" in self.config.tracker and is_agents(os.environ):
            raise ValueError(f"a trial of `wandb agent` is one variant, got {len(jobs)}: say one value for each key")
        if told.get("seeds", self.config.seeds) == UNTIL_DECIDED:
            return self._until_decided(folder, jobs)
        returned, first = [], 0
        with self._progress(folder, jobs):
            for batch in batches:
                returned.append(self._launch(batch, first))
                first += len(batch)
        return returned

    def _kinds(self, jobs: Sequence[list[str]]) -> list[list[str]]:
        """One job for each choice of groups and keys: another value of a key composes alike, and all were checked.

        Composing takes 72 ms a job, and each is composed again to run it.
        """
        options = self.hydra_context.config_loader.get_group_options
        is_group = cache(lambda key: bool(options(key)))
        found: dict[tuple[str, ...], list[str]] = {}
        for job in jobs:
            keys = {text: text.partition("=")[0] for text in job}
            kind = tuple(text if is_group(key.lstrip("+~").partition("@")[0]) else key for text, key in keys.items())
            found.setdefault(kind, job)
        return list(found.values())

    def _until_decided(self, folder: Path, jobs: list[list[str]]) -> list[Any]:
        until, returned = self.config.until, []
        jobs = [[text for text in job if not text.startswith("seeds=")] for job in jobs]
        open_jobs, counts = set(range(len(jobs))), [0] * len(jobs)
        for n in rounds(until.seeds):
            counts = [n if number in open_jobs else count for number, count in enumerate(counts)]
            batch = [[*job, f"seeds={count}"] for job, count in zip(jobs, counts)]
            with self._progress(folder, batch):
                returned.append(self._launch(batch, 0))
            open_jobs = look(folder, until, n)
            if not open_jobs:
                break
        return returned

    def _launch(self, batch: list[list[str]], first: int) -> Any:
        results = self.launcher.launch(batch, initial_job_idx=first)
        for result in results:
            _ = result.return_value  # raises what stopped the job
        return results

    def _progress(self, folder: Path, jobs: list[list[str]]) -> SweepProgress:
        shared = set.intersection(*map(set, jobs))
        labels = [" ".join(text for text in job if text not in shared) for job in jobs]
        told = [{text.partition("=")[0]: text.partition("=")[2] for text in job}.get("seeds") for job in jobs]
        seeds = [self.config.seeds if text is None else yaml.safe_load(text) for text in told]
        return SweepProgress(folder, labels, [seed_list(one) for one in seeds])


def as_text(value: Any) -> str:
    """A value as Hydra's command line reads it: text in quotes where it holds more than a plain word or path."""
    if isinstance(value, Mapping):
        return f"{{{','.join(f'{key}:{as_text(one)}' for key, one in value.items())}}}"
    if not isinstance(value, str) and isinstance(value, Sequence):
        return f"[{','.join(map(as_text, value))}]"
    if isinstance(value, str):
        escaped = value.replace("\\", "\\\\").replace("'", "\\'")
        return value if re.fullmatch(r"[\w./-]+", value) else f"'{escaped}'"
    return "null" if value is None else str(value).lower()


def rounds(most: int) -> Iterator[int]:
    """How many seeds each round has: FIRST, then a fifth more each time, `most` in the end."""
    n = min(FIRST, most)
    while n < most:
        yield n
        n = min(most, n + max(1, math.ceil(n / 5)))
    yield n


def look(folder: Path, until: Any, n: int) -> set[int]:
    """The jobs of a sweep that need more than n seeds; what is decided is written into sweep.json.

    A job is open while its comparison is undecided, a baseline while any comparison with it is. Every comparison is
    tested at the level divided by their number, so that all of them together are wrong with probability 5 %. A seed's
    difference is the mean over its folds.
    """
    from powmix.metrics.sequential import Sequential
    from powmix.metrics.statistics import ALPHA
    from powmix.report.building import build
    from powmix.report.folds import by_seed, parts
    from powmix.report.verdict import region
    from powmix.runs import collection
    from powmix.runs.records import read_jobs, write_sweep

    table = build(collection.read([folder]).records)
    rows = [row for row in table.rows if row.baseline is not None and not row.is_baseline]
    found, wanted = [], set()
    for row in rows:
        assert row.baseline is not None
        m = row.main
        plan = Sequential(until.effect, region(m, row, table), most=until.seeds, alpha=ALPHA / len(rows))
        own, base = (record.values(m.key, until.split) for record in (row.record, row.baseline))
        gaps = by_seed({key: own[key] - base[key] for key in own.keys() & base.keys()})
        differences = [gaps[seed] for seed in seed_list(n) if seed in gaps]
        if not differences:
            continue
        seen = plan.look(differences, m.higher_is_better)
        told = {"run": row.record.signature, "label": row.label, "place": row.place, "metric": m.key}
        found.append({**told, **asdict(seen)})
        if not plan.finished(differences):
            wanted |= {one.folder.resolve() for side in (row.record, row.baseline) for one in parts(side)}
    write_sweep(
        folder,
        until={
            "split": until.split,
            "metric": table.main.key,
            "effect": until.effect,
            "most": until.seeds,
            "looks": found,
        },
    )
    runs = {number: (folder / job["run"]).resolve() for number, job in read_jobs(folder).items() if job.get("run")}
    return {number for number, run in runs.items() if run in wanted}


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
