"""One composed configuration -> data, model, mixer, settings -> the seeds -> one result."""

from __future__ import annotations

import logging
import math
import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch

from powmix import mixing, models, plugins
from powmix.data import Splits, load
from powmix.metrics.columns import direction, evaluate, objective_of
from powmix.metrics.registry import described
from powmix.metrics.statistics import spread
from powmix.metrics.values import UndefinedMetric
from powmix.runs.files import alone_in, read_json
from powmix.runs.identity import DEFAULT_SEED
from powmix.runs.provenance import command, provenance
from powmix.runs.records import refuse_other_schema, sweeps_of, write_config, write_variant
from powmix.runs.seed_records import all_seeds, finished_seed
from powmix.tracking import Listener, chosen, listening
from powmix.training import Pruned, Settings, pool, resolve_device, train, train_seeds

log = logging.getLogger("powmix")

RECIPES_PATIENCE = 80
"""Optimiser steps in eight epochs of MulT's recipe on MOSI, and about as many of the others'."""
PATIENT = 50
SETTINGS = ("trainer", "optimizer", "schedule", "loss", "label_smoothing", "task", "protocol", "objective", "vary")


@dataclass(frozen=True)
class Parts:
    """What a configuration stands for.

    splits_of: a seed's dataset, on the device that trains; the same for all seeds unless each draws its own split.
    build: a freshly initialised model.
    """

    splits_of: Callable[[int], Splits]
    build: Callable[[], models.FusionModel]
    mixer: mixing.Mixer
    settings: Settings

    @property
    def splits(self) -> Splits:
        """The default seed's dataset."""
        return self.splits_of(DEFAULT_SEED)


def parts(config: Mapping[str, Any], splits: Splits | None = None) -> Parts:
    """Assembles data, model, mixer and settings of a composed configuration (plain values), without training.

    splits: the data, where they are at hand already. ValueError for what is wrong with an option or a file.
    """
    mixer = mixing.build(config["mixer"]["name"], _options(config["mixer"]))
    name, options = config["model"]["name"], _options(config["model"])

    moved: list[Splits] = []

    def splits_of(seed: int) -> Splits:
        if config.get("vary") and "split" not in config["vary"]:
            seed = DEFAULT_SEED
        found = splits or load(config["dataset"], models.needs(name, options), config["task"], seed)
        if not moved or moved[0] is not found:
            moved[:] = [found, found.to(device)]
        return moved[1]

    device = resolve_device(config["trainer"].get("device", "auto"))
    first = splits_of(DEFAULT_SEED)
    told = {**config, "task": first.task}
    if config.get("objective") == "auto":
        told["objective"] = objective_of(first.convention)
    settings = Settings.from_config(**{key: told[key] for key in SETTINGS if key in config})
    inputs = models.inputs_of(first)

    def build() -> models.FusionModel:
        return models.build(name, options, inputs, config["protocol"])

    return Parts(splits_of, build, mixer, settings)


def run(config: Mapping[str, Any], identity: Mapping[str, Any], folder: Path, extra: Sequence[Listener] = ()) -> dict:
    """Train every seed of a variant that is not yet trained, and write its result.json.

    config: the composed configuration, plain, with `seeds` a list. identity: `signature`, `variant`, `name`,
    `overrides`, `sweep`. extra: who listens beside the chosen trackers. The result holds every finished seed of the
    variant, and their mean; its objective is over this command's. Whatever stops it is raised again, after what was
    finished has been written down. ValueError where the folder holds a run of another schema.
    """
    result = {
        "status": "running",
        "error": None,
        **identity,
        "command": command(identity["overrides"]),
        "objective": None,
        "seeds": [],
    }
    refuse_other_schema(folder)
    with alone_in(folder):
        result["sweeps"] = sweeps_of(read_json(folder / "result.json") or {}, identity["sweep"])
        write_config(folder, config)
        try:
            _run_seeds(config, result, folder, extra)
            result["status"] = "finished"
        except KeyboardInterrupt:
            result |= {"status": "interrupted", "error": "stopped; the same command continues it"}
            raise
        except BaseException as error:
            result["status"] = "pruned" if isinstance(error, Pruned) else "failed"
            result["error"] = f"{type(error).__name__}: {error}"
            raise
        finally:
            if result["seeds"]:
                own = spread(result["seeds"])
                result["objective"] = own["mean"]["validation"][result["objective_metric"]]
                result["seeds"] = all_seeds(folder, result["seeds"])
                result |= spread(result["seeds"])
                result["metrics"] = described(result["mean"]["test"])
            write_variant(folder, result)
    return result


def _run_seeds(config: Mapping[str, Any], result: dict[str, Any], folder: Path, extra: Sequence[Listener]) -> None:
    """Train the seeds; `result` gets the records of those that were finished, whatever stops the others."""
    torch.set_num_threads(config["threads"])
    made = parts(config)
    _warn_of_few_steps(made.settings, len(made.splits.train))
    result["objective_metric"] = made.settings.objective
    result["direction"] = direction(made.settings.objective)
    result["variant"] = {**result["variant"], "task": made.splits.task}
    result["provenance"] = provenance(str(made.splits.train.target.device), _facts(made.splits), plugins.sources())
    plugins.warn_of_change((read_json(folder / "result.json") or {}).get("provenance", {}).get("plugins", {}))

    workers = 1 if extra else _workers(config, made.settings)
    if made.settings.checkpoint == "auto" and config["tracker"]:
        # So that no tracker is told of an epoch twice. A search's study passes over what it has heard.
        made = replace(made, settings=replace(made.settings, checkpoint=True))
    with listening([*extra, *chosen(config, result, folder)]) as listener:
        try:
            result["seeds"] = _train_seeds(config, made, folder, listener, workers)
            reached = spread(result["seeds"])["mean"]["test"][made.settings.objective]
            if note := worse_than_a_constant(made.splits, made.settings.task, made.settings.objective, reached):
                result["note"] = note
        except BaseException:
            result["seeds"] = list(_finished(config, folder).values())
            raise


def _train_seeds(
    config: Mapping[str, Any], made: Parts, folder: Path, listener: Listener, workers: int
) -> list[dict[str, Any]]:
    """The records of all seeds; those that are not finished are trained in turn, or in so many worker processes.

    `workers=auto` begins with the first of them here; if that takes longer than a worker's start, it goes on in one.
    """
    seeds, place = config["seeds"], partial(_place, folder)
    in_turn = partial(train_seeds, made.build, made.splits_of, made.mixer, made.settings, seeds, place, listener)
    if workers == 1:
        return in_turn()
    done = _finished(config, folder)
    left = [seed for seed in seeds if seed not in done]
    if len(left) < 2:
        return in_turn()
    if config["workers"] == "auto" and pool.is_short(lambda clock: _train(made, folder, left[0], clock)):
        listener.on_seed_start(left[0], made.settings.max_epochs)
        return in_turn()
    for seed, record in done.items():
        listener.on_seed_end(seed, record)
    listener.on_workers_start(left)
    begin = partial(_begin_worker, dict(config), folder)
    done |= pool.train_in_workers(begin, left, min(workers, len(left)), listener.on_seed_end)
    return [done[seed] for seed in seeds]


def _workers(config: Mapping[str, Any], settings: Settings) -> int:
    """The most seeds that are trained at once; one on a GPU, which they would share."""
    if resolve_device(settings.device).type != "cpu":
        return 1
    return max(1, pool.usable(config["threads"])) if config["workers"] == "auto" else config["workers"]


def _begin_worker(config: Mapping[str, Any], folder: Path) -> pool.Train:
    """What trains a seed in a worker process: the same parts of the same configuration."""
    torch.set_num_threads(config["threads"])
    plugins.load_installed()
    plugins.load(config["plugins"])
    return partial(_train, parts(config), folder)


def _train(made: Parts, folder: Path, seed: int, listener: Listener | None = None) -> dict[str, Any]:
    splits = made.splits_of(seed)
    return train(made.build, splits, made.mixer, made.settings, seed, _place(folder, seed), listener)


def _place(folder: Path, seed: int) -> Path:
    return folder / f"seed_{seed}"


def _finished(config: Mapping[str, Any], folder: Path) -> dict[int, dict[str, Any]]:
    found = {seed: finished_seed(_place(folder, seed), seed) for seed in config["seeds"]}
    return {seed: record for seed, record in found.items() if record}


def worse_than_a_constant(splits: Splits, task: str, metric: str, reached: float) -> str | None:
    """A sentence where a test metric is worse than that of always predicting what is most usual in training.

    For classification the majority's class; for regression the median of the labels where `metric` is the mean
    absolute error, which it makes least, and their mean elsewhere. None where it is better, or where a constant has no
    such value.
    """
    if task == "multilabel":
        return None
    train_NC, test_NC = (split.target.cpu().numpy() for split in (splits.train, splits.test))
    if task == "classification":
        convention, name = "classification", "majority class"
        constant_C = np.eye(train_NC.shape[1], dtype=np.float32)[train_NC.sum(0).argmax()]
    else:
        convention, name = splits.convention, "median" if metric == "MAE" else "mean"
        constant_C = np.median(train_NC, 0) if metric == "MAE" else train_NC.mean(0)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UndefinedMetric)
        found = evaluate(convention, np.broadcast_to(constant_C, test_NC.shape).astype(np.float32), test_NC)
    sign = 1 if direction(metric) == "maximize" else -1
    if metric not in found or sign * reached >= sign * found[metric]:
        return None
    usual = f"{found[metric]:.4g}, that of always predicting the {name} of the training labels"
    return f"test {metric} {reached:.4g} is worse than {usual}"


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
        f"{examples} training examples make {steps} optimiser step{'s' * (steps != 1)} an epoch: trainer.early_stop="
        f"{settings.early_stop} gives up after {steps * settings.early_stop} of them; {advice}"
    )


def _facts(splits: Splits) -> dict[str, Any]:
    return {
        "name": splits.name,
        "digest": splits.digest,
        "sizes": [len(split) for split in (splits.train, splits.valid, splits.test)],
        "modalities": {name: splits.kind(name) for name in splits.dims},
        "classes": splits.outputs if splits.task == "classification" else None,
        **splits.notes,
    }


def _options(section: Mapping[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in section.items() if key != "name"}
