"""The overrides of a command line: all their mistakes at once, and what of them a multirun leaves to its jobs.

No torch is imported, nothing is trained. Each message gives the name, what was got, what is allowed, the nearest match.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from copy import deepcopy
from pathlib import Path
from typing import Any, NamedTuple, cast

import yaml
from hydra import compose, initialize_config_dir
from hydra.core.global_hydra import GlobalHydra
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.errors import HydraException
from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException

from powmix.command.composition import plain
from powmix.command.registered import offer
from powmix.command.validation import NULLABLE, check_config, check_overrides
from powmix.mistakes import nearest
from powmix.places import CONF

UNCHECKED = ("hydra", "trial", "plugins")
PATHS = ("dataset.path", "dataset.text_encoder", "model.text.pretrained", "outputs", "hydra.run.dir", "hydra.sweep.dir")
GROUPS = ("dataset", "model", "protocol", "trainer", "mixer", "tracker", "recipe", "ablation", "sweeps")
SEVERAL = ("tracker",)
"""Groups of which several may be chosen at once: `tracker=[wandb,tensorboard]`."""
REFUSED = (HydraException, OmegaConfBaseException, ValueError, TypeError)
"""What composing a wrong command raises."""
MOST = 10_000
"""Values of one override that are checked; a sweep over more is refused."""


class Composed(NamedTuple):
    """A configuration under some choice of the swept groups, and what was chosen."""

    picked: dict[str, str]
    config: dict[str, Any]
    choices: dict[str, Any]


class Given(NamedTuple):
    """An override as parsed: its key, every value it stands for, and the options if it chooses a group."""

    text: str
    key: str
    values: list[Any]
    options: list[str]


def with_quoted_paths(overrides: Sequence[str]) -> list[str]:
    """The overrides, paths that Hydra's grammar does not read (`file (1).pkl`) in quotes."""
    parser = OverridesParser.create()

    def quoted(text: str) -> str:
        key, equals, value = text.partition("=")
        if key.lstrip("+") not in PATHS or not equals or value[:1] in ("'", '"', "$"):
            return text
        try:
            parser.parse_override(text)
            return text
        except HydraException:
            escaped = value.replace("\\", "\\\\").replace("'", "\\'")
            return f"{key}='{escaped}'"

    return [quoted(text) for text in overrides]


def deferred(overrides: Sequence[str], folders: Sequence[str] = ()) -> list[str]:
    """A multirun's overrides, those beneath a swept group as a choice of one: only its jobs know their keys.

    Hydra composes once before it sweeps, without the swept groups, and would refuse `model.text.pretrained=minilm`
    beside `model=misa,self_mm`.
    """
    parser = OverridesParser.create()
    parsed = parser.parse_overrides(list(overrides))
    swept = {*_preset_groups(overrides, folders), *(o.key_or_group for o in parsed if o.is_sweep_override())}

    def waits(text: str) -> bool:
        override = parser.parse_override(text)
        group, beneath, _ = override.key_or_group.partition(".")
        plain = not (override.is_add() or override.is_delete() or override.is_sweep_override())
        return bool(beneath) and group in swept and plain

    return ["=choice(".join(text.split("=", 1)) + ")" if waits(text) else text for text in overrides]


def check_command(overrides: Sequence[str], folders: Sequence[str] = ()) -> list[str]:
    """The mistakes of a command line's overrides, sweeps included: every swept value is checked, not their product.

    folders: users' own config folders, as Hydra's search path has them (`file://...`).
    """
    offer(folders)
    with initialize_config_dir(str(CONF)):
        loader: Any = GlobalHydra.instance().config_loader()
        for folder in folders:
            loader.config_search_path.append("command-line", folder)
        loader.repository.initialize_sources(loader.config_search_path)
        found = _mistakes(overrides, loader, folders)
        return list(dict.fromkeys([*check_overrides(overrides, GROUPS), *found]))


def _preset_groups(overrides: Sequence[str], folders: Sequence[str] = ()) -> dict[str, str]:
    """The groups that the command's preset (`sweeps=table2`) sweeps, less those the command itself chooses."""
    named = dict(text.split("=", 1) for text in overrides if "=" in text)
    places = [CONF, *(Path(folder.removeprefix("file://")) for folder in folders)]
    paths = [place / "sweeps" / f"{named.get('sweeps')}.yaml" for place in places]
    preset: dict[str, Any] = next((yaml.safe_load(path.read_text("utf-8")) for path in paths if path.is_file()), {})
    params = preset.get("hydra", {}).get("sweeper", {}).get("params") or {}
    return {key: str(value) for key, value in params.items() if "." not in key and key not in named}


def _mistakes(overrides: Sequence[str], loader: Any, folders: Sequence[str]) -> Iterator[str]:
    preset = [f"{group}={options}" for group, options in _preset_groups(overrides, folders).items()]
    parser, given = OverridesParser.create(loader), []
    for text in [*overrides, *preset]:
        try:
            given += _read(text, parser, loader)
        except REFUSED as error:
            yield f"{text}: {_first_line(error)}"
    groups, values = ([one for one in given if bool(one.options) is wanted] for wanted in (True, False))
    chosen: dict[str, list[str]] = {}
    for one in groups:
        yield from (f"{one.key}={name}: {why}" for name in map(_word, one.values) if (why := _wrong(one, name)))
        chosen[one.key] = [name for name in map(_word, one.values) if not _wrong(one, name)]
    yield from _check_values({group: names for group, names in chosen.items() if names}, values)


def _read(text: str, parser: OverridesParser, loader: Any) -> list[Given]:
    """The override; nothing for Hydra's own and for removals. ValueError for one that stands for no value."""
    [override] = parser.parse_overrides([text])  # unlike parse_override, it knows the groups, for glob(*)
    key = override.key_or_group
    if key.split(".")[0].split("/")[0] in UNCHECKED:
        return []
    if override.is_delete():
        return []
    values = _alternatives(override)
    if not values:
        raise ValueError("it stands for no value")
    return [Given(text, key, values, list(loader.get_group_options(key)))]


def _alternatives(override: Any) -> list[Any]:
    """Every value an override stands for; both ends of an interval."""
    value = override.value()
    if not override.is_sweep_override():
        return [value]
    if override.is_interval_sweep():
        return [value.start, value.end]
    if override.is_range_sweep() and (not value.step or not _is_short(value)):
        raise ValueError(f"a range needs a step that leads from its start to its stop in at most {MOST} values")
    return [one.value() if hasattr(one, "value") and callable(one.value) else one for one in override.sweep_iterator()]


def _is_short(bounds: Any) -> bool:
    return 0 <= (bounds.stop - bounds.start) / bounds.step <= MOST


def _word(value: Any) -> str:
    if isinstance(value, list):
        return f"[{','.join(map(str, value))}]"
    return "null" if value is None or value == "None" else str(value)


def _wrong(given: Given, name: str) -> str | None:
    """Why a group's option cannot be chosen, or None."""
    if name.startswith("["):
        if given.key not in SEVERAL:
            return f"only one can be chosen (one of {', '.join(sorted(given.options))})"
        return next((wrong for one in name[1:-1].split(",") if (wrong := _wrong(given, one))), None)
    if name == "null":
        return None if given.key in NULLABLE else f"one must be chosen (one of {', '.join(sorted(given.options))})"
    if name in given.options:
        return None
    return f"no such option{nearest(name, given.options) or f' (one of {chr(44).join(sorted(given.options))})'}"


def _check_values(chosen: dict[str, list[str]], values: Sequence[Given]) -> Iterator[str]:
    """Each alternative of each override on top of the first alternative of all others."""
    first = {group: options[0] for group, options in chosen.items()}
    swept = [{**first, group: option} for group, options in chosen.items() for option in options[1:]]
    composed: list[Composed] = []
    for picked in [first, *swept]:
        try:
            composed.append(_compose(picked))
        except REFUSED as error:
            yield _first_line(error)
    if not composed or composed[0].picked is not first:
        return
    for one in values:
        yield from _check_key(composed, one)
    for made in composed:
        known = [given for given in values if _get(made.config, given.key) is not ABSENT]
        start = _with(made.config, {given.key: given.values[0] for given in known})
        yield from _check_composed(start, made.choices)
        for given in known if made is composed[0] else ():
            for value in given.values[1:]:
                yield from _check_composed(_with(start, {given.key: value}), made.choices)


def _check_composed(config: Any, choices: Mapping[str, Any]) -> list[str]:
    try:
        return check_config(plain(OmegaConf.create(config)), choices)
    except OmegaConfBaseException as error:
        return [_first_line(error)]


def _check_key(composed: Sequence[Composed], given: Given) -> Iterator[str]:
    """A key must exist under every choice of the swept groups."""
    having = [one for one in composed if _get(one.config, given.key) is not ABSENT]
    if not having:
        keys = [name for one in composed for name in (*_dotted(one.config), *one.choices)]
        yield f"{given.key}: no such key or group{nearest(given.key, dict.fromkeys(keys))}"
        return
    group = given.key.partition(".")[0]
    for one in composed:
        if one not in having:
            yield f"{given.key}: {group}={one.picked.get(group, one.choices.get(group))} has no such option"


def _compose(groups: dict[str, str]) -> Composed:
    """The configuration with these group choices."""
    composed = compose("config", [f"{group}={name}" for group, name in groups.items()], return_hydra_config=True)
    choices = dict(composed.hydra.runtime.choices)
    config = OmegaConf.masked_copy(composed, [str(key) for key in composed if key != "hydra"])
    return Composed(groups, cast(dict[str, Any], OmegaConf.to_container(config)), choices)


ABSENT = object()


def _get(config: Any, key: str) -> Any:
    for part in key.split("."):
        if not isinstance(config, Mapping) or part not in config:
            return ABSENT
        config = config[part]
    return config


def _with(config: Mapping[str, Any], values: Mapping[str, Any]) -> dict[str, Any]:
    """A copy with other values at dotted keys; a section given to a section is merged into it, as Hydra does."""
    changed = deepcopy(dict(config))
    for key, value in values.items():
        *way, last = key.split(".")
        place = changed
        for part in way:
            place = place[part]
        both = isinstance(place[last], dict) and isinstance(value, Mapping)
        place[last] = _with(place[last], value) if both and value.keys() <= place[last].keys() else value
    return changed


def _dotted(config: Mapping[str, Any], prefix: str = "") -> Iterator[str]:
    for key, value in config.items():
        yield prefix + key
        if isinstance(value, Mapping):
            yield from _dotted(value, f"{prefix}{key}.")


def _first_line(error: Exception) -> str:
    return str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
