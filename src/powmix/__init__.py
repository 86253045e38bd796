"""powmix: a regulariser for multimodal models, and the laboratory around it. `from powmix import PowMix` is enough."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from powmix import mixing

if TYPE_CHECKING:
    from powmix.mixing import CMixup as CMixup
    from powmix.mixing import ManifoldMixup as ManifoldMixup
    from powmix.mixing import Mixed as Mixed
    from powmix.mixing import Mixer as Mixer
    from powmix.mixing import ModalityDropout as ModalityDropout
    from powmix.mixing import MultiMix as MultiMix
    from powmix.mixing import NoMixer as NoMixer
    from powmix.mixing import PowMix as PowMix
    from powmix.mixing import RegMixup as RegMixup

__version__ = "0.1.0"

__all__ = ["Mixed", "Mixer", *(row.class_name for row in mixing.MIXERS.values()), "__version__"]


def __getattr__(name: str) -> Any:
    """Mixers are imported when first used: `import powmix` alone imports no torch."""
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(mixing, name)
