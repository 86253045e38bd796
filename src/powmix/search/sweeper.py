"""The plugin behind `hydra/sweeper=optuna_study`; Hydra imports it at every start, so it imports nothing heavy."""

from typing import Any

from hydra.plugins.sweeper import Sweeper
from hydra.types import HydraContext, TaskFunction
from omegaconf import DictConfig

from powmix.search.config import register

register()


class StudySweeper(Sweeper):
    """Runs one Optuna study with any number of processes, launches and machines; docs/search.md says how."""

    def __init__(self, **options: Any) -> None:
        from powmix.search.study import StudySweep

        self._sweep = StudySweep(**options)

    def setup(self, *, hydra_context: HydraContext, task_function: TaskFunction, config: DictConfig) -> None:
        self._sweep.setup(hydra_context=hydra_context, task_function=task_function, config=config)

    def sweep(self, arguments: list[str]) -> None:
        self._sweep.sweep(arguments)
