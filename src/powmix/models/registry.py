"""The architectures by name: one row each. No torch; a model's file is imported when the model is asked for."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from functools import cache
from importlib import import_module
from typing import TYPE_CHECKING, Any, NamedTuple

from powmix.mistakes import Options, broken, check_one_of, choice, nearest, options_of, refuse, taken, unknown
from powmix.models import options as rules

if TYPE_CHECKING:
    from powmix.models.base import FusionModel, Inputs


class Row(NamedTuple):
    """An architecture. title: as tables and figures say it.

    kind: the name of its class, in the file of the architecture's name; of a registered one the class itself, or a
    function that makes the model. encode, fuse: what the two halves of a registered module are called.
    """

    kind: str | Callable[..., Any]
    title: str
    encode: str = "encode"
    fuse: str = "fuse"


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
"""The built-in ones; MODELS has the registered ones, too."""
TITLES = {name: row.title for name, row in MODELS.items()}


def register(
    name: str, kind: Callable[..., Any], *, title: str | None = None, encode: str = "encode", fuse: str = "fuse"
) -> None:
    """Makes a model known under a name, to Python and to the command line: `model=NAME`.

    kind: a subclass of FusionModel, or any class of nn.Module (or a function that makes one) with `encode(batch)` and
    `fuse(hidden)`, or with methods or submodules of the names given. It is called with `inputs` (Inputs, what is known
    of the data) if it has such a parameter, and with its options by keyword. ValueError for a name that is taken.
    """
    refuse(taken("model", name, kind, MODELS.get(name)))
    options_of(kind, "inputs")
    MODELS[name] = Row(kind, title or name, encode, fuse)
    TITLES[name] = MODELS[name].title


def model_class(name: str) -> Callable[..., Any]:
    """The class of an architecture, or the function that makes it. ValueError with the nearest match if unknown."""
    check_one_of("model", name, MODELS)
    kind = MODELS[name].kind
    return getattr(import_module(f"powmix.models.{name}"), kind) if isinstance(kind, str) else kind


def needs(name: str, options: Mapping[str, Any] | None = None) -> tuple[str, ...]:
    """What an architecture reads of a batch: names of dense modalities, `*` for all of them, `tokens`."""
    cls = model_class(name)
    asked = getattr(cls, "needs_of", None)
    return tuple(asked({**defaults(name), **(options or {})}) if asked else getattr(cls, "needs", ("*",)))


def switches(name: str) -> tuple[str, ...]:
    """The protocol switches that are keyword arguments of an architecture's constructor."""
    return tuple(getattr(model_class(name), "switches", ()))


def defaults(name: str) -> dict[str, Any]:
    """An architecture's options with their defaults: the keys of conf/model/<name>.yaml except `name`."""
    return _options(model_class(name), switches(name)).defaults


def mistakes(name: str, options: Mapping[str, Any]) -> list[str]:
    """What is wrong with an architecture's options, a sentence each; no torch for the built-in ones."""
    if name not in MODELS:
        return broken({"name": choice(*MODELS)}, {"name": name}, "model.")
    if isinstance(MODELS[name].kind, str):
        return rules.mistakes(name, options)
    known = _options(model_class(name), switches(name))
    found = [f"model {name}: {sentence}" for sentence in unknown(options, known.defaults, "option")]
    return [*found, *broken(known.rules, options, "model.")]


def build(name: str, options: Mapping[str, Any], inputs: Inputs, protocol: Mapping[str, Any]) -> FusionModel:
    """A freshly initialised model; the global generator decides its weights.

    options: as in conf/model/<name>.yaml except `name`; what is left out has its default. protocol: the switches of
    conf/protocol, of which a model takes those it declares. Errors: ValueError for an unknown name, and for all wrong
    options and missing switches in one message.
    """
    from powmix.models.base import FusionModel
    from powmix.models.plain import PlainModel

    cls, row = model_class(name), MODELS[name]
    missing = [
        f"model {name}: the protocol's switch {switch!r} is missing{nearest(switch, protocol)}"
        for switch in switches(name)
        if switch not in protocol
    ]
    refuse([*mistakes(name, {**defaults(name), **options}), *missing])
    known = {"inputs": inputs} if _takes_inputs(cls) else {}
    made = cls(**known, **options, **{switch: protocol[switch] for switch in switches(name)})
    model = made if isinstance(made, FusionModel) else PlainModel(made, inputs, row.encode, row.fuse)
    model.inputs = inputs
    return model


@cache
def _options(kind: Callable[..., Any], besides: tuple[str, ...]) -> Options:
    return options_of(kind, "inputs", *besides)


@cache
def _takes_inputs(kind: Callable[..., Any]) -> bool:
    return "inputs" in inspect.signature(kind).parameters
