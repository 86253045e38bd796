"""powmix as an application that is searched: its objective, its command, its jobs' link to their trials, no mixing."""

from typing import Any

from hydra.core.plugins import Plugins

from powmix.command.composition import plain
from powmix.search.application import Application
from powmix.search.sweeper import StudySweeper


class Powmix(Application):
    """The objective is a metric's name, jobs read the section `trial`, and every search is compared with not mixing."""

    baseline = "not mixing"

    def direction(self, config: Any) -> str:
        from powmix.metrics.columns import direction

        return direction(plain(config)["objective"])

    def command(self) -> list[str]:
        return ["powmix"]

    def link(self, study: str, storage: str, trial_id: int, number: int) -> list[str]:
        return [f"++trial={{study:{study},storage:{storage},id:{trial_id},number:{number}}}"]


class PowmixSweeper(StudySweeper):
    """`hydra/sweeper=optuna_study` in powmix (conf/hydra/sweeper/optuna_study.yaml).

    powmix says errors and exit codes itself, for comparisons as for searches.
    """

    application = Powmix()

    def sweep(self, arguments: list[str]) -> None:
        self.search.sweep(arguments)


def register() -> None:
    """Make the class known to Hydra, which starts no sweeper that it does not know."""
    Plugins.instance().register(PowmixSweeper)
