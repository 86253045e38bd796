"""One composed configuration -> data, model, mixer -> the seeds -> one result."""

from __future__ import annotations

import logging
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
import yaml

from powmix import mixing, models
from powmix.data import Splits, load
from powmix.metrics.values import DIRECTIONS
from powmix.runs.files import replacing, write_json
from powmix.runs.provenance import alone_in, command, provenance, spread, watched
from powmix.tracking import Listener, ProgressBars, QuietLines, WandbListener, listening
from powmix.training import Pruned, Settings, finished, resolve_device, train_seeds

log = logging.getLogger("powmix")

RECIPES_PATIENCE = 80
"""Optimiser steps in eight epochs of MulT's recipe on MOSI, and about as many of the others'."""
PATIENT = 50


def run(config: Mapping[str, Any], identity: Mapping[str, Any], folder: Path, extra: Sequence[Listener] = ()) -> dict:
    """Train every seed of a variant that is not yet trained, and write its result.json.

    config: the composed configuration, plain, with `seeds` a list. identity: `signature`, `variant`, `name`,
    `overrides`, `sweep`. Whatever stops it is raised again, after what was finished has been written down.
    """
    result = {
        "schema": 1,
        "status": "running",
        "error": None,
        **identity,
        "command": command(identity["overrides"]),
        "objective": None,
        "objective_metric": config["objective"],
        "direction": DIRECTIONS[config["objective"]],
        "seeds": [],
    }
    with alone_in(folder):
        with replacing(folder / "config.yaml") as path:
            path.write_text(yaml.safe_dump(dict(config), sort_keys=False), encoding="utf-8")
        try:
            _run_seeds(config, result, folder, extra)
            result["status"] = "finished"
        except BaseException as error:
            result["status"] = "pruned" if isinstance(error, Pruned) else "failed"
            result["error"] = f"{type(error).__name__}: {error}"
            raise
        finally:
            _summarise(result)
            write_json(folder / "result.json", result)
    return result


def _run_seeds(config: Mapping[str, Any], result: dict[str, Any], folder: Path, extra: Sequence[Listener]) -> None:
    """Train the seeds; `result` gets the records of those that were finished, whatever stops the others."""
    sections = ("trainer", "optimizer", "schedule", "loss", "task", "protocol", "objective")
    settings = Settings.from_config(**{name: config[name] for name in sections})
    device = resolve_device(settings.device)
    torch.set_num_threads(config["threads"])
    splits = load(config["dataset"], models.needs(config["model"]["name"]), config["task"])
    _warn_of_few_steps(settings, len(splits.train))
    result["provenance"] = provenance(str(device), _facts(splits))
    inputs, splits = models.inputs_of(splits), splits.to(device)
    mixer = mixing.build(config["mixer"]["name"], _options(config["mixer"]))

    def build() -> models.FusionModel:
        return models.build(config["model"]["name"], _options(config["model"]), inputs, config["protocol"])

    def place(seed: int) -> Path:
        return folder / f"seed_{seed}"

    with listening([*extra, *_listeners(config, result, folder)]) as listener:
        try:
            result["seeds"] = train_seeds(build, splits, mixer, settings, config["seeds"], place, listener)
        except BaseException:
            records = (finished(place(seed), seed) for seed in config["seeds"])
            result["seeds"] = [record for record in records if record]
            raise


def _warn_of_few_steps(settings: Settings, examples: int) -> None:
    """Patience counts epochs; where an epoch is a few optimiser steps, a model is given up before it has learnt."""
    steps = settings.steps_per_epoch(examples)
    if settings.early_stop >= settings.max_epochs or steps * settings.early_stop >= PATIENT:
        return
    if settings.accumulate > 1:
        advice = f"trainer.accumulate=1 would make {math.ceil(examples / settings.batch_size)} steps an epoch"
    else:
        epochs = math.ceil(RECIPES_PATIENCE / steps)
        advice = f"trainer.early_stop={epochs} would wait as long as the recipe does on MOSI"
    log.warning(
        "%d training examples make %d optimiser step%s an epoch: trainer.early_stop=%d gives up after %d of them; %s",
        *(examples, steps, "" if steps == 1 else "s", settings.early_stop, steps * settings.early_stop, advice),
    )


def _listeners(config: Mapping[str, Any], result: Mapping[str, Any], folder: Path) -> list[Listener]:
    """The terminal, and W&B where it is asked for."""
    terminal = (ProgressBars if watched() else QuietLines)(result["name"], config["objective"])
    if config["tracker"]["name"] != "wandb":
        return [terminal]
    return [terminal, WandbListener(config["tracker"], folder, config, result)]


def _summarise(result: dict[str, Any]) -> None:
    """Over the finished seeds: mean, std, interval, and the objective, which is a validation mean."""
    if result["seeds"]:
        result |= spread(result["seeds"])
        result["objective"] = result["mean"]["validation"][result["objective_metric"]]


def _facts(splits: Splits) -> dict[str, Any]:
    sizes = [len(split) for split in (splits.train, splits.valid, splits.test)]
    return {"name": splits.name, "digest": splits.digest, "sizes": sizes, **splits.notes}


def _options(section: Mapping[str, Any]) -> dict[str, Any]:
    """A section of the configuration less its name: keyword arguments."""
    return {key: value for key, value in section.items() if key != "name"}
