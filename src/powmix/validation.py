"""All mistakes of a command line at once, before torch is imported and before anything trains.

Each message gives the name, what was got, what is allowed, and the nearest match.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from difflib import get_close_matches
from pathlib import Path
from typing import Any

from omegaconf import DictConfig, OmegaConf

from powmix.analysis.catalogue import NAMES as ANALYSES
from powmix.configuration import CONF
from powmix.data.pretrained import check_encoder
from powmix.mixing import checks
from powmix.mixing.checks import Rule, choice, count
from powmix.training.metrics import LABELS
from powmix.training.settings import TASKS, Settings

UNCHECKED = ("hydra", "trial")


def nearest(word: str, allowed: Sequence[str]) -> str:
    """` (did you mean X?)`, or the short list of what is allowed, or nothing."""
    close = get_close_matches(word, allowed, n=1, cutoff=0.5)
    if close:
        return f" (did you mean {close[0]}?)"
    return f" (one of {', '.join(sorted(allowed))})" if 0 < len(allowed) <= 24 else ""


# --- values -----------------------------------------------------------------------------------------------------------


def _seeds(value: Any) -> bool:
    at_least_0 = count(0)[0]
    if isinstance(value, int):
        return count(1)[0](value)
    return (
        isinstance(value, Sequence) and len(value) > 0 and all(map(at_least_0, value)) and len(set(value)) == len(value)
    )


RULES: dict[str, Rule] = {
    **{f"mixer.{name}": rule for name, rule in checks.RULES.items()},
    "seeds": (_seeds, "how many (>= 1), or a list of different seeds >= 0"),
    "task": choice(*TASKS),
    "threads": count(1),
    "analyses": (
        lambda value: isinstance(value, Sequence) and set(value) <= {*ANALYSES, "all"},
        f"a list of {', '.join(ANALYSES)}, all",
    ),
    "dataset.fraction": (lambda value: checks.is_number(value) and 0 < value <= 1, "a number within (0, 1]"),
    "optimizer.learning_rate": checks.POSITIVE,
    "optimizer.weight_decay": (lambda value: checks.is_number(value) and value >= 0, "a number >= 0"),
}


def check_config(config: Mapping[str, Any], choices: Mapping[str, Any]) -> list[str]:
    """The mistakes in the values of a composed configuration (plain dict), one line each."""
    errors = [
        f"{key} must be {allowed}, got {value!r}"
        for key, (valid, allowed) in RULES.items()
        if (value := _get(config, key)) is not _ABSENT and not valid(value)
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


_ABSENT = object()


def _get(config: Any, key: str) -> Any:
    for part in key.split("."):
        if not isinstance(config, Mapping) or part not in config:
            return _ABSENT
        config = config[part]
    return config


# --- the command line -------------------------------------------------------------------------------------------------


def check_command(overrides: Sequence[str]) -> list[str]:
    """The mistakes of a command line's overrides, sweeps included: every swept value is checked, not their product."""
    from hydra import initialize_config_dir
    from hydra.core.global_hydra import GlobalHydra

    with initialize_config_dir(str(CONF)):
        loader = GlobalHydra.instance().config_loader()
        return list(dict.fromkeys(_check(overrides, loader)))


def _check(overrides: Sequence[str], loader: Any) -> Iterator[str]:
    from hydra.core.override_parser.overrides_parser import OverridesParser
    from hydra.errors import HydraException

    parser, parsed = OverridesParser.create(loader), []
    for text in overrides:
        try:
            parsed.append(parser.parse_override(text))
        except HydraException as error:
            yield f"{text}: {str(error).splitlines()[0]}"
    groups, values = [], []
    for override in parsed:
        if override.key_or_group.split(".")[0].split("/")[0] not in UNCHECKED:
            options = loader.get_group_options(override.key_or_group)
            (groups if options else values).append((override, options))
    chosen: dict[str, list[str]] = {}
    for override, options in groups:
        if override.is_delete():
            continue
        alternatives = [str(v) for v in _alternatives(override)]
        for option in alternatives:
            if option not in options and option != "None":
                yield f"{override.key_or_group}={option}: no such option{nearest(option, options)}"
        chosen[override.key_or_group] = [o for o in alternatives if o in options or o == "None"]
    yield from _check_values(chosen, [override for override, _ in values])


def _alternatives(override: Any) -> list[Any]:
    """Every value an override stands for; both ends of an interval."""
    value = override.value()
    if not override.is_sweep_override():
        return [value]
    if override.is_interval_sweep():
        return [value.start, value.end]
    return list(override.sweep_iterator()) if override.is_discrete_sweep() else []


def _check_values(chosen: dict[str, list[str]], values: list[Any]) -> Iterator[str]:
    """Each alternative of each override on top of the first alternative of all others."""
    first = {group: options[0] for group, options in chosen.items() if options}
    base, choices, errors = _compose(first)
    if base is None:
        yield from errors
        return
    keys = list(_dotted(base)) + list(choices)
    known = []
    for override in values:
        if override.is_add() or override.is_delete():
            continue
        if OmegaConf.select(base, override.key_or_group, default=_ABSENT) is _ABSENT:
            yield f"{override.key_or_group}: no such key or group{nearest(override.key_or_group, keys)}"
        else:
            known.append(override)
    settings = [(o.key_or_group, _alternatives(o)) for o in known]
    start = base.copy()
    for key, alternatives in settings:
        for value in alternatives:
            yield from _check_type(base, key, value)
        if alternatives:
            OmegaConf.update(start, key, alternatives[0])
    yield from check_config(_plain(start), choices)
    for key, alternatives in settings:
        for value in alternatives[1:]:
            trial = start.copy()
            OmegaConf.update(trial, key, value)
            yield from check_config(_plain(trial), choices)
    for group, options in chosen.items():
        for option in options[1:]:
            other, other_choices, errors = _compose({**first, group: option})
            yield from errors
            if other is not None:
                for key, alternatives in settings:
                    if alternatives and OmegaConf.select(other, key, default=_ABSENT) is not _ABSENT:
                        OmegaConf.update(other, key, alternatives[0])
                yield from check_config(_plain(other), other_choices)


def _compose(groups: Mapping[str, str]) -> tuple[DictConfig | None, dict[str, Any], list[str]]:
    """The configuration with these group choices, what was chosen, and why it could not be composed."""
    from hydra import compose
    from hydra.errors import HydraException

    texts = [f"{group}={'null' if option == 'None' else option}" for group, option in groups.items()]
    try:
        config = compose("config", overrides=texts, return_hydra_config=True)
    except HydraException as error:
        return None, {}, [str(error).splitlines()[0]]
    choices = dict(config.hydra.runtime.choices)
    return OmegaConf.masked_copy(config, [k for k in config if k != "hydra"]), choices, []


def _plain(config: DictConfig) -> dict[str, Any]:
    return OmegaConf.to_container(OmegaConf.masked_copy(config, [k for k in config if k != "sweep"]), resolve=True)


def _dotted(config: Any, prefix: str = "") -> Iterator[str]:
    for key, value in (
        OmegaConf.to_container(config, resolve=False).items() if isinstance(config, DictConfig) else config.items()
    ):
        yield prefix + key
        if isinstance(value, dict):
            yield from _dotted(value, f"{prefix}{key}.")


def _check_type(base: DictConfig, key: str, value: Any) -> Iterator[str]:
    """A value must be of its default's kind: number, text, yes or no, list, section."""
    default = OmegaConf.select(base, key)
    if default is None or value is None or key in RULES or key.startswith(("trainer.", "schedule.")):
        return
    kinds = {
        bool: "true or false",
        int: "a whole number",
        float: "a number",
        str: "text",
        list: "a list",
        dict: "a section",
    }
    plain = OmegaConf.to_container(default) if OmegaConf.is_config(default) else default
    want = next(kind for kind in kinds if isinstance(plain, kind))
    given = value if not isinstance(value, int) or isinstance(value, bool) or want is not float else float(value)
    if want is str and isinstance(value, int | float | bool):
        return
    if not isinstance(given, want) or (want is int and isinstance(value, bool)):
        yield f"{key} must be {kinds[want]}, got {value!r}"
