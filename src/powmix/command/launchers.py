"""Launchers: one job after the other in this process, or jobs in other processes, which may be killed.

submitit waits for the file that a job leaves at its end. Where sacct does not say that a job has ended without one
(many clusters keep no accounts), it waits for ever; `Slurm` asks squeue then.
"""

from __future__ import annotations

import copy
import logging
import math
import subprocess
import time
from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any

from hydra._internal.core_plugins.basic_launcher import BasicLauncher
from hydra.core.config_loader import ConfigLoader
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override, OverrideType
from hydra.core.plugins import Plugins
from hydra.core.utils import JobReturn, JobStatus
from hydra.plugins.launcher import Launcher
from hydra.types import HydraContext
from omegaconf import DictConfig, OmegaConf

from powmix.command.composition import OURS
from powmix.runs.records import read_jobs, write_job

log = logging.getLogger("powmix")

KILLED = ("TerminatedWorkerError", "BrokenProcessPool")
"""What joblib raises when one of its processes was killed."""
TRIES = 3
ENDED = ("BOOT_FAIL", "CANCELLED", "COMPLETED", "DEADLINE", "FAILED", "NODE_FAIL", "OUT_OF_MEMORY", "TIMEOUT")
"""States, as squeue names them, of a job that does not come back; it forgets such a job after some minutes."""
ASKED_EVERY = 20


class InProcess(BasicLauncher):
    """Hydra's basic launcher, which composes a configuration once for each choice of groups and keys."""

    def setup(self, *, hydra_context: HydraContext, **what: Any) -> None:
        loader: Any = Composer(hydra_context.config_loader)
        context = HydraContext(loader, hydra_context.callbacks, hydra_context.execution_whitelist)
        super().setup(hydra_context=context, **what)


class Composer:
    """Composes the jobs of a sweep; where one differs from an earlier one in values alone, from that one's result.

    Only `key=value` and `++key=value` of powmix's own keys count as values, and a section must have the same keys: what
    chooses a group, adds, removes or is Hydra's own makes another kind of job. A trial of LF-DNN then takes
    0.29 instead of 0.52 s of processor time beside its training (three interleaved pairs of searches, 12 trials each).
    """

    def __init__(self, loader: ConfigLoader) -> None:
        self._loader, self._composed = loader, dict[tuple[Any, ...], DictConfig]()
        self._is_group = cache(lambda key: bool(loader.get_group_options(key)))

    def load_sweep_config(self, master_config: DictConfig, sweep_overrides: list[str]) -> DictConfig:
        """The configuration of the job with these overrides: what Hydra's own loader says."""
        parsed = OverridesParser.create().parse_overrides(sweep_overrides)
        values = [one for one in parsed if self._sets_a_value(one)]
        told = {one.key_or_group: _shape(one.value()) for one in values}
        kind = tuple((one.type, one.key_or_group, told.get(one.key_or_group, one.input_line)) for one in parsed)
        if kind not in self._composed:
            config = self._loader.load_sweep_config(master_config, sweep_overrides)
            self._composed[kind] = copy.deepcopy(config)
            return config
        config = copy.deepcopy(self._composed[kind])
        for one in values:
            OmegaConf.update(config, one.key_or_group, one.value(), force_add=one.is_force_add())
        config.hydra.overrides.task = [one.input_line for one in parsed if not one.is_hydra_override()]
        OmegaConf.copy_cache(from_config=master_config, to_config=config)
        return config

    def _sets_a_value(self, one: Override) -> bool:
        is_set = one.type in (OverrideType.CHANGE, OverrideType.FORCE_ADD) and one.package is None
        return is_set and not one.is_hydra_override() and not self._is_group(one.key_or_group)


def _shape(value: Any) -> Any:
    """The keys of a section, and of those inside; None for any other value."""
    return tuple((key, _shape(one)) for key, one in value.items()) if isinstance(value, Mapping) else None


class Processes(Launcher):
    """Hydra's joblib launcher; where a worker process of a comparison is killed, its jobs are run again.

    joblib then ends the other workers, too. What is finished is found in its run folder and what was begun continues,
    so only the lost epochs are computed again. From the third time on each job is launched by itself, and one that is
    killed even so counts as failed. A search does its own: each launch of its trials is one job, counted in the study.
    """

    def __init__(self, **options: Any) -> None:
        from hydra_plugins.hydra_joblib_launcher.joblib_launcher import JoblibLauncher

        self._launcher = JoblibLauncher(**options)

    def setup(self, *, config: DictConfig, **what: Any) -> None:
        self._sweep = Path(config.hydra.sweep.dir)
        self._launcher.setup(config=config, **what)

    def launch(self, job_overrides: Sequence[Sequence[str]], initial_job_idx: int) -> Sequence[JobReturn]:
        """The jobs' returns, in their order; NaN for a job that failed."""
        if any(text.startswith(OURS[1]) for text in job_overrides[0]):
            return self._launcher.launch(job_overrides, initial_job_idx)
        for _ in range(TRIES - 1):
            try:
                return self._launcher.launch(job_overrides, initial_job_idx)
            except Exception as error:
                if type(error).__name__ not in KILLED:
                    raise
                log.warning("a worker process was killed; what is not finished is run again")
        return [self._alone(job, number) for number, job in enumerate(job_overrides, initial_job_idx)]

    def _alone(self, job: Sequence[str], number: int) -> JobReturn:
        try:
            [found] = self._launcher.launch([job], number)
            return found
        except Exception as error:
            if type(error).__name__ not in KILLED:
                raise
        record = read_jobs(self._sweep).get(number, {"number": number, "overrides": job})
        record |= {"status": "failed", "error": "its worker process was killed each time; the same command continues"}
        write_job(self._sweep / str(number), **{key: value for key, value in record.items() if key != "schema"})
        log.error("job %d failed: %s", number, record["error"])
        return JobReturn(status=JobStatus.COMPLETED, _return_value=math.nan)


class Slurm(Launcher):
    """Hydra's submitit launcher on Slurm, which also works where accounting is off."""

    def __init__(self, **options: Any) -> None:
        from hydra_plugins.hydra_submitit_launcher.submitit_launcher import SlurmLauncher

        self._launcher = SlurmLauncher(**options)

    def setup(self, **what: Any) -> None:
        self._launcher.setup(**what)

    def launch(self, job_overrides: Sequence[Sequence[str]], initial_job_idx: int) -> Sequence[JobReturn]:
        from submitit.slurm.slurm import SlurmJob

        if not _answers("sacct", "-n", "-X"):
            SlurmJob.watcher = _queue_watcher()
        return self._launcher.launch(job_overrides, initial_job_idx)


def register() -> None:
    """Make the classes known to Hydra, which starts no launcher that it does not know."""
    for launcher in (InProcess, Processes, Slurm):
        Plugins.instance().register(launcher)


def _answers(*command: str) -> bool:
    try:
        return subprocess.run(command, capture_output=True).returncode == 0
    except OSError:
        return False


def _queue_watcher() -> Any:
    from submitit.slurm.slurm import SlurmInfoWatcher

    class Queue(SlurmInfoWatcher):
        """The states of jobs by squeue: what is gone has ended."""

        def update(self) -> None:
            asked = subprocess.run(["squeue", "-h", "-r", "-t", "all", "-o", "%i %T"], capture_output=True, text=True)
            self._last_status_check = time.time()
            if asked.returncode:
                return  # the controller does not answer; what was known still holds
            listed = dict(line.split() for line in asked.stdout.splitlines())
            for job in self._registered - self._finished:
                state = listed.get(job, "COMPLETED")
                self._info_dict[job] = {"JobID": job, "State": state if state in ENDED else "RUNNING"}
                if self.is_done(job, mode="cache"):
                    self._finished.add(job)

    return Queue(delay_s=ASKED_EVERY)
