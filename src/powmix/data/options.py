"""What the options of the section `dataset` may be, for the command line and for Python alike. No torch."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from powmix.data.sources import DATASETS, MODALITIES, SPLITS, SYNTHETIC, where_from
from powmix.mistakes import SWITCH, Rule, broken, choice, count, is_count, is_number, optional, unknown


def _counts(keys: tuple[str, ...], least: int, most: int) -> Rule:
    return Rule(
        lambda value: (
            isinstance(value, Mapping)
            and value.keys() == set(keys)
            and all(is_count(number, least) and number <= most for number in value.values())
        ),
        f"a section of {', '.join(keys)}, each a whole number within [{least}, {most}]",
    )


COMMON = {
    "name": choice(*DATASETS),
    "fraction": Rule(lambda value: is_number(value) and 0 < value <= 1, "a number within (0, 1]"),
    "fraction_seed": count(0),
}
OF_FILES = {
    "path": Rule(lambda value: isinstance(value, str) and bool(value), "the path of a feature file"),
    "text_encoder": optional(Rule(lambda value: isinstance(value, str) and bool(value), "a name or a folder")),
}
OF_SYNTHETIC = {
    "sizes": _counts(SPLITS, 1, 10_000_000),
    "steps": _counts(MODALITIES, 8, 100_000),
    "dims": _counts(MODALITIES, 2, 100_000),
    "noise": Rule(lambda value: is_number(value) and 0 <= value <= 100, "a number within [0, 100]"),
    "aligned": SWITCH,
    "corpus_seed": count(0),
}


def mistakes(dataset: Mapping[str, Any]) -> list[str]:
    """A sentence for each option that is unknown or wrong, and for a feature file that is not there."""
    name = dataset.get("name")
    if found := broken(COMMON, {"name": name}, "dataset."):
        return found
    rules = {**COMMON, **(OF_SYNTHETIC if name == SYNTHETIC else OF_FILES)}
    found = unknown(dataset, rules, "dataset option")
    path = dataset.get("path")
    if name != SYNTHETIC and not path:
        found.append(f"dataset.path: {name} needs its feature file, got {path!r}. {where_from(name)}")
    elif name != SYNTHETIC and isinstance(path, str) and not Path(path).expanduser().is_file():
        found.append(f"dataset.path: no file {path!r}. {where_from(name)}")
    return [*found, *broken(rules, {key: value for key, value in dataset.items() if key != "path" or path}, "dataset.")]
