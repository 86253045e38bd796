"""Launchers whose jobs run in other processes, which may be killed: what a comparison does about it.

submitit waits for the file that a job leaves at its end. Where sacct does not say that a job has ended without one
(many clusters keep no accounts), it waits for ever; `Slurm` asks squeue then.
"""

from __future__ import annotations

import logging
import math
import subprocess
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from hydra.core.plugins import Plugins
from hydra.core.utils import JobReturn, JobStatus
from hydra.plugins.launcher import Launcher
from omegaconf import DictConfig

from powmix.command.composition import OURS
from powmix.runs.records import read_jobs, write_job

log = logging.getLogger("powmix")

KILLED = ("TerminatedWorkerError", "BrokenProcessPool")
"""What joblib raises when one of its processes was killed."""
TRIES = 3
ENDED = ("BOOT_FAIL", "CANCELLED", "COMPLETED", "DEADLINE", "FAILED", "NODE_FAIL", "OUT_OF_MEMORY", "TIMEOUT")
"""States, as squeue names them, of a job that does not come back; it forgets such a job after some minutes."""
ASKED_EVERY = 20


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
    for launcher in (Processes, Slurm):
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
