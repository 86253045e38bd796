"""The mistakes in a composed configuration, found without torch and before anything trains.

What an option may be stands with its owner: mixers and models in their `options`, the data's in data/options, the
loop's in Settings. Here stand the options that belong to nobody else, and what no single value shows.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from powmix.analysis.catalogue import NAMES as ANALYSES
from powmix.data.encoders import check_encoder
from powmix.data.registry import convention_of
from powmix.data.registry import mistakes as dataset_mistakes
from powmix.metrics.columns import TASKS, keys
from powmix.mistakes import (
    SWITCH,
    TEXT,
    Rule,
    broken,
    choice,
    is_count,
    is_list,
    is_number,
    nearest,
    optional,
    unknown,
)
from powmix.mixing.registry import option_mistakes as mixer_mistakes
from powmix.models.registry import mistakes as model_mistakes
from powmix.runs.identity import UNTIL_DECIDED
from powmix.tracking import lacking
from powmix.training.settings import Settings


def _are_seeds(value: Any) -> bool:
    if is_list(value):
        return len(value) > 0 and all(map(is_count, value)) and len(set(value)) == len(value)
    return is_count(value, 1) and value <= MOST_SEEDS


MOST_SEEDS = 100_000
ROOT: dict[str, Rule] = {
    "task": choice("auto", *TASKS),
    "seeds": Rule(
        lambda value: value == UNTIL_DECIDED or _are_seeds(value),
        f"how many (1 .. {MOST_SEEDS}), a list of different seeds >= 0, or {UNTIL_DECIDED}",
        (UNTIL_DECIDED,),
    ),
    "objective": TEXT,
    "analyses": Rule(
        lambda value: is_list(value) and all(isinstance(name, str) and name in (*ANALYSES, "all") for name in value),
        f"a list of {', '.join(ANALYSES)}, all",
    ),
    "threads": Rule(lambda value: is_count(value, 1) and value <= 1024, "a whole number within [1, 1024]"),
    "workers": Rule(
        lambda value: value == "auto" or (is_count(value, 1) and value <= 1024),
        "auto or a whole number within [1, 1024]",
        ("auto",),
    ),
    "outputs": TEXT,
    "plugins": Rule(is_list, "a list of .py files and modules"),
    "sweep": optional(TEXT),
}
UNTIL: dict[str, Rule] = {
    "seeds": Rule(lambda value: is_count(value, 5) and value <= 10_000, "a whole number within [5, 10000]"),
    "effect": Rule(lambda value: is_number(value) and 0.01 <= value <= 100, "a number within [0.01, 100]"),
    "split": choice("validation", "test"),
}
"""What `seeds=until_decided` goes by."""
SECTIONS = (
    "dataset",
    "model",
    "protocol",
    "trainer",
    "mixer",
    "tracker",
    "optimizer",
    "schedule",
    "until",
    "trial",
)
OF_TRAINING = ("loss", "label_smoothing", "vary")
"""What stands by itself and is checked by Settings."""
TRACKERS: dict[str, dict[str, Rule]] = {
    "wandb": {
        "project": TEXT,
        "entity": optional(TEXT),
        "mode": choice("auto", "online", "offline"),
        "tags": Rule(is_list, "a list"),
        "weights": SWITCH,
        "alert": SWITCH,
    },
    "tensorboard": {"folder": TEXT},
    "mlflow": {"uri": TEXT, "experiment": TEXT, "weights": SWITCH},
}


NULLABLE = ("ablation", "sweeps")
"""Groups of which none may be chosen."""
OF_A_SWEEP = ("hydra.sweeper.tasks.", "hydra.sweeper.params.")
"""A preset's tasks and grid: what is listed there may be left out."""


def check_overrides(overrides: Sequence[str], groups: Iterable[str]) -> list[str]:
    """A sentence for each override that removes something, and for each group that is chosen twice.

    Without a section or an option training would fall back on defaults that no configuration shows.
    """
    gone = [text[1:].partition("=")[0] for text in overrides if text.startswith("~")]
    kept = [key for key in gone if key not in NULLABLE and not key.startswith(OF_A_SWEEP)]
    found = [f"{key} cannot be removed: give it a value" for key in kept]
    for group in groups:
        chosen = dict.fromkeys(text.partition("=")[2] for text in overrides if text.partition("=")[0] == group)
        if len(chosen) > 1:
            found.append(f"{group} is chosen twice: {', '.join(chosen)}")
    return found


def check_config(config: Mapping[str, Any], choices: Mapping[str, Any]) -> list[str]:
    """The mistakes in a composed configuration (plain values), a sentence each. choices: the chosen option by group."""
    known = (*ROOT, *SECTIONS, *OF_TRAINING)
    missing = [name for name in known if name not in config]
    found = [
        *(f"{name} is missing: it cannot be removed" for name in missing),
        *(f"{name}: no such key{nearest(name, known)}" for name in config if name not in known),
        *broken(ROOT, {name: config[name] for name in ROOT if name in config}),
    ]
    sections = [name for name in SECTIONS if name not in ("schedule", *missing)]
    wrong = [name for name in sections if not isinstance(config[name], Mapping)]
    found += [f"{name} must be a section, got {config[name]!r}" for name in wrong]
    if missing or wrong:
        return found
    found += [*unknown(config["until"], UNTIL, "option of until"), *broken(UNTIL, config["until"], "until.")]
    found += [*dataset_mistakes(config["dataset"]), *_model(config["model"]), *_trackers(config["tracker"])]
    found += [*mixer_mistakes(config["mixer"]), *_training(config)]
    return [*found, *_relations(config, choices)]


def _training(config: Mapping[str, Any]) -> Iterator[str]:
    """What the training room says of its sections."""
    if config["task"] in TASKS:
        names = ("trainer", "optimizer", "schedule", "loss", "label_smoothing", "task", "protocol", "vary")
        try:
            Settings.from_config(**{name: config[name] for name in names})
        except ValueError as error:
            yield from str(error).removeprefix("training settings: ").split("; ")


def _model(model: Mapping[str, Any]) -> Iterator[str]:
    found = model_mistakes(model["name"], {key: value for key, value in model.items() if key != "name"})
    yield from found
    text = model.get("text")
    if not found and isinstance(text, Mapping) and text.get("pretrained") is not None:
        try:
            check_encoder(text["pretrained"])
        except ValueError as error:
            yield str(error)


def _trackers(chosen: Mapping[str, Any]) -> Iterator[str]:
    yield from unknown(chosen, TRACKERS, "tracker")
    for name in (name for name in chosen if name in TRACKERS):
        yield from lacking([name])
        if not isinstance(chosen[name], Mapping):
            yield f"tracker.{name} must be a section, got {chosen[name]!r}"
            continue
        yield from unknown(chosen[name], TRACKERS[name], f"option of tracker.{name}")
        yield from broken(TRACKERS[name], chosen[name], f"tracker.{name}.")


def _relations(config: Mapping[str, Any], choices: Mapping[str, Any]) -> Iterator[str]:
    """What no single value shows."""
    task, mixer = config["task"], config["mixer"]["name"]
    if choices.get("ablation") and mixer != "powmix":
        yield f"ablation={choices['ablation']}: an ablation removes a part of PowMix, but mixer={mixer}"
    metrics = keys(convention_of(config["dataset"]["name"], task)) if task in TASKS else ()
    if metrics and config["objective"] not in metrics:
        yield f"objective must be a validation metric ({', '.join(metrics)}), got {config['objective']!r}"
