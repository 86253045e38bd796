"""The plugin behind `hydra/sweeper=optuna_study`; Hydra imports it at every start, so it imports nothing heavy."""

import sys
from typing import Any, ClassVar

from hydra.errors import CompactHydraException
from hydra.plugins.sweeper import Sweeper
from hydra.types import HydraContext, TaskFunction
from omegaconf import DictConfig

from powmix.command.exits import INTERRUPTED, SOME_FAILED
from powmix.search.application import Application
from powmix.search.config import register

register()


class StudySweeper(Sweeper):
    """Runs one Optuna study with any number of processes, launches and machines; docs/search.md says how."""

    application: ClassVar[Application] = Application()

    def __init__(self, **options: Any) -> None:
        from powmix.search.study import StudySweep

        self.search = StudySweep(self.application, **options)

    def setup(self, *, hydra_context: HydraContext, task_function: TaskFunction, config: DictConfig) -> None:
        self.search.setup(hydra_context=hydra_context, task_function=task_function, config=config)

    def sweep(self, arguments: list[str]) -> None:
        """Run the search, with powmix's exit codes: 3 when trials have no value, 75 when it was interrupted.

        A user's mistake is said without a traceback.
        """
        try:
            self.search.sweep(arguments)
        except ValueError as error:
            raise CompactHydraException(str(error)) from error
        except KeyboardInterrupt:
            sys.exit(INTERRUPTED)
        if self.search.failed:
            sys.exit(SOME_FAILED)
