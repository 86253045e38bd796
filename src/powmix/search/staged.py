"""The paper's staged search: p_mix at n_O = 256, then n_O at the best p_mix, repeated, as an Optuna sampler."""

import warnings
from collections.abc import Mapping, Sequence
from typing import Any, cast

import numpy
import optuna
from optuna.distributions import BaseDistribution, CategoricalDistribution
from optuna.samplers import BaseSampler, PartialFixedSampler, TPESampler
from optuna.study import Study, StudyDirection
from optuna.trial import FrozenTrial, TrialState

from powmix.mistakes import check_one_of


class StagedSampler(BaseSampler):
    """Vary one parameter in each stage and hold the others at the best trial's values (`start` before there is one).

    A trial's stage follows from its number alone, so the search goes on where it was after any restart. A parameter
    with listed values takes each of them once in a stage before it repeats one; a continuous one is left to TPE.

    Args: order: the parameters in the order of their stages; start: their values before the first best trial;
    rounds: how often the order is gone through; first: the number of the first searched trial; n_trials: the total.
    Source: Georgiou et al. 2024, section on hyper-parameter search.
    """

    def __init__(
        self,
        order: Sequence[str],
        start: Mapping[str, Any],
        rounds: int,
        n_trials: int,
        first: int = 0,
        seed: int | None = None,
    ) -> None:
        self.order, self.start, self.rounds = list(order), dict(start), rounds
        self.first, self.n_trials = first, n_trials
        self._rng = numpy.random.default_rng(seed)
        self._base = TPESampler(seed=seed, n_startup_trials=4, constant_liar=True)
        if rounds < 1 or not self.order:
            raise ValueError(f"staged sampler: got rounds={rounds}, order={self.order}, allowed at least one of each")

    def stage(self, number: int) -> int:
        """Which stage (0-based) trial `number` belongs to: the searched trials split evenly over the stages."""
        n_stages = self.rounds * len(self.order)
        searched = max(self.n_trials - self.first, 1)
        return min(max(number - self.first, 0) * n_stages // searched, n_stages - 1)

    def varied(self, number: int) -> str:
        """The parameter that trial `number` varies."""
        return self.order[self.stage(number) % len(self.order)]

    def infer_relative_search_space(self, study: Study, trial: FrozenTrial) -> dict[str, BaseDistribution]:
        return {}

    def sample_relative(
        self, study: Study, trial: FrozenTrial, search_space: dict[str, BaseDistribution]
    ) -> dict[str, Any]:
        return {}

    def sample_independent(self, study: Study, trial: FrozenTrial, name: str, distribution: BaseDistribution) -> Any:
        check_one_of("a parameter that the staged sampler searches (hydra.sweeper.sampler.order)", name, self.order)
        varied, held = self.varied(trial.number), self._held(study, trial)
        if name == varied and isinstance(distribution, CategoricalDistribution):
            untried = self._untried(study, trial, held, name, distribution)
            if untried:
                return untried[self._rng.integers(len(untried))]
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
            sampler = PartialFixedSampler(held, self._base)
        return sampler.sample_independent(study, trial, name, distribution)

    def _held(self, study: Study, trial: FrozenTrial) -> dict[str, Any]:
        """The values of the parameters that this trial does not vary."""
        best = self._best(study)
        varied = self.varied(trial.number)
        if best is not None and self.stage(trial.number) > 0:
            return {name: value for name, value in best.params.items() if name != varied}
        return {name: value for name, value in self.start.items() if name != varied}

    def _best(self, study: Study) -> FrozenTrial | None:
        complete = study.get_trials(deepcopy=False, states=(TrialState.COMPLETE,))
        complete = [trial for trial in complete if set(self.order) <= trial.params.keys()]
        sign = -1 if study.direction == StudyDirection.MAXIMIZE else 1
        return min(complete, key=lambda trial: sign * cast(float, trial.value), default=None)

    def _untried(
        self, study: Study, trial: FrozenTrial, held: dict[str, Any], name: str, distribution: CategoricalDistribution
    ) -> list[Any]:
        alike = (
            other.params[name]
            for other in study.get_trials(deepcopy=False)
            if other.number != trial.number and name in other.params
            if all(other.params.get(key) == value for key, value in held.items())
        )
        tried = set(alike)
        return [choice for choice in distribution.choices if choice not in tried]
