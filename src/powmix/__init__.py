"""powmix: a regulariser for multimodal models, and the laboratory around it. `from powmix import PowMix` is enough."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from powmix.mixing import CMixup, ManifoldMixup, Mixed, Mixer, ModalityDropout, MultiMix, NoMixer, PowMix, RegMixup

__version__ = "0.1.0"

__all__ = [
    "CMixup",
    "ManifoldMixup",
    "Mixed",
    "Mixer",
    "ModalityDropout",
    "MultiMix",
    "NoMixer",
    "PowMix",
    "RegMixup",
    "__version__",
]


def __getattr__(name: str) -> Any:
    """Mixers are imported when first used: `import powmix` alone imports no torch."""
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module("powmix.mixing"), name)
