"""The overrides of a command line: all their mistakes at once, and what of them a multirun leaves to its jobs.

No torch is imported, nothing is trained. Each message gives the name, what was got, what is allowed, the nearest match.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import yaml
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.errors import HydraException
from omegaconf import DictConfig, OmegaConf

from powmix.command.validation import ABSENT, RULES, check_config, nearest
from powmix.runs.identity import CONF

UNCHECKED = ("hydra", "trial")


class Composed(NamedTuple):
    """A configuration under some choice of the swept groups, and what was chosen."""

    picked: dict[str, str]
    config: DictConfig
    choices: dict[str, Any]


def check_command(overrides: Sequence[str]) -> list[str]:
    """The mistakes of a command line's overrides, sweeps included: every swept value is checked, not their product."""
    from hydra import initialize_config_dir
    from hydra.core.global_hydra import GlobalHydra

    with initialize_config_dir(str(CONF)):
        loader = GlobalHydra.instance().config_loader()
        return list(dict.fromkeys(_check(overrides, loader)))


def deferred(overrides: Sequence[str]) -> list[str]:
    """A multirun's overrides, those beneath a swept group as a choice of one: only its jobs know their keys.

    Hydra composes once before it sweeps, without the swept groups, and would refuse `model.text.pretrained=minilm`
    beside `model=misa,self_mm`.
    """
    parser = OverridesParser.create()
    parsed = parser.parse_overrides(list(overrides))
    swept = {*_preset_groups(overrides), *(o.key_or_group for o in parsed if o.is_sweep_override())}

    def waits(text: str) -> bool:
        override = parser.parse_override(text)
        group, beneath, _ = override.key_or_group.partition(".")
        plain = not (override.is_add() or override.is_delete() or override.is_sweep_override())
        return bool(beneath) and group in swept and plain

    return ["=choice(".join(text.split("=", 1)) + ")" if waits(text) else text for text in overrides]


def _preset_groups(overrides: Sequence[str]) -> dict[str, str]:
    """The groups that the command's preset (`sweeps=table2`) sweeps, less those the command itself chooses."""
    named = dict(text.split("=", 1) for text in overrides if "=" in text)
    path = CONF / "sweeps" / f"{named.get('sweeps')}.yaml"
    preset = yaml.safe_load(path.read_text("utf-8")) if path.is_file() else {}
    params = preset.get("hydra", {}).get("sweeper", {}).get("params") or {}
    return {key: str(value) for key, value in params.items() if "." not in key and key not in named}


def _check(overrides: Sequence[str], loader: Any) -> Iterator[str]:
    parser, parsed = OverridesParser.create(loader), []
    preset = [f"{group}={options}" for group, options in _preset_groups(overrides).items()]
    for text in [*overrides, *preset]:
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
    swept = [{**first, group: option} for group, options in chosen.items() for option in options[1:]]
    composed: list[Composed] = []
    for picked in [first, *swept]:
        config, choices, errors = _compose(picked)
        yield from errors
        if config is not None:
            composed.append(Composed(picked, config, choices))
    if not composed or composed[0].picked is not first:
        return
    settings = [(o.key_or_group, _alternatives(o)) for o in values if not (o.is_add() or o.is_delete())]
    for key, alternatives in settings:
        yield from _check_key(composed, key, alternatives)
    for one in composed:
        known = {key: told for key, told in settings if told and _value(one.config, key) is not ABSENT}
        start = one.config.copy()
        for key, alternatives in known.items():
            OmegaConf.update(start, key, alternatives[0])
        yield from check_config(_plain(start), one.choices)
        for key, alternatives in known.items() if one is composed[0] else ():
            for value in alternatives[1:]:
                trial = start.copy()
                OmegaConf.update(trial, key, value)
                yield from check_config(_plain(trial), one.choices)


def _check_key(composed: Sequence[Composed], key: str, alternatives: Sequence[Any]) -> Iterator[str]:
    """A key must exist under every choice of the swept groups, and its values be of its default's kind."""
    having = [one for one in composed if _value(one.config, key) is not ABSENT]
    if not having:
        keys = [name for one in composed for name in (*_dotted(one.config), *one.choices)]
        yield f"{key}: no such key or group{nearest(key, list(dict.fromkeys(keys)))}"
        return
    group = key.partition(".")[0]
    for one in composed:
        if one not in having:
            yield f"{key}: {group}={one.picked.get(group, one.choices.get(group))} has no such option"
    for value in alternatives:
        yield from _check_type(having[0].config, key, value)


def _value(config: DictConfig, key: str) -> Any:
    return OmegaConf.select(config, key, default=ABSENT)


def _compose(groups: Mapping[str, str]) -> tuple[DictConfig | None, dict[str, Any], list[str]]:
    """The configuration with these group choices, what was chosen, and why it could not be composed."""
    from hydra import compose

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
