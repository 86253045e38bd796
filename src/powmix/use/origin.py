"""Where trained weights lie, and how their model was configured: a run's folder, or one that `powmix-export` wrote."""

from __future__ import annotations

import warnings
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

from powmix import models, plugins
from powmix.data import load as load_data
from powmix.data.encoders import TINY
from powmix.data.registry import DATASETS
from powmix.metrics.columns import direction
from powmix.mistakes import is_count, nearest
from powmix.models.registry import MODELS
from powmix.runs.files import SeedFolder, read_json
from powmix.runs.identity import DEFAULT_SEED, SCHEMA
from powmix.runs.records import Record, read_record
from powmix.runs.seed_records import check_weights
from powmix.training.checkpoint import notes_of
from powmix.training.preparation import Preparation

ENSEMBLE: Literal["ensemble"] = "ensemble"
"""`seed=ensemble`: all seeds of a run, whose predictions are averaged."""
CONFIG, WEIGHTS, KIND, ENCODER = "config.json", "model.safetensors", "powmix", "text_encoder"
"""An exported folder: its files, and what its configuration says that it is of."""

Seed = int | Literal["ensemble"] | None


@dataclass(frozen=True)
class Origin:
    """One seed's weights and what they belong to.

    config: the run's, composed. plugins: the SHA-256 of the sources it was trained with, by name. digest: SHA-256 of
    its data.
    """

    folder: Path
    name: str
    seed: int
    weights: Path
    config: Mapping[str, Any]
    plugins: Mapping[str, str]
    digest: str | None

    @property
    def model_options(self) -> dict[str, Any]:
        return {key: value for key, value in self.config["model"].items() if key != "name"}


def origins(folder: Path | str, seed: Seed = None) -> list[Origin]:
    """What is to be loaded of a folder: one seed, or under `ensemble` all.

    seed: None is, of several, the one that is best on validation. ValueError for what is no trained run, and for a seed
    that it does not have, before any weights are read.
    """
    place = Path(folder).expanduser()
    if (read_json(place / CONFIG) or {}).get("model_type") == KIND:
        return _exported(place, seed)
    if not place.is_dir():
        hint = nearest(place.name, [one.name for one in place.parent.iterdir()]) if place.parent.is_dir() else ""
        raise ValueError(f"no folder {str(folder)!r}{hint}")
    try:
        record = read_record(place)
    except ValueError as error:
        raise ValueError(f"{place}: {error}") from error
    if not record.seeds or not record.config:
        raise ValueError(f"{place}: {'no seed has finished' if record.config else 'config.yaml is missing'}")
    return [_of_run(record, number) for number in _chosen(place, seed, record)]


def load_plugins(origin: Origin, named: Iterable[str] = (), reads_data: bool = False) -> list[plugins.Plugin]:
    """Loads the plugins that are named and, where the model is not known by then, those that the run was trained with.

    reads_data: also where its dataset is not known, and reads a file. Gives those that the process did not have yet.
    """
    config, before = origin.config, set(plugins.loaded())
    plugins.load_of_run(origin.folder, (), origin.plugins, named)
    unknown_data = reads_data and config["dataset"]["name"] not in DATASETS and "path" in config["dataset"]
    if config["model"]["name"] not in MODELS or unknown_data:
        plugins.load_of_run(origin.folder, config.get("plugins") or (), origin.plugins)
    return [plugin for plugin in plugins.loaded() if plugin not in before]


def preparation_of(origin: Origin) -> Preparation:
    """What the weights were trained on. Where they do not say it, an earlier version's, their dataset is asked.

    ValueError where that is gone, or has other data now.
    """
    noted = notes_of(origin.weights).get("data")
    found = Preparation.from_notes(noted) if noted else _from_dataset(origin)
    return replace(found, encoder=_encoder(origin, found))


def _encoder(origin: Origin, prepared: Preparation) -> str | None:
    """By which raw text is read: the encoder that travelled with the weights, else the run's, else the model's own."""
    if (origin.folder / ENCODER).is_dir():
        return str(origin.folder / ENCODER)
    text = origin.config["model"].get("text")
    own = text.get("pretrained") if isinstance(text, Mapping) and prepared.inputs.vocabulary else None
    return prepared.encoder or (None if own == TINY else own)


def _from_dataset(origin: Origin) -> Preparation:
    config = origin.config
    needs = models.needs(config["model"]["name"], origin.model_options)
    asked = config["dataset"], needs, config["task"]
    warnings.warn(
        f"{origin.weights} does not say how its data were prepared, as an earlier version wrote it: its dataset "
        f"{config['dataset']['name']} is read for that",
        stacklevel=2,
    )
    first, own = load_data(*asked, DEFAULT_SEED), load_data(*asked, origin.seed)
    if origin.digest not in (None, first.digest):
        raise ValueError(f"{origin.folder}: its dataset {config['dataset']['name']} has other data now")
    return Preparation.of(models.inputs_of(first), own)


def _exported(folder: Path, seed: Seed) -> list[Origin]:
    told = read_json(folder / CONFIG) or {}
    if told.get("schema") != SCHEMA:
        raise ValueError(f"{folder}: exported by another version of powmix (schema {told.get('schema')!r})")
    if seed not in (None, told["seed"]):
        raise ValueError(f"{folder}: it holds seed {told['seed']} alone, got seed={seed!r}")
    config = dict(told["config"])
    text = config["model"].get("text")
    if isinstance(text, Mapping) and text.get("pretrained") and (folder / text["pretrained"]).is_dir():
        config["model"] = {**config["model"], "text": {**text, "pretrained": str(folder / text["pretrained"])}}
    return [Origin(folder, told["name"], told["seed"], folder / WEIGHTS, config, told["plugins"], None)]


def _of_run(record: Record, seed: int) -> Origin:
    folder = SeedFolder(next(one.folder for one in record.seeds if one.seed == seed))
    check_weights(folder)
    provenance = record.provenance
    digest = provenance.get("dataset", {}).get("digest")
    sources = provenance.get("plugins", {})
    return Origin(record.folder, record.name, seed, folder.weights, record.config, sources, digest)


def _chosen(folder: Path, seed: Seed, record: Record) -> list[int]:
    there = [one.seed for one in record.seeds]
    if seed == ENSEMBLE:
        return there
    if seed is None:
        found = record.values(record.objective_metric, "validation")
        best = max if direction(record.objective_metric) == "maximize" else min
        return [best(found, key=found.__getitem__) if found else there[0]]
    if not is_count(seed) or seed not in there:
        raise ValueError(f"{folder}: no finished seed {seed!r}; it has {', '.join(map(str, there))}, and {ENSEMBLE}")
    return [seed]
