"""How a trial under training tells its study how it goes, and asks whether to go on.

One study has one kind of step, by its pruner:

- `median`, `hyperband` and `none` compare trials at equal resources: a step is an epoch counted over all seeds,
  `seed_index * max_epochs + epoch` (epoch from 1), and the value is the mean over the seeds so far of the best
  validation value each has reached. A seed that stops early reports its last value at the end of its block, so every
  trial has the steps max_epochs, 2 max_epochs, ...
- `wilcoxon` compares trials seed by seed: a step is the seed's index (from 0), the value is that seed's best. It needs
  four seeds before a signed-rank test can reach p < 0.1.
"""

import math
from collections.abc import Mapping, Sequence
from typing import Any

import optuna

from powmix.search.pruners import build_pruner, compares_seeds
from powmix.search.storage import load_study
from powmix.training.listener import Listener

PRUNER = "pruner"
LABEL = "label"


class TrialReporter(Listener):
    """The link from a training to its trial: a listener of powmix.training.

    Args: storage, study_name, trial_id: what the sweeper wrote into the section `trial` of the configuration;
    seeds: the trial's seeds in their order; metric: the validation metric that is the objective; max_epochs: of one
    seed. Errors: ValueError when the study is not in the storage.
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
        study = load_study(storage, study_name, sampler=optuna.samplers.RandomSampler())
        options = study.user_attrs.get(PRUNER, {"name": "none"})
        study.pruner = build_pruner(options)
        self._by_seed = compares_seeds(options)
        self._trial = optuna.Trial(study, trial_id)
        self._steps = set(study._storage.get_trial(trial_id).intermediate_values)
        # The warm start answers a question: half a baseline would not.
        self._is_fixed = LABEL in self._trial.user_attrs
        self._direction = study.direction
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

    def report(self, step: int, value: float) -> None:
        """Write `value` at `step`; repeated steps (of a resumed training) and NaN are passed over."""
        if step in self._steps or not math.isfinite(value):
            return
        self._steps.add(step)
        self._trial.report(float(value), step)

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

    def should_prune(self) -> bool:
        """True when the study's pruner gives this trial up; never for the warm start."""
        return not self._is_fixed and self._trial.should_prune()

    def _stop_if_hopeless(self) -> None:
        if self.should_prune():
            from powmix.training.listener import Pruned

            raise Pruned(f"given up by the search after step {max(self._steps, default=0)}")

    def _mean_with(self, seed_index: int, value: float) -> float:
        values = [final for index, final in self._final.items() if index != seed_index] + [value]
        return sum(values) / len(values)

    def _better(self, best: float | None, value: float) -> float:
        if best is None or not math.isfinite(best):
            return value
        choose = max if self._direction == optuna.study.StudyDirection.MAXIMIZE else min
        return choose(best, value) if math.isfinite(value) else best
