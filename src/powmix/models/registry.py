"""The architectures by name: one row each. No torch; a model's file is imported when the model is asked for."""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from importlib import import_module
from typing import TYPE_CHECKING, Any, NamedTuple

from powmix.mistakes import check_one_of, nearest, refuse
from powmix.models import options as rules

if TYPE_CHECKING:
    from powmix.models.base import FusionModel, Inputs


class Row(NamedTuple):
    """An architecture. kind: its class, in the file of the architecture's name; title: as tables and figures say it."""

    kind: str
    title: str


MODELS = {
    "mult": Row("MulT", "MulT"),
    "lf_dnn": Row("LFDNN", "LF-DNN"),
    "tfn": Row("TFN", "TFN"),
    "misa": Row("MISA", "MISA"),
    "self_mm": Row("SelfMM", "Self-MM"),
    "mag_bert": Row("MagBert", "MAG-BERT"),
    "late_fusion": Row("LateFusion", "Late fusion"),
}
NAMES = tuple(MODELS)
TITLES = {name: row.title for name, row in MODELS.items()}


def model_class(name: str) -> type[FusionModel]:
    """The class of an architecture. ValueError with the nearest match for an unknown name."""
    check_one_of("model", name, NAMES)
    return getattr(import_module(f"powmix.models.{name}"), MODELS[name].kind)


def needs(name: str) -> tuple[str, ...]:
    """What an architecture reads of a batch: dense `text` and/or `tokens`, `audio`, `vision`."""
    return model_class(name).needs


def defaults(name: str) -> dict[str, Any]:
    """An architecture's options with their defaults: the keys of conf/model/<name>.yaml except `name`."""
    cls = model_class(name)
    parameters = inspect.signature(cls).parameters.values()
    return {p.name: p.default for p in parameters if p.name not in ("inputs", *cls.switches)}


def build(name: str, options: Mapping[str, Any], inputs: Inputs, protocol: Mapping[str, Any]) -> FusionModel:
    """A freshly initialised model; the global generator decides its weights.

    options: as in conf/model/<name>.yaml except `name`; what is left out has its default. protocol: the switches of
    conf/protocol, of which a model takes those it declares. Errors: ValueError for an unknown name, and for all wrong
    options and missing switches in one message.
    """
    cls = model_class(name)
    missing = [
        f"model {name}: the protocol's switch {switch!r} is missing{nearest(switch, protocol)}"
        for switch in cls.switches
        if switch not in protocol
    ]
    refuse([*rules.mistakes(name, {**defaults(name), **options}), *missing])
    return cls(inputs, **options, **{switch: protocol[switch] for switch in cls.switches})
