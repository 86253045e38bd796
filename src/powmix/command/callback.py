"""What happens around a command's jobs: a run's configuration is checked, a sweep gets its record and its table."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Any, ClassVar

from hydra.experimental.callback import Callback
from omegaconf import DictConfig
from omegaconf.errors import OmegaConfBaseException

from powmix.command.composition import plain, task_overrides
from powmix.command.exits import WRONG, leave
from powmix.command.validation import check_config, check_overrides
from powmix.runs.identity import UNTIL_DECIDED
from powmix.runs.provenance import command, now
from powmix.runs.records import read_jobs, refuse_other_schema, write_sweep
from powmix.tracking.wandb_session import is_agents


class Around(Callback):
    """Hydra's callback. Hydra turns its exceptions into warnings: what must stop the command is a SystemExit."""

    failed: ClassVar[int] = 0
    """Jobs of the last sweep in this process that have no result."""

    def on_run_start(self, config: DictConfig, **_: Any) -> None:
        """A single run, composed and not begun: its mistakes stop it before anything is written."""
        if name := config.hydra.runtime.choices.get("sweeps"):
            leave(f"sweeps={name} is a comparison or a search, many runs: add -m", WRONG)
        if config.seeds == UNTIL_DECIDED:
            leave("seeds=until_decided adds seeds to a comparison: add -m, and mixer=none beside another mixer", WRONG)
        try:
            found = check_overrides(config.hydra.overrides.task, config.hydra.runtime.choices)
            found += check_config(plain(config), config.hydra.runtime.choices)
        except OmegaConfBaseException as error:
            found = [str(error).splitlines()[0]]
        except ValueError as error:  # of data that are read for their task
            leave(str(error))
        if found:
            leave("\n        ".join(found), WRONG)
        _refuse(Path(config.hydra.run.dir))

    def on_multirun_start(self, config: DictConfig, **_: Any) -> None:
        Around.failed = 0
        folder = Path(config.hydra.sweep.dir)
        _refuse(folder)
        if _is_search(config) and "wandb" in config.tracker and is_agents(os.environ):
            leave("a search of powmix's own needs no `wandb agent`: start it by itself", WRONG)
        write_sweep(
            folder,
            name=config.sweep,
            created=now(),
            command=command(task_overrides(config.hydra), multirun=True),
            baseline_rule="mixer=none",
            search=_is_search(config),
        )

    def on_multirun_end(self, config: DictConfig, **_: Any) -> None:
        """Also when the sweep was interrupted."""
        folder = Path(config.hydra.sweep.dir)
        write_sweep(folder)
        jobs = read_jobs(folder)
        Around.failed = sum(job["status"] not in ("finished", "pruned") for job in jobs.values())
        if not jobs:
            return  # it was refused before any began
        from powmix.tracking import tell_of_sweep

        if _is_search(config):  # which selects on validation: no test metric of any trial is shown
            from powmix.tracking.trial_table import write_trials

            told = write_trials(folder)
        else:
            from powmix.report.comparison import write_comparison

            told = write_comparison(folder)
        sys.stdout.write(told + f"\n{folder}/\n")
        tell_of_sweep(plain(config)["tracker"], folder)


def _is_search(config: DictConfig) -> bool:
    return config.hydra.runtime.choices.get("hydra/sweeper") == "optuna_study"


def _refuse(folder: Path) -> None:
    """A folder that another version of powmix filled is named and left alone."""
    try:
        refuse_other_schema(folder)
    except ValueError as error:
        leave(str(error))
