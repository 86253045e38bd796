"""One trial's job through Hydra's launcher, and how it ended: complete, pruned, nan, failed or died."""

import logging
import math
import traceback
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

from hydra.core.utils import JobReturn, JobStatus
from hydra.errors import HydraException
from hydra.plugins.launcher import Launcher
from omegaconf.errors import OmegaConfBaseException
from optuna.exceptions import TrialPruned
from optuna.trial import Trial, TrialState

from powmix.search.storage import StorageAway, patiently
from powmix.training.listener import Pruned, TrainingFailed

log = logging.getLogger(__name__)
DEATHS = "deaths"
# What the launchers raise when a worker process is gone: joblib, submitit, Ray. By name, for none need be installed.
LOST = ("TerminatedWorkerError", "BrokenProcessPool", "UncompletedJobError", "WorkerCrashedError", "NodeDiedError")


class SeveralObjectives(ValueError):
    """The task function returns several values. It is the application's mistake, and every trial would fail by it."""


@dataclass(frozen=True)
class Outcome:
    """What the study is told; `status` tells the kinds of failure apart."""

    status: str
    state: TrialState
    value: float | None = None
    error: str | None = None

    @classmethod
    def of(cls, job: JobReturn) -> "Outcome":
        """The outcome of a finished job, whose exception may come from another process."""
        if job.status is JobStatus.COMPLETED:
            return cls.of_value(job.return_value)
        error = job._return_value  # the property would print the job's overrides before it raises
        if isinstance(error, StorageAway):
            raise error
        return cls.of_error(error)

    @classmethod
    def of_value(cls, value: Any) -> "Outcome":
        """Complete for a finite number, nan for another one, failed for anything else. Errors: SeveralObjectives."""
        if isinstance(value, tuple | list):
            raise SeveralObjectives(f"the job returned {value!r}: a study has one objective, a number")
        try:
            number = float(value)
        except (TypeError, ValueError):
            return cls("failed", TrialState.FAIL, None, f"the job returned {value!r}, expected its objective, a number")
        if not math.isfinite(number):
            return cls("nan", TrialState.FAIL, None, f"the objective is {number}")
        return cls("complete", TrialState.COMPLETE, number)

    @classmethod
    def of_error(cls, error: Exception) -> "Outcome":
        """Pruned, nan for a training that diverged, failed for any other exception."""
        text = f"{type(error).__name__}: {error}"
        if isinstance(error, Pruned | TrialPruned):
            return cls("pruned", TrialState.PRUNED, None, str(error) or None)
        if isinstance(error, TrainingFailed | FloatingPointError):
            return cls("nan", TrialState.FAIL, None, text)
        trace = "".join(traceback.format_tb(error.__traceback__)[-3:])
        return cls("failed", TrialState.FAIL, None, f"{text}\n{trace}".strip())


def launch(launcher: Launcher, trial: Trial, overrides: Sequence[str], max_deaths: int) -> Outcome:
    """Run a trial's job; one whose worker process was lost is launched again, until it has died `max_deaths` times.

    A mistake in the configuration is raised, for every other trial would fail by it, too; so are
    SeveralObjectives and StorageAway.
    """
    deaths = trial.user_attrs.get(DEATHS, 0)
    while True:
        try:
            (job,) = launcher.launch([overrides], initial_job_idx=trial.number)
            return Outcome.of(job)
        except (HydraException, OmegaConfBaseException, StorageAway, SeveralObjectives):
            raise
        except Exception as error:
            reason = f"{type(error).__name__}: {error}"
            if type(error).__name__ not in LOST:
                return Outcome.of_error(error)
        deaths += 1
        patiently(partial(trial.set_user_attr, DEATHS, deaths))
        log.warning(f"trial {trial.number}: its worker was lost ({reason})")
        if deaths >= max_deaths:
            return Outcome("died", TrialState.FAIL, None, f"its process died {deaths} times: {reason}")
