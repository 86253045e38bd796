"""Which run a configuration is: its signature, its seeds, its names. Imports no torch."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

SCHEMA = 2
"""The version of everything a run leaves on disk and of what its configuration means. Raised when either changes: runs
of another schema are named as such and left alone."""

SCIENCE = ("task", "dataset", "model", "protocol", "trainer", "optimizer", "schedule", "loss", "mixer")
"""The sections that decide a run's numbers. `objective` is none: it chooses what a search reports, and no weight."""
NOT_SCIENCE = {
    "dataset": ("path",),
    "trainer": ("device", "checkpoint"),
    "protocol": ("name",),
}
"""Keys of those sections that decide no number."""
ARRAYS = (".npz", ".npy", ".json", ".gz", ".arrow")
"""Endings of the files that a folder of data is made of."""
UNLESS_NONE = ("label_smoothing", "vary")
"""Keys that decide numbers where they are set."""
LATER = {"label_weights": "mean", "partners": "any", "stop_epoch": None, "anneal": "none"}
"""Options that mixers got later, with the value under which a run is what it was before: there they are left out, and
finished runs are found; so is `neighbourhood` without partners."""
MASKED = ("mult", "lf_dnn", "tfn")
"""Models that compute no padding where the protocol masks it."""
KERNELS = ("kernel_text", "kernel_audio", "kernel_vision")
DEFAULT_SEED = 1111
UNTIL_DECIDED = "until_decided"
"""`seeds=until_decided`: a comparison adds seeds until it is decided (command/sweeping.py)."""


def science(config: Mapping[str, Any]) -> dict[str, Any]:
    """What of a composed configuration decides the numbers; seeds are counted apart, devices do not matter."""
    chosen: dict[str, Any] = {
        section: {k: v for k, v in config[section].items() if k not in NOT_SCIENCE.get(section, ())}
        if isinstance(config.get(section), Mapping)
        else config.get(section)
        for section in SCIENCE
    }
    if chosen["dataset"].get("modalities") is None:  # an option that datasets got later
        chosen["dataset"].pop("modalities", None)
    chosen["dataset"]["source"] = source(config["dataset"])
    chosen |= {key: config[key] for key in UNLESS_NONE if config.get(key)}
    mixer = chosen["mixer"]
    if mixer["name"] == "none":
        chosen["mixer"] = {"name": "none"}
    elif mixer.get("partners", "any") == "any":
        chosen["mixer"] = {key: value for key, value in mixer.items() if key != "neighbourhood"}
    chosen["mixer"] = {k: v for k, v in chosen["mixer"].items() if k not in LATER or v != LATER[k]}
    return chosen | ({"packed": True} if is_packed(chosen["model"], chosen["protocol"]) else {})


def is_packed(model: Mapping[str, Any], protocol: Mapping[str, Any]) -> bool:
    """Whether a model may compute steps in other places than it did when SCHEMA 2 began (models/packing.py).

    Such a run draws other dropout masks than one of before, by the same law: it is another run, and no old one is
    continued or taken for it. They are those that read text with an encoder, that mask padding, and MulT's with kernels
    of several lengths, whose nearly equal sequences are now one computation.
    """
    text = model.get("text")
    if isinstance(text, Mapping) and text.get("pretrained") is not None:
        return True
    if model.get("name") in MASKED and protocol.get("mask_padding"):
        return True
    return model.get("name") == "mult" and len({model.get(kernel) for kernel in KERNELS}) > 1


def source(dataset: Mapping[str, Any]) -> str | None:
    """What the data came from: the SHA-256 of its file or of a folder's files, so that what moves is the same data."""
    path = dataset.get("path")
    place = Path(path).expanduser() if isinstance(path, str) and path else None
    if place is None or not place.exists():
        return path
    from powmix.data.cache import file_digest

    if place.is_file():
        return file_digest(place)
    files = [file for file in sorted([*place.glob("*"), *place.glob("*/*")]) if file.suffix in ARRAYS]
    told = "\n".join(f"{file.relative_to(place)} {file_digest(file)}" for file in files)
    return hashlib.sha256(told.encode()).hexdigest()


def signature(config: Mapping[str, Any]) -> str:
    """The name of a variant's folder: 12 hexadecimal digits of its science."""
    text = json.dumps({"schema": SCHEMA, **science(config)}, sort_keys=True, default=str)
    return hashlib.sha256(text.encode()).hexdigest()[:12]


def seed_list(seeds: int | Sequence[int]) -> list[int]:
    """`5` means 1111..1115, as in the published protocol; a list is taken as it is."""
    return list(range(DEFAULT_SEED, DEFAULT_SEED + seeds)) if isinstance(seeds, int) else list(seeds)


def variant(config: Mapping[str, Any], choices: Mapping[str, Any]) -> dict[str, Any]:
    """The names a table needs: dataset, model, mixer, ablation, protocol, task. choices: the chosen option by group."""
    ablation = choices.get("ablation")
    return {
        "dataset": config["dataset"]["name"],
        "model": config["model"]["name"],
        "mixer": config["mixer"]["name"],
        "ablation": None if ablation == "full" else ablation,
        "protocol": choices.get("protocol", config["protocol"].get("name")),
        "task": config["task"],
    }


def short_name(names: Mapping[str, Any]) -> str:
    """A variant in one word: `mosi/mult/powmix`, the ablation behind it where there is one."""
    return "/".join(str(names[key]) for key in ("dataset", "model", "mixer", "ablation") if names[key])


LONGEST_TAG = 64
"""Characters of a tag that W&B takes."""


def sweep_tag(name: str) -> str:
    """The tag that a tracker's run carries for a sweep: its name, of a long one the beginning and a hash."""
    if len(name) <= LONGEST_TAG:
        return name
    return f"{name[: LONGEST_TAG - 9]}~{hashlib.sha256(name.encode()).hexdigest()[:8]}"
