"""Samplers and pruners by name.

A sampler is built anew for each trial, so that what it draws follows from the study and the trial's number alone.
"""

import hashlib
import itertools
import warnings
from collections.abc import Mapping
from decimal import Decimal
from typing import Any

import optuna
from hydra.utils import instantiate
from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution, IntDistribution
from optuna.exceptions import ExperimentalWarning
from optuna.pruners import BasePruner, HyperbandPruner, MedianPruner, NopPruner, WilcoxonPruner
from optuna.samplers import BaseSampler

from powmix.mistakes import check_one_of

PRUNERS = {"none": NopPruner, "median": MedianPruner, "hyperband": HyperbandPruner, "wilcoxon": WilcoxonPruner}
_WHITELIST = ("hydra_plugins.hydra_optuna_sweeper.*", "optuna.samplers.*", "powmix.search.*")


def build_sampler(options: Mapping[str, Any], number: int, seed: int, first: int, n_trials: int) -> BaseSampler:
    """The sampler of trial `number`; `first` is the number after the warm start, `n_trials` the total.

    The seed is a function of the study's seed and the number: a continued study does not repeat its start-up draws,
    and two processes on one study do not draw the same.
    """
    name = str(options["_target_"]).rpartition(".")[2]
    # QMC takes the next point of one sequence by the trial's number: the seed is that of the sequence.
    chosen = {**options, "seed": seed if is_qmc(options) else derive_seed(seed, number)}
    if name == "TPESampler":
        chosen["constant_liar"] = True  # trials that other processes run are kept apart from this one
    if name == "StagedSampler":
        chosen |= {"first": first, "n_trials": n_trials}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ExperimentalWarning)
        return instantiate(chosen, _execution_whitelist_=_WHITELIST)


def fixed_sampler(params: Mapping[str, Any]) -> BaseSampler:
    """A sampler that gives these values."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ExperimentalWarning)
        return optuna.samplers.PartialFixedSampler(dict(params), optuna.samplers.RandomSampler())


def derive_seed(seed: int, number: int) -> int:
    """A seed for trial `number` of a study with this `seed`."""
    return int.from_bytes(hashlib.sha256(f"{seed}:{number}".encode()).digest()[:4], "big")


def is_grid(options: Mapping[str, Any]) -> bool:
    return str(options["_target_"]).endswith(".GridSampler")


def is_qmc(options: Mapping[str, Any]) -> bool:
    return str(options["_target_"]).endswith(".QMCSampler")


def grid_points(space: Mapping[str, BaseDistribution]) -> list[dict[str, Any]]:
    """Every combination of the listed values; ValueError for a parameter that is continuous."""
    values = [_values(name, law) for name, law in space.items()]
    return [dict(zip(space, point)) for point in itertools.product(*values)]


def build_pruner(options: Mapping[str, Any]) -> BasePruner:
    """The pruner that `options["name"]` names, with the other options as its arguments."""
    check_one_of("hydra/sweeper/pruner", options["name"], PRUNERS)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ExperimentalWarning)
        return PRUNERS[options["name"]](**{key: value for key, value in options.items() if key != "name"})


def compares_seeds(options: Mapping[str, Any]) -> bool:
    """True for the signed-rank test over seeds, whose steps are seeds; the other pruners' steps are epochs."""
    return options["name"] == "wilcoxon"


def _values(name: str, law: BaseDistribution) -> list[Any]:
    if isinstance(law, CategoricalDistribution):
        return list(law.choices)
    if isinstance(law, IntDistribution):
        return list(range(law.low, law.high + 1, law.step))
    assert isinstance(law, FloatDistribution)
    if law.step is None:
        raise ValueError(f"a grid needs discrete values, but {name} is continuous: use choice(...) or range(...)")
    low, step = Decimal(str(law.low)), Decimal(str(law.step))  # 0.3, not 0.30000000000000004
    return [float(low + step * i) for i in range(round((law.high - law.low) / law.step) + 1)]
