"""What a row is called: its mixer, its ablation, and what else tells it from rows with the same two."""

import re
from collections import defaultdict
from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import Any

from powmix.mixing.registry import TITLES as MIXERS
from powmix.runs.identity import UNLESS_NONE
from powmix.runs.records import Record

# Overrides that name the row already, or do not change the science.
LEFT_OUT = {"dataset", "model", "mixer", "ablation", "protocol", "recipe", "seeds", "outputs", "tracker", "sweep"}
LEFT_OUT |= {"sweeps", "dataset.path", "trainer.device", "trainer.checkpoint", "protocol.name", "name"}
LEFT_OUT |= {"dataset.fold"}  # folds.py makes one variant of them
LEFT_OUT_SECTIONS = ("hydra", "tracker", "trial")

# Sections of a configuration that shape a run, mixing aside.
CONTEXT = ("task", "dataset", "model", "protocol", "trainer", "optimizer", "schedule", "loss", *UNLESS_NONE)


def labels(records: Sequence[Record]) -> list[str]:
    """One label per record, all different; the records share dataset, model and protocol."""
    twins: dict[str, list[int]] = defaultdict(list)
    names = [short(record) for record in records]
    for i, name in enumerate(names):
        twins[name].append(i)
    for name, members in twins.items():
        if len(members) > 1:
            for i, extra in zip(members, _distinguish([records[i] for i in members])):
                names[i] = f"{name} ({extra})" if extra else name
    return names


def short(record: Record) -> str:
    mixer = MIXERS.get(record.mixer, record.mixer)
    return f"{mixer}, {record.ablation}" if record.ablation else mixer


def natural(text: str) -> list[Any]:
    """Sort key under which n_out=64 comes before n_out=256."""
    return [(0, float(part), "") if part[0].isdigit() else (1, 0.0, part) for part in _NUMBER.findall(text)]


_DECIMAL = re.compile(r"\d+\.\d+(?:e[-+]?\d+)?")
_NUMBER = re.compile(r"\d+(?:\.\d+)?|[^\d]+")


def named_settings(record: Record) -> dict[str, str]:
    """{key: value} of the overrides that change the science and that the row's name does not say."""
    pairs = dict(override.lstrip("+~").partition("=")[::2] for override in record.overrides)
    return {k: v for k, v in pairs.items() if k not in LEFT_OUT and k.split(".")[0] not in LEFT_OUT_SECTIONS}


def flatten(config: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    for key, value in config.items():
        if isinstance(value, Mapping):
            yield from flatten(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", value


def context(record: Record) -> dict[str, str]:
    """Everything but the mixer that shapes a run: what a fair baseline has in common with it."""
    pairs = dict(flatten(record.config)) or named_settings(record)
    return {
        k: _text(v)
        for k, v in pairs.items()
        if k not in LEFT_OUT and k.split(".")[0] in CONTEXT and (v or k not in UNLESS_NONE)
    }


def differences(record: Record, baseline: Record) -> list[str]:
    """Names of the settings, mixing aside, in which the two were trained differently."""
    ours, theirs = context(record), context(baseline)
    return sorted(key for key in ours.keys() | theirs.keys() if ours.get(key) != theirs.get(key))


def settings(record: Record) -> dict[str, str]:
    """Everything that shapes a run, mixing included."""
    mixing = {f"mixer.{key}": _text(value) for key, value in flatten(record.mixing_options())}
    return {**context(record), **mixing}


def _distinguish(records: Sequence[Record]) -> list[str]:
    """By the settings that commands name, as far as they differ; else by any; else by the signature.

    A run that several sweeps share records the last one's command: which keys are named is all that is taken from it.
    """
    named = {key for record in records for key in named_settings(record)}
    by_overrides = _differing([{**named_settings(record), **_of(settings(record), named)} for record in records])
    if len(set(by_overrides)) == len(records):
        return by_overrides
    by_config = _differing([settings(record) for record in records])
    if len(set(by_config)) == len(records):
        return by_config
    return [f"{text} {record.signature[:6]}".strip() for text, record in zip(by_overrides, records)]


def _of(pairs: Mapping[str, str], keys: Collection[str]) -> dict[str, str]:
    return {key: value for key, value in pairs.items() if key in keys}


def _text(value: Any) -> str:
    """A value as a command line has it."""
    return f"[{','.join(map(_text, value))}]" if isinstance(value, list) else str(value)


def _differing(settings: Sequence[Mapping[str, str]]) -> list[str]:
    keys = sorted({key for one in settings for key in one})
    varying = [key for key in keys if len({one.get(key) for one in settings}) > 1]
    short = {key: _rounded({one[key] for one in settings if key in one}) for key in varying}
    return [
        ", ".join(f"{k.removeprefix('mixer.')}={short[k][one[k]]}" for k in varying if k in one) for one in settings
    ]


def _rounded(values: Collection[str]) -> dict[str, str]:
    """{value: the same with as few digits, three at least, as keep all values apart}."""
    for digits in range(3, 17):
        found = {text: _shortened(text, digits) for text in values}
        if len(set(found.values())) == len(found):
            return found
    return {text: text for text in values}


def _shortened(text: str, digits: int) -> str:
    return _DECIMAL.sub(lambda number: min(number[0], f"{float(number[0]):.{digits}g}", key=len), text)
