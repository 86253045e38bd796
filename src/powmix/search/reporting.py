"""How a trial under training tells its study how it goes, and asks whether to go on.

`Reports` is the link of any job, whose steps are its own. In powmix, one study has one kind of step, by its pruner:

- `median`, `hyperband` and `none` compare trials at equal resources: a step is an epoch counted over all seeds,
  `seed_index * max_epochs + epoch` (epoch from 1), and the value is the mean over the seeds so far of the best
  validation value each has reached. A seed that stops early reports its last value at the end of its block, so every
  trial has the steps max_epochs, 2 max_epochs, ...
- `wilcoxon` compares trials seed by seed: a step is the seed's index (from 0), the value is that seed's best. It needs
  four seeds before a signed-rank test can reach p < 0.1.
"""

import logging
import math
from collections.abc import Mapping, Sequence
from typing import Any

import optuna

from powmix.search.samplers import build_pruner, compares_seeds
from powmix.search.storage import load_study, open_storage, patiently, reason, storage_errors
from powmix.search.trials import LABEL
from powmix.training.listener import Listener, Pruned

log = logging.getLogger(__name__)
PRUNER = "pruner"


class Reports:
    """What a job has reported to its trial, and whether the study's pruner gives the trial up.

    A report that cannot reach the storage is kept and sent with the next one: the training goes on.

    Args: storage, study_name, trial_id: as the sweeper gave them to the job. Errors: ValueError when the study is not
    in the storage, StorageAway when the storage does not answer.
    """

    def __init__(self, storage: str, study_name: str, trial_id: int) -> None:
        study = load_study(storage, study_name, sampler=optuna.samplers.RandomSampler())
        self.pruner = patiently(lambda: study.user_attrs).get(PRUNER, {"name": "none"})
        study.pruner = build_pruner(self.pruner)
        self._trial = patiently(lambda: optuna.Trial(study, trial_id))
        stored = patiently(lambda: open_storage(storage).get_trial(trial_id))
        self.is_finished = stored.state.is_finished()
        self.direction = patiently(lambda: study.direction)
        self._steps = set(stored.intermediate_values)
        self._unsent: list[tuple[int, float]] = []
        # A pruned baseline could not be compared with.
        self._is_never_pruned = LABEL in patiently(lambda: self._trial.user_attrs)

    @property
    def last_step(self) -> int:
        return max(self._steps, default=0)

    def report(self, step: int, value: float) -> None:
        """Write `value` at `step`; repeated steps (of a resumed training) and NaN are passed over."""
        if step in self._steps or not math.isfinite(value):
            return
        self._steps.add(step)
        self._unsent.append((step, float(value)))
        try:
            while self._unsent:
                step, value = self._unsent[0]
                self._trial.report(value, step)
                del self._unsent[0]
        except storage_errors() as error:
            if len(self._unsent) == 1:
                log.warning(f"a report to the search waits until the storage answers: {reason(error)}")

    def should_prune(self) -> bool:
        """True when the study's pruner gives this trial up; never for the warm start."""
        try:
            return not self._is_never_pruned and not self._unsent and self._trial.should_prune()
        except storage_errors():
            return False


class TrialReporter(Reports, Listener):
    """The link from a training of powmix to its trial: a listener of powmix.training.

    Args: seeds: the trial's seeds in their order; metric: the validation metric that is the objective; max_epochs: of
    one seed; the others and the errors as of Reports.
    """

    def __init__(
        self,
        storage: str,
        study_name: str,
        trial_id: int,
        seeds: Sequence[int] = (0,),
        metric: str = "MAE",
        max_epochs: int = 1,
    ) -> None:
        super().__init__(storage, study_name, trial_id)
        self._by_seed = compares_seeds(self.pruner)
        self._seeds, self._metric, self._max_epochs = list(seeds), metric, max_epochs
        self._final: dict[int, float] = {}
        self._best: dict[int, float] = {}

    @classmethod
    def from_config(cls, config: Mapping[str, Any]) -> "TrialReporter":
        """The reporter of a composed configuration whose section `trial` is filled in and whose seeds are a list."""
        trial = config["trial"]
        return cls(
            str(trial["storage"]),
            str(trial["study"]),
            int(trial["id"]),
            config["seeds"],
            config["objective"],
            config["trainer"]["max_epochs"],
        )

    def on_epoch(self, seed: int, row: Mapping[str, Any]) -> None:
        """Report the epoch; raise powmix.training.listener.Pruned when the study's pruner gives the trial up."""
        self.report_epoch(self._seeds.index(seed), int(row["epoch"]), float(row[f"validation_{self._metric}"]))
        self._stop_if_hopeless()

    def on_seed_end(self, seed: int, record: Mapping[str, Any]) -> None:
        """Report the seed; raise Pruned as on_epoch does, unless it was the last seed."""
        self.report_seed(self._seeds.index(seed), float(record["validation"][self._metric]))
        if len(self._final) < len(self._seeds):
            self._stop_if_hopeless()

    def report_epoch(self, seed_index: int, epoch: int, value: float) -> None:
        """After epoch `epoch` (from 1) of the seed number `seed_index` (from 0): its validation value."""
        best = self._better(self._best.get(seed_index), value)
        self._best[seed_index] = best
        if not self._by_seed:
            self.report(seed_index * self._max_epochs + epoch, self._mean_with(seed_index, best))

    def report_seed(self, seed_index: int, value: float) -> None:
        """After a seed: its best validation value."""
        self._final[seed_index] = value
        if self._by_seed:
            self.report(seed_index, value)
        else:
            self.report((seed_index + 1) * self._max_epochs, self._mean_with(seed_index, value))

    def _stop_if_hopeless(self) -> None:
        if self.should_prune():
            raise Pruned(f"given up by the search after step {self.last_step}")

    def _mean_with(self, seed_index: int, value: float) -> float:
        values = [final for index, final in self._final.items() if index != seed_index] + [value]
        return sum(values) / len(values)

    def _better(self, best: float | None, value: float) -> float:
        if best is None or not math.isfinite(best):
            return value
        choose = max if self.direction == optuna.study.StudyDirection.MAXIMIZE else min
        return choose(best, value) if math.isfinite(value) else best
