"""The mistakes in the values of a composed configuration, found without torch and before anything trains.

Each message gives the name, what was got, what is allowed, and the nearest match.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from difflib import get_close_matches
from pathlib import Path
from typing import Any

from powmix.analysis.catalogue import NAMES as ANALYSES
from powmix.data.pretrained import check_encoder
from powmix.mistakes import NOT_NEGATIVE, POSITIVE, Rule, choice, count, is_number
from powmix.mixing import options
from powmix.training.metrics import LABELS
from powmix.training.settings import TASKS, Settings


def nearest(word: str, allowed: Sequence[str]) -> str:
    """` (did you mean X?)`, or the short list of what is allowed, or nothing."""
    close = get_close_matches(word, allowed, n=1, cutoff=0.5)
    if close:
        return f" (did you mean {close[0]}?)"
    return f" (one of {', '.join(sorted(allowed))})" if 0 < len(allowed) <= 24 else ""


def _seeds(value: Any) -> bool:
    at_least_0 = count(0).allows
    if isinstance(value, int):
        return count(1).allows(value)
    return (
        isinstance(value, Sequence) and len(value) > 0 and all(map(at_least_0, value)) and len(set(value)) == len(value)
    )


RULES: dict[str, Rule] = {
    **{f"mixer.{name}": rule for name, rule in options.RULES.items()},
    "seeds": Rule(_seeds, "how many (>= 1), or a list of different seeds >= 0"),
    "task": choice(*TASKS),
    "threads": count(1),
    "analyses": Rule(
        lambda value: isinstance(value, Sequence) and set(value) <= {*ANALYSES, "all"},
        f"a list of {', '.join(ANALYSES)}, all",
    ),
    "dataset.fraction": Rule(lambda value: is_number(value) and 0 < value <= 1, "a number within (0, 1]"),
    "optimizer.learning_rate": POSITIVE,
    "optimizer.weight_decay": NOT_NEGATIVE,
}


def check_config(config: Mapping[str, Any], choices: Mapping[str, Any]) -> list[str]:
    """The mistakes in the values of a composed configuration (plain dict), one line each."""
    errors = [
        f"{key} must be {rule.words}, got {value!r}"
        for key, rule in RULES.items()
        if (value := _get(config, key)) is not ABSENT and not rule.allows(value)
    ]
    return [*errors, *_training(config), *_relations(config, choices)]


def _training(config: Mapping[str, Any]) -> Iterator[str]:
    """What the training room says of its sections."""
    if config["task"] in TASKS:
        names = ("trainer", "optimizer", "schedule", "loss", "task", "protocol")
        try:
            Settings.from_config(**{name: config[name] for name in names})
        except ValueError as error:
            yield str(error).removeprefix("training settings: ")


def _relations(config: Mapping[str, Any], choices: Mapping[str, Any]) -> Iterator[str]:
    """What no single value shows."""
    dataset, task, mixer = config["dataset"], config["task"], config["mixer"]["name"]
    if choices.get("ablation") and mixer != "powmix":
        yield f"ablation={choices['ablation']}: an ablation removes a part of PowMix, but mixer={mixer}"
    metrics = LABELS["classification" if task == "classification" else "sims" if dataset["name"] == "sims" else "mosi"]
    if config["objective"] not in metrics:
        yield f"objective must be a validation metric ({', '.join(metrics)}), got {config['objective']!r}"
    if dataset["name"] != "synthetic":
        path = dataset.get("path")
        if not path:
            yield f"dataset.path: {dataset['name']} needs its feature file: see `powmix-data where`"
        elif not Path(path).expanduser().is_file():
            yield f"dataset.path: no file {path!r}"
    yield from _encoder(config["model"])


def _encoder(model: Mapping[str, Any]) -> Iterator[str]:
    """A text encoder that is not on this machine is known before any data is loaded."""
    if "text" in model:
        try:
            check_encoder(model["text"]["pretrained"])
        except ValueError as error:
            yield str(error)


ABSENT = object()


def _get(config: Any, key: str) -> Any:
    for part in key.split("."):
        if not isinstance(config, Mapping) or part not in config:
            return ABSENT
        config = config[part]
    return config
