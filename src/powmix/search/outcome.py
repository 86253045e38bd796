"""How a job ended: complete, pruned, nan (no finite objective) or failed (an exception)."""

import math
import traceback
from dataclasses import dataclass
from typing import Any

from hydra.core.utils import JobReturn, JobStatus
from optuna.trial import TrialState

PRUNED = ("Pruned", "TrialPruned")
NOT_FINITE = ("TrainingFailed", "FloatingPointError")


@dataclass(frozen=True)
class Outcome:
    """What the study is told; `status` tells the two kinds of failure apart."""

    status: str
    state: TrialState
    value: float | None = None
    error: str | None = None

    @classmethod
    def of(cls, job: JobReturn) -> "Outcome":
        """The outcome of a finished job, whose exception may come from another process."""
        if job.status is JobStatus.COMPLETED:
            return cls.of_value(job.return_value)
        return cls.of_error(job._return_value)

    @classmethod
    def of_value(cls, value: Any) -> "Outcome":
        try:
            number = float(value)
        except (TypeError, ValueError):
            return cls("failed", TrialState.FAIL, None, f"the job returned {value!r}, expected its objective, a number")
        if not math.isfinite(number):
            return cls("nan", TrialState.FAIL, None, f"the objective is {number}")
        return cls("complete", TrialState.COMPLETE, number)

    @classmethod
    def of_error(cls, error: BaseException) -> "Outcome":
        name, text = type(error).__name__, f"{type(error).__name__}: {error}"
        if name in PRUNED:
            return cls("pruned", TrialState.PRUNED, None, str(error) or None)
        if name in NOT_FINITE:
            return cls("nan", TrialState.FAIL, None, text)
        trace = "".join(traceback.format_tb(error.__traceback__)[-3:])
        return cls("failed", TrialState.FAIL, None, f"{text}\n{trace}".strip())
