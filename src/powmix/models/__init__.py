"""The architectures: each encodes modalities, which a mixer may mix, and fuses them.

Names that need torch are imported when first used: a mistake on the command line is told without it.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from powmix.models.registry import NAMES, TITLES, build, defaults, model_class, needs

if TYPE_CHECKING:
    from powmix.models.base import Encoded, FusionModel, Inputs, inputs_of
    from powmix.models.dropout import Noise

HOMES = {"Encoded": "base", "FusionModel": "base", "Inputs": "base", "inputs_of": "base", "Noise": "dropout"}

__all__ = [
    "NAMES",
    "TITLES",
    "Encoded",
    "FusionModel",
    "Inputs",
    "Noise",
    "build",
    "defaults",
    "inputs_of",
    "model_class",
    "needs",
]


def __getattr__(name: str) -> Any:
    if name not in HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{HOMES[name]}"), name)
