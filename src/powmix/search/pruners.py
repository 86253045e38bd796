"""Pruners by name, and the kind of step each one compares: epochs, or seeds."""

import warnings
from collections.abc import Mapping
from typing import Any

from optuna.exceptions import ExperimentalWarning
from optuna.pruners import BasePruner, HyperbandPruner, MedianPruner, NopPruner, WilcoxonPruner

from powmix.search.space import check_known

PRUNERS = {"none": NopPruner, "median": MedianPruner, "hyperband": HyperbandPruner, "wilcoxon": WilcoxonPruner}


def build_pruner(options: Mapping[str, Any]) -> BasePruner:
    """The pruner that `options["name"]` names, with the other options as its arguments."""
    check_known("pruner", options["name"], list(PRUNERS))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ExperimentalWarning)
        return PRUNERS[options["name"]](**{key: value for key, value in options.items() if key != "name"})


def compares_seeds(options: Mapping[str, Any]) -> bool:
    """True for the signed-rank test over seeds, which takes a step for an instance, not for a resource."""
    return options["name"] == "wilcoxon"
