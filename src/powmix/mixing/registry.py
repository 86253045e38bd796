"""Mixers by name: what the configuration says, found without importing what is not asked for."""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from importlib import import_module
from typing import TYPE_CHECKING, Any

from powmix.mixing.checks import mistakes, nearest, refuse

if TYPE_CHECKING:
    from powmix.mixing.mixed import Mixer

CLASSES = {
    "none": ("powmix.mixing.none", "NoMixer"),
    "manifold_mixup": ("powmix.mixing.manifold_mixup", "ManifoldMixup"),
    "multimix": ("powmix.mixing.multimix", "MultiMix"),
    "powmix": ("powmix.mixing.powmix", "PowMix"),
    "c_mixup": ("powmix.mixing.c_mixup", "CMixup"),
    "regmixup": ("powmix.mixing.regmixup", "RegMixup"),
    "modality_dropout": ("powmix.mixing.modality_dropout", "ModalityDropout"),
}
NAMES = tuple(CLASSES)


def mixer_class(name: str) -> type[Mixer]:
    """The class of a mixer. ValueError with the nearest match for an unknown name."""
    if name not in CLASSES:
        raise ValueError(f"mixer must be one of {', '.join(NAMES)}, got {name!r}{nearest(name, NAMES)}")
    module, attribute = CLASSES[name]
    return getattr(import_module(module), attribute)


def defaults(name: str) -> dict[str, Any]:
    """A mixer's options with their defaults."""
    return {option.name: option.default for option in inspect.signature(mixer_class(name)).parameters.values()}


def build(name: str, options: Mapping[str, Any]) -> Mixer:
    """The mixer of that name. ValueError lists every unknown option (with the nearest) and every bad value."""
    allowed = defaults(name)
    unknown = [f"unknown option {key!r}{nearest(key, allowed)}" for key in options if key not in allowed]
    refuse(f"mixer {name}", unknown + mistakes({key: options[key] for key in options if key in allowed}))
    return mixer_class(name)(**options)
