"""What plugins registered, and what users' own folders hold, as choices of Hydra's config groups; no torch.

A registered model, mixer or dataset becomes an option of its group whose keys and values are its signature's. Every
model on every dataset gets a recipe: its own file where there is one, else the general one below.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any

import yaml
from hydra.core.config_store import ConfigStore

from powmix import plugins
from powmix.data import registry as datasets
from powmix.mixing import registry as mixers
from powmix.models import registry as models
from powmix.places import CONF
from powmix.runs.records import SAFE

PROVIDER = "powmix"
PLAIN = re.compile(r"[\w./-]+")
OVERRIDE = ("plugins=", "+plugins=", "++plugins=")
RECIPE: dict[str, Any] = {
    "trainer": {"batch_size": 32, "accumulate": 1, "clip_value": None, "early_stop": 20},
    "optimizer": {"learning_rate": 1e-3, "weight_decay": 0.0},
    "schedule": {"plateau_patience": None},
    "loss": "auto",
    "mixer": {"start_epoch": 0},
}
"""The recipe of a model on a dataset for which nobody wrote one, ours; conf/recipe has the written ones."""


def load_plugins(arguments: Sequence[str], folders: Sequence[str] = ()) -> None:
    """Imports the installed plugins and those of a command line, and makes all that they registered choosable.

    folders: users' own config folders. ValueError where a plugin is not there or fails.
    """
    plugins.load_installed()
    plugins.load(named(arguments))
    offer(folders)


def with_plugins(arguments: Sequence[str], more: Sequence[str] = ()) -> list[str]:
    """The arguments with all plugins in one override, files by their whole paths: workers may run elsewhere."""
    names = dict.fromkeys(str(plugins.locate(name) or name) for name in (*named(arguments), *more))
    others = [text for text in arguments if not text.startswith(OVERRIDE)]
    return [*others, f"plugins=[{','.join(map(_quoted, names))}]"] if names else others


def _quoted(name: str) -> str:
    """As Hydra reads it: in quotes where it has more than letters, digits and `_ . / -`."""
    return name if PLAIN.fullmatch(name) else "'" + name.replace("\\", "\\\\").replace("'", "\\'") + "'"


def config_folders(arguments: Sequence[str]) -> list[str]:
    """Users' own config folders, of `--config-dir` and `hydra.searchpath`, as Hydra's search path has them."""
    found, rest = [], iter(arguments)
    for text in rest:
        flag, equals, value = text.partition("=")
        if flag in ("--config-dir", "-cd"):
            value = value if equals else next(rest, "")
            found.append(f"file://{Path(value).expanduser().resolve()}")
        elif flag.lstrip("+") == "hydra.searchpath":
            found += [one if "://" in one else f"file://{Path(one).resolve()}" for one in _listed(flag, value)]
    return found


def named(arguments: Iterable[str]) -> list[str]:
    """The plugins that a command line names: `plugins=[a,b.py]` or `plugins=a`. ValueError for anything else."""
    return [
        name for text in arguments if text.startswith(OVERRIDE) for name in _listed("plugins", text.split("=", 1)[1])
    ]


def _listed(key: str, text: str) -> list[str]:
    """A list of words as an override writes it, or one word."""
    try:
        value = yaml.safe_load(text)
    except yaml.YAMLError:
        value = None
    value = [value] if isinstance(value, str) else value
    if not isinstance(value, list) or not all(isinstance(name, str) and name for name in value):
        raise ValueError(f"{key} must be a list of paths or names, got {text}")
    return value


def offer(folders: Sequence[str] = ()) -> None:
    """Puts what is registered, and the recipes that are missing, into Hydra's config store.

    folders: users' own config folders, as Hydra's search path has them.
    """
    for name, row in models.MODELS.items():
        if not isinstance(row.kind, str):
            _store("model", name, {"name": name, **models.defaults(name)})
    for name, mixer in mixers.MIXERS.items():
        if mixer.kind is not None:
            _store("mixer", name, {"name": name, **mixers.defaults(name)})
    for name, data in datasets.DATASETS.items():
        if callable(data.kind):
            _store("dataset", name, datasets.defaults(name))
    places = [CONF, *(Path(one.removeprefix("file://")) for one in folders if not one.startswith("pkg://"))]
    files = {group: dict(_files(group, places)) for group in ("model", "dataset", "recipe")}
    known: dict[str, Mapping[str, Any]] = {"model": models.MODELS, "dataset": datasets.DATASETS}
    own_names = {
        group: {name: _name(files[group], name) for name in dict.fromkeys((*rows, *files[group]))}
        for group, rows in known.items()
    }
    for model, own_model in own_names["model"].items():
        for dataset, own_dataset in own_names["dataset"].items():
            if f"{model}_{dataset}" not in files["recipe"]:
                own = f"{own_model}_{own_dataset}"
                _store("recipe", f"{model}_{dataset}", _recipe(own, model, files["recipe"]), "_global_")


def _recipe(own: str, model: str, written: Mapping[str, Path]) -> dict[str, Any]:
    """The recipe of what two choices are called in themselves; else the model's small one, but for its sizes."""
    if own in written:
        return _read(written[own])
    small = written.get(f"{model}_synthetic")
    return {**RECIPE, **({"optimizer": _read(small)["optimizer"]} if small else {})}


def _files(group: str, folders: Iterable[Path]) -> Iterator[tuple[str, Path]]:
    for folder in folders:
        yield from ((path.stem, path) for path in sorted((folder / group).glob("*.yaml")))


def _name(files: Mapping[str, Path], choice: str) -> str:
    """What the file of a choice calls itself: `dataset=my_mosi` may be `name: mosi` with a path of the user's."""
    return str(_read(files[choice]).get("name", choice)) if choice in files else choice


@cache
def _read(path: Path) -> dict[str, Any]:
    try:
        found = yaml.load(path.read_text(encoding="utf-8"), SAFE)
    except (OSError, ValueError, yaml.YAMLError):
        return {}  # Hydra says what is wrong with the file
    return found if isinstance(found, dict) else {}


def _store(group: str, name: str, node: Mapping[str, Any], package: str | None = None) -> None:
    ConfigStore.instance().store(
        group=group, name=name, node=_plain(node), package=package, provider=PROVIDER, replace=True
    )


def _plain(value: Any) -> Any:
    """Tuples as lists, which is what a configuration has."""
    if isinstance(value, Mapping):
        return {key: _plain(one) for key, one in value.items()}
    return [_plain(one) for one in value] if isinstance(value, list | tuple) else value
