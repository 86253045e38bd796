"""Who runs which trial: every process takes free numbers of one study, and dead processes' numbers become free again.

A study is filled with waiting trials 0 .. n_trials - 1 when it starts. A process claims one by turning it RUNNING and
writing its name on it; a claim whose owner is dead goes back to WAITING with its parameters, so that the same number,
folder and configuration are run again. Numbers are never skipped and never run twice to the end.
"""

import logging
import threading
import time
import uuid
from collections.abc import Callable

import optuna
from optuna.study import Study
from optuna.trial import FrozenTrial, Trial, TrialState

from powmix.search.locks import ProcessId
from powmix.search.storage import exclusive

log = logging.getLogger(__name__)
OWNER, BEAT, DEATHS, STATUS, ERROR = "owner", "beat", "deaths", "status", "error"


class Claims:
    """The trials of one study that this process may run, runs, or waits for.

    Args: url: the study's storage; n_trials: total over all processes; max_deaths: how often a trial is asked again;
    grace: seconds without a heartbeat after which another machine's process counts as dead.
    """

    def __init__(self, study: Study, url: str, n_trials: int, max_deaths: int, grace: float) -> None:
        self.study, self.url, self.n_trials = study, url, n_trials
        self.max_deaths, self.grace = max_deaths, grace
        self.token = uuid.uuid4().hex
        self._seen: dict[int, tuple[object, float]] = {}

    @property
    def _storage(self) -> optuna.storages.BaseStorage:
        return self.study._storage

    def fill(self) -> None:
        """Add the waiting trials that the study lacks; the caller holds the lock."""
        for _ in range(len(self._trials()), self.n_trials):
            self.study.add_trial(optuna.trial.create_trial(state=TrialState.WAITING))

    def take(self, prepare: Callable[[FrozenTrial], Trial]) -> Trial | None:
        """Claim the first free number and let `prepare` choose its parameters; None when no number is free."""
        with exclusive(self.url):
            self._free_dead_claims()
            for frozen in self._trials(TrialState.WAITING):
                if self._claim(frozen):
                    return prepare(self._storage.get_trial(frozen._trial_id))
        return None

    def finish(self, trial: Trial, state: TrialState, value: float | None, status: str, error: str | None) -> bool:
        """Tell the study how a trial ended; False when the claim was lost to another process meanwhile."""
        with exclusive(self.url):
            if not self._is_mine(trial._trial_id):
                return False
            if error is not None:
                trial.set_user_attr(ERROR, error)
            trial.set_user_attr(STATUS, status)
            self.study.tell(trial, value, state)
        return True

    def release(self, trial_id: int) -> None:
        """Give a claimed number back, to be run again with the same parameters."""
        with exclusive(self.url):
            if self._is_mine(trial_id):
                self._free(trial_id)

    def all_finished(self) -> bool:
        return all(trial.state.is_finished() for trial in self._trials())

    def beat(self, trial_id: int) -> None:
        """Show the other machines that this claim lives."""
        self._storage.set_trial_user_attr(trial_id, BEAT, time.time())

    def _trials(self, *states: TrialState) -> list[FrozenTrial]:
        trials = self._storage.get_all_trials(self.study._study_id, deepcopy=False, states=states or None)
        return [trial for trial in trials if trial.number < self.n_trials]

    def _claim(self, frozen: FrozenTrial) -> bool:
        # The name first: a process killed between the two writes must not leave a running trial of nobody.
        owner = {"process": str(ProcessId.current()), "token": self.token}
        self._storage.set_trial_user_attr(frozen._trial_id, OWNER, owner)
        return self._storage.set_trial_state_values(frozen._trial_id, TrialState.RUNNING)

    def _is_mine(self, trial_id: int) -> bool:
        trial = self._storage.get_trial(trial_id)
        return trial.state == TrialState.RUNNING and (trial.user_attrs.get(OWNER) or {}).get("token") == self.token

    def _free(self, trial_id: int) -> None:
        self._storage.set_trial_state_values(trial_id, TrialState.WAITING)

    def _free_dead_claims(self) -> None:
        for trial in self._trials(TrialState.RUNNING):
            if self._is_dead(trial):
                self._bury(trial)

    def _bury(self, trial: FrozenTrial) -> None:
        deaths = trial.user_attrs.get(DEATHS, 0) + 1
        self._storage.set_trial_user_attr(trial._trial_id, DEATHS, deaths)
        if deaths < self.max_deaths:
            log.warning(f"trial {trial.number}: its process died; it is asked again ({deaths} of {self.max_deaths})")
            self._free(trial._trial_id)
            return
        log.error(f"trial {trial.number}: its process died {deaths} times; it counts as failed")
        self._storage.set_trial_user_attr(trial._trial_id, ERROR, f"its process died {deaths} times")
        self._storage.set_trial_user_attr(trial._trial_id, STATUS, "died")
        self._storage.set_trial_state_values(trial._trial_id, TrialState.FAIL)

    def _is_dead(self, trial: FrozenTrial) -> bool:
        owner = trial.user_attrs.get(OWNER)
        process = ProcessId.parse(owner["process"]) if owner else None
        if process is not None and process.is_here:
            return process.is_dead_here()
        # Clocks of two machines differ: what counts is how long this process has seen no change.
        sign = (owner, trial.user_attrs.get(BEAT))
        seen, since = self._seen.get(trial.number, (None, 0.0))
        if seen != sign:
            self._seen[trial.number] = (sign, time.monotonic())
            return False
        return time.monotonic() - since > self.grace


class Heartbeat:
    """Beats for one claim in a thread while the block runs, however long the training takes."""

    def __init__(self, claims: Claims, trial_id: int, seconds: float) -> None:
        self._claims, self._trial_id, self._seconds = claims, trial_id, seconds
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True, name=f"heartbeat-{trial_id}")

    def __enter__(self) -> "Heartbeat":
        self._thread.start()
        return self

    def __exit__(self, *exception: object) -> None:
        self._stop.set()
        self._thread.join(timeout=self._seconds)

    def _run(self) -> None:
        while not self._stop.wait(self._seconds):
            try:
                self._claims.beat(self._trial_id)
            except Exception as error:
                log.warning(f"no heartbeat: {error}")
