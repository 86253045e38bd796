"""Samplers by name, built anew for each trial so that what they draw follows from the study and the trial's number."""

import functools
import hashlib
import warnings
from collections.abc import Mapping
from typing import Any, cast

import optuna
from hydra.utils import instantiate
from hydra_plugins.hydra_optuna_sweeper._impl import OptunaSweeperImpl
from optuna.distributions import BaseDistribution
from optuna.samplers import BaseSampler
from optuna.trial import FrozenTrial, TrialState

OUTSIDE = "outside"
_WHITELIST = ("hydra_plugins.hydra_optuna_sweeper.*", "optuna.samplers.*", "powmix.search.*")
# One scramble or order for the whole study: these two take their next point by number, not by chance.
_ORDERED = ("QMCSampler", "GridSampler")


def build_sampler(
    options: Mapping[str, Any], space: Mapping[str, BaseDistribution], number: int, seed: int, first: int, n_trials: int
) -> BaseSampler:
    """The sampler of trial `number`; `first` is the number after the warm start, `n_trials` the total.

    The seed is a function of the study's seed and the number: a continued study does not repeat its start-up draws,
    and two processes on one study do not draw the same.
    """
    name = str(options["_target_"]).rpartition(".")[2]
    chosen = {**options, "seed": seed if name in _ORDERED else derive_seed(seed, number)}
    if name == "TPESampler":
        chosen["constant_liar"] = True  # trials that other processes run are kept apart from this one
    if name == "StagedSampler":
        chosen |= {"first": first, "n_trials": n_trials}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
        sampler = instantiate(chosen, _execution_whitelist_=_WHITELIST)
        if isinstance(sampler, functools.partial):
            sampler = OrderedGrid(grid_points(space), seed=chosen["seed"])
    return InsideOnly(sampler)


def derive_seed(seed: int, number: int) -> int:
    """A seed for trial `number` of a study with this `seed`."""
    return int.from_bytes(hashlib.sha256(f"{seed}:{number}".encode()).digest()[:4], "big")


def is_grid(options: Mapping[str, Any]) -> bool:
    return str(options["_target_"]).endswith(".GridSampler")


def grid_points(space: Mapping[str, BaseDistribution]) -> dict[str, list]:
    """The values of each searched parameter; ValueError for one that is continuous."""
    return {name: list(OptunaSweeperImpl._to_grid_sampler_choices(law)) for name, law in space.items()}


class OrderedGrid(optuna.samplers.GridSampler):
    """A grid shared by several processes: each trial takes the first point that nobody took.

    Optuna's sampler draws one of the free points by chance, so that two processes can take the same; it also runs a
    point again that an enqueued trial has already given.
    """

    def before_trial(self, study: optuna.Study, trial: FrozenTrial) -> None:
        if "grid_id" in trial.system_attrs:
            return
        given = trial.system_attrs.get("fixed_params")
        if given is None:
            point = min(self._get_unvisited_grid_ids(study), default=0)
        elif (values := tuple(given.get(name) for name in self._param_names)) in self._all_grids:
            point = self._all_grids.index(values)
        else:
            return
        study._storage.set_trial_system_attr(trial._trial_id, "search_space", self._search_space)
        study._storage.set_trial_system_attr(trial._trial_id, "grid_id", point)

    def after_trial(self, *args: Any) -> None:
        """The total of trials ends the search, not the grid."""


class InsideOnly(BaseSampler):
    """Hides trials outside the search space (such as the no-mixing baseline of a search over n_O) from a sampler.

    One trial without parameters would empty the intersection space of GP, CMA-ES and multivariate TPE.
    """

    def __init__(self, sampler: BaseSampler) -> None:
        self._sampler = sampler

    def infer_relative_search_space(self, study: optuna.Study, trial: FrozenTrial) -> dict[str, BaseDistribution]:
        return self._sampler.infer_relative_search_space(_inside(study), trial)

    def sample_relative(self, study: optuna.Study, trial: FrozenTrial, search_space: dict) -> dict[str, Any]:
        return self._sampler.sample_relative(_inside(study), trial, search_space)

    def sample_independent(self, study: optuna.Study, trial: FrozenTrial, name: str, law: BaseDistribution) -> Any:
        return self._sampler.sample_independent(_inside(study), trial, name, law)

    def before_trial(self, study: optuna.Study, trial: FrozenTrial) -> None:
        self._sampler.before_trial(_inside(study), trial)

    def after_trial(self, study: optuna.Study, trial: FrozenTrial, state: TrialState, values: Any) -> None:
        self._sampler.after_trial(_inside(study), trial, state, values)


def _inside(study: optuna.Study) -> optuna.Study:
    return cast(optuna.Study, _Inside(study))


class _Inside:
    """A study without the trials that lie outside its search space."""

    def __init__(self, study: optuna.Study) -> None:
        self._study = study

    def __getattr__(self, name: str) -> Any:
        return getattr(self._study, name)

    def get_trials(self, *args: Any, **kwargs: Any) -> list[FrozenTrial]:
        return [trial for trial in self._study.get_trials(*args, **kwargs) if not trial.user_attrs.get(OUTSIDE)]

    def _get_trials(self, *args: Any, **kwargs: Any) -> list[FrozenTrial]:
        return [trial for trial in self._study._get_trials(*args, **kwargs) if not trial.user_attrs.get(OUTSIDE)]
