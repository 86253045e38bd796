"""The mixers by name: the one place that says what a mixer is called. No torch until one is built."""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from importlib import import_module
from typing import TYPE_CHECKING, Any, NamedTuple

from powmix.mistakes import check_one_of, refuse, unknown
from powmix.mixing.options import mistakes

if TYPE_CHECKING:
    from powmix.mixing.mixer import Mixer


class Row(NamedTuple):
    """Where a mixer's class is, and how tables and figures show it. title: in words. colour: in hexadecimal."""

    module: str
    class_name: str
    title: str
    colour: str


MIXERS = {
    "none": Row("powmix.mixing.mixer", "NoMixer", "no mixing", "#707a89"),
    "manifold_mixup": Row("powmix.mixing.manifold_mixup", "ManifoldMixup", "Manifold MixUp", "#e69f00"),
    "multimix": Row("powmix.mixing.multimix", "MultiMix", "MultiMix", "#009e73"),
    "powmix": Row("powmix.mixing.powmix", "PowMix", "PowMix", "#0072b2"),
    "c_mixup": Row("powmix.mixing.c_mixup", "CMixup", "C-Mixup", "#cc79a7"),
    "regmixup": Row("powmix.mixing.regmixup", "RegMixup", "RegMixup", "#d55e00"),
    "modality_dropout": Row("powmix.mixing.modality_dropout", "ModalityDropout", "Modality dropout", "#56b4e9"),
}
"""By the name that a configuration uses, in the order of tables. The colours are Okabe and Ito's."""


TITLES = {name: row.title for name, row in MIXERS.items()}
COLOURS = {name: row.colour for name, row in MIXERS.items()}


def mixer_class(name: str) -> type[Mixer]:
    """The class of a mixer. ValueError for an unknown name."""
    check_one_of("mixer", name, MIXERS)
    row = MIXERS[name]
    return getattr(import_module(row.module), row.class_name)


def defaults(name: str) -> dict[str, Any]:
    """A mixer's options with their defaults."""
    return {option.name: option.default for option in inspect.signature(mixer_class(name)).parameters.values()}


def build(name: str, options: Mapping[str, Any]) -> Mixer:
    """The mixer of that name. ValueError with every unknown option and every value that is not allowed."""
    surplus = unknown(options, defaults(name), "option")
    if surplus:
        refuse([*surplus, *mistakes(options)], f"mixer {name}")
    return mixer_class(name)(**options)
