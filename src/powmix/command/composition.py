"""How a command's choices become one configuration, and what a sweep is called. No torch."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Sequence
from typing import Any, cast

from omegaconf import OmegaConf

from powmix.data.registry import convention_of, mistakes, task_of
from powmix.metrics.columns import TASKS, objective_of
from powmix.runs.identity import signature

OURS = ("sweep=", "++trial")
"""How overrides begin that powmix adds to a user's."""
_SWEEP = re.compile(r"(choice|range|interval|glob|tag|shuffle|sort)\(")
_HELD = re.compile(r"\[[^]]*]|{[^}]*}|\([^)]*\)|'[^']*'|\"[^\"]*\"")
"""What holds commas that separate no values of a sweep."""


def register_resolvers() -> None:
    """`${signature:}` for conf/config.yaml."""

    def of_root(_root_: Any) -> str:
        return signature(plain(_root_))

    OmegaConf.register_resolver("signature", of_root, replace=True)


def plain(config: Any) -> dict[str, Any]:
    """A composed configuration as plain resolved values, without Hydra's own section; `auto` is settled."""
    ours = OmegaConf.masked_copy(config, [key for key in config if key != "hydra"])
    return settled(cast(dict[str, Any], OmegaConf.to_container(ours, resolve=True)))


def settled(config: dict[str, Any]) -> dict[str, Any]:
    """`task: auto` becomes what the dataset's target is, `objective: auto` the task's usual metric.

    Both stay `auto` where the dataset is wrong. Of a user's own that does not say its task, the data are read for it.
    """
    dataset = config.get("dataset")
    if config.get("task") == "auto" and isinstance(dataset, dict) and not mistakes(dataset):
        config["task"] = task_of(dataset) or _task_of_data(dataset)
    if config.get("objective") == "auto" and isinstance(dataset, dict) and config.get("task") in TASKS:
        config["objective"] = objective_of(convention_of(str(dataset.get("name")), config["task"]))
    return config


def _task_of_data(dataset: dict[str, Any]) -> str:
    from powmix.data import load

    return load(dataset, ("*",)).task


def task_overrides(hydra_config: Any) -> list[str]:
    """The overrides that the user chose."""
    return [text for text in hydra_config.overrides.task if not text.startswith(OURS)]


def sweep_name(overrides: Sequence[str]) -> str:
    """The folder of a multirun: the preset's name, and where overrides change it, what they are about and a short hash.

    About: the dataset, the model and the swept keys (`mosi-mult-p_mix-4f1c09`). The same command gives the same name,
    so it continues its own work.
    """
    named = next((o.split("=", 1)[1] for o in overrides if o.startswith("sweeps=")), None)
    rest = sorted(
        o
        for o in overrides
        if "=" in o
        and not o.startswith(("sweeps=", "hydra", "tracker", "outputs=", "plugins=", "trainer.device=", "workers="))
    )
    if named and not rest:
        return named
    told = dict(o.lstrip("+").split("=", 1) for o in rest)
    swept = [key for key, value in told.items() if _SWEEP.match(value) or "," in _HELD.sub("", value)]
    chosen = [told[key] for key in ("dataset", "model") if key in told and key not in swept]
    about = [named or "", *chosen, *(key.rpartition(".")[2] for key in swept)]
    digest = hashlib.sha256("\n".join(rest).encode()).hexdigest()[:6]
    words = "-".join(re.sub(r"\W+", "_", word) for word in about if word)[:32].strip("_-")
    return f"{words}-{digest}" if words else digest
