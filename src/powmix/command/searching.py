"""powmix as an application that is searched: its objective, its command, its jobs' link to their trials, no mixing."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml
from hydra.core.plugins import Plugins

from powmix.command.composition import plain
from powmix.command.sweeping import as_text
from powmix.report.labels import flatten
from powmix.search.application import Application, flags
from powmix.search.sweeper import StudySweeper


class Powmix(Application):
    """The objective is a metric's name, jobs read the section `trial`, and every search is compared with not mixing."""

    baseline = "not mixing"

    def direction(self, config: Any) -> str:
        from powmix.metrics.columns import direction

        return direction(plain(config)["objective"])

    def metric(self, config: Any) -> str:
        from powmix.metrics.columns import metric

        return f"validation {metric(plain(config)['objective']).label}"

    def command(self) -> list[str]:
        return ["powmix", *flags()]

    def single(self, overrides: list[str], config: Any) -> list[str]:
        """`sweeps=NAME`, which only a multirun takes, becomes what the preset sets for every run."""
        from powmix.search.space import key_of, over  # imports Optuna: only in a search

        own = [text for text in overrides if key_of(text) != "sweeps"]
        if len(own) == len(overrides):
            return own
        folders = [Path(source.path) for source in config.hydra.runtime.config_sources if source.schema == "file"]
        return over(list(_told_by(config.hydra.runtime.choices["sweeps"], folders)), own)

    def link(self, study: str, storage: str, trial_id: int, number: int) -> list[str]:
        return [f"++trial={{study:{study},storage:{storage},id:{trial_id},number:{number}}}"]


def _told_by(preset: str, folders: list[Path]) -> Iterator[str]:
    """What a preset in sweeps/ says of every run, as overrides: groups that it chooses, options that it sets."""
    path = next(file for folder in folders if (file := folder / "sweeps" / f"{preset}.yaml").is_file())
    told = yaml.safe_load(path.read_text(encoding="utf-8"))
    for entry in told.pop("defaults", ()):
        if isinstance(entry, str):
            if entry != "_self_":
                yield from _told_by(entry.rpartition("/")[2], folders)
        else:
            for group, choice in entry.items():
                group = group.removeprefix("override ").strip("/")
                if not group.startswith("hydra"):
                    yield f"{group}={choice}"
    told.pop("hydra", None)
    yield from (f"{key}={as_text(value)}" for key, value in flatten(told))


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
