"""Where the configuration lives and what is derived from it: signature, sweep name, variant. Imports no torch."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

SCHEMA = 1
"""Raised when the same configuration starts to mean another computation: old runs are then not reused."""

PACKAGE = Path(__file__).resolve().parents[1]
CONF = next(path for path in (PACKAGE / "conf", PACKAGE.parents[1] / "conf") if path.is_dir())
"""The configuration tree: inside the installed package, or beside src/ in a clone."""

SCIENCE = ("task", "dataset", "model", "protocol", "trainer", "optimizer", "schedule", "loss", "mixer", "objective")
NOT_SCIENCE = {
    "dataset": ("path", "cache"),
    "trainer": ("device", "checkpoint", "stack"),
    "protocol": ("name",),
}
DEFAULT_SEED = 1111


def science(config: Mapping[str, Any]) -> dict[str, Any]:
    """What of a composed configuration decides the numbers; seeds are counted apart, devices do not matter."""
    chosen = {
        section: {k: v for k, v in config[section].items() if k not in NOT_SCIENCE.get(section, ())}
        if isinstance(config.get(section), Mapping)
        else config.get(section)
        for section in SCIENCE
    }
    chosen["dataset"]["source"] = source(config["dataset"])
    if chosen["mixer"]["name"] == "none":
        chosen["mixer"] = {"name": "none"}
    return chosen


def source(dataset: Mapping[str, Any]) -> str | None:
    """What the data came from: the SHA-256 of its file, so that a moved file is still the same data."""
    path = dataset.get("path")
    if not path or not Path(path).expanduser().is_file():
        return path
    from powmix.data.cache import file_digest

    return file_digest(Path(path).expanduser())


def signature(config: Mapping[str, Any]) -> str:
    """The name of a variant's folder: 12 hexadecimal digits of its science."""
    text = json.dumps({"schema": SCHEMA, **science(config)}, sort_keys=True, default=str)
    return hashlib.sha256(text.encode()).hexdigest()[:12]


def seed_list(seeds: int | Sequence[int]) -> list[int]:
    """`5` means 1111..1115, as in the published protocol; a list is taken as it is."""
    return list(range(DEFAULT_SEED, DEFAULT_SEED + seeds)) if isinstance(seeds, int) else list(seeds)


def sweep_name(overrides: Sequence[str]) -> str:
    """The folder of a multirun: the sweep's own name, and where overrides change it, their values and a short hash.

    The same command gives the same name, so it continues its own work.
    """
    named = next((o.split("=", 1)[1] for o in overrides if o.startswith("sweeps=")), None)
    rest = sorted(
        o
        for o in overrides
        if "=" in o and not o.startswith(("sweeps=", "hydra", "tracker", "outputs=", "trainer.device="))
    )
    if named and not rest:
        return named
    values = "-".join(re.sub(r"[^\w.]+", "_", Path(o.split("=", 1)[1]).name) for o in rest)[:48].strip("_-")
    digest = hashlib.sha256("\n".join(rest).encode()).hexdigest()[:6]
    return "-".join(part for part in (named, values, digest) if part)


def variant(config: Mapping[str, Any], choices: Mapping[str, Any]) -> dict[str, Any]:
    """The names a table needs: dataset, model, mixer, ablation, protocol, task."""
    ablation = choices.get("ablation")
    return {
        "dataset": config["dataset"]["name"],
        "model": config["model"]["name"],
        "mixer": config["mixer"]["name"],
        "ablation": None if ablation == "full" else ablation,
        "protocol": choices.get("protocol", config["protocol"].get("name")),
        "task": config["task"],
    }


def register_resolvers() -> None:
    """`${signature:}` for conf/config.yaml."""
    from omegaconf import OmegaConf

    def of_root(_root_: Any) -> str:
        sections = OmegaConf.masked_copy(_root_, [key for key in _root_ if key != "hydra"])
        return signature(OmegaConf.to_container(sections, resolve=True))

    OmegaConf.register_resolver("signature", of_root, replace=True)
