"""How a job of any Hydra application finds its trial: the environment that the sweeper gives it, and `report`."""

from __future__ import annotations

import os
import re
from functools import lru_cache
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from powmix.search.reporting import Reports

STORAGE, STUDY, TRIAL = "POWMIX_TRIAL_STORAGE", "POWMIX_TRIAL_STUDY", "POWMIX_TRIAL_ID"
HIDDEN = "POWMIX_HIDDEN_STORAGE"
"""Where the sweeper keeps a storage URL that may hold a password: Hydra's records then have only this name."""
IN_VARIABLE = "env:"
"""How STORAGE begins where it names the variable that holds the URL: Hydra writes down what it sets, resolved."""


def environment(study: str, storage: str, trial_id: int) -> str:
    """The override that gives a job its trial; `study`, `storage`: in Hydra's grammar, quoted or interpolated."""
    if not storage.startswith("'"):
        named = re.fullmatch(r"\$\{oc\.env:(\w+)\}", storage)
        storage = f"'{IN_VARIABLE}{named.group(1) if named else HIDDEN}'"
    return f"++hydra.job.env_set={{{STUDY}:{study},{STORAGE}:{storage},{TRIAL}:'{trial_id}'}}"


def report(step: int, value: float) -> None:
    """Tell the search how this job goes after `step`; a search that gives the job up ends it here.

    value: of what the job will return, as far as it is known (a validation loss, say). NaN and steps that were
    reported before are passed over. Does nothing outside a search. Processes that a job starts may call it, too.
    Errors: optuna.TrialPruned when the pruner gives the job up; the sweeper takes it as the job's end.
    """
    if TRIAL not in os.environ:
        return
    storage = os.environ[STORAGE]
    if storage.startswith(IN_VARIABLE):
        storage = os.environ[storage.removeprefix(IN_VARIABLE)]
    reports = _reports(os.getpid(), storage, os.environ[STUDY], int(os.environ[TRIAL]))
    if reports is None:
        return
    reports.report(step, value)
    if reports.should_prune():
        from optuna import TrialPruned

        raise TrialPruned(f"given up by the search after step {step}")


@lru_cache(maxsize=1)
def _reports(pid: int, storage: str, study: str, trial_id: int) -> Reports | None:
    """The trial's reports, opened once in each process; None for a finished trial's job that is run again by hand."""
    from powmix.search.reporting import Reports

    reports = Reports(storage, study, trial_id)
    return None if reports.is_finished else reports
