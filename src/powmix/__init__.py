"""powmix: a regulariser for multimodal models, and the laboratory around it. `from powmix import PowMix` is enough.

A laboratory of your own registers what it adds and ends in `powmix.main()`: docs/own.md.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from powmix import mixing

if TYPE_CHECKING:
    from powmix.__main__ import lab as main  # noqa: F401
    from powmix.data.splits import Batch as Batch
    from powmix.data.splits import Splits as Splits
    from powmix.metrics.losses import register_loss as register_loss
    from powmix.metrics.registry import register_metric as register_metric
    from powmix.mixing import BMM as BMM
    from powmix.mixing import CMixup as CMixup
    from powmix.mixing import ManifoldMixup as ManifoldMixup
    from powmix.mixing import Mixed as Mixed
    from powmix.mixing import Mixer as Mixer
    from powmix.mixing import ModalityDropout as ModalityDropout
    from powmix.mixing import MSMix as MSMix
    from powmix.mixing import MultiMix as MultiMix
    from powmix.mixing import NoMixer as NoMixer
    from powmix.mixing import PowMix as PowMix
    from powmix.mixing import RegMixup as RegMixup
    from powmix.models.base import FusionModel as FusionModel
    from powmix.models.base import Inputs as Inputs
    from powmix.plugins import register_dataset as register_dataset
    from powmix.plugins import register_mixer as register_mixer
    from powmix.plugins import register_model as register_model
    from powmix.use.trained import load as load

__version__ = "0.1.0"

HOMES = {
    "main": ("powmix.__main__", "lab"),
    **{name: ("powmix.data.splits", name) for name in ("Batch", "Splits")},
    **{name: ("powmix.models.base", name) for name in ("FusionModel", "Inputs")},
    "load": ("powmix.use.trained", "load"),
    "register_loss": ("powmix.metrics.losses", "register_loss"),
    "register_metric": ("powmix.metrics.registry", "register_metric"),
    **{f"register_{kind}": ("powmix.plugins", f"register_{kind}") for kind in ("dataset", "mixer", "model")},
}
"""Where the names live that are no mixers; all are imported when first used: `import powmix` alone imports no torch."""

__all__ = ["Mixed", "Mixer", *(row.class_name for row in mixing.MIXERS.values()), *HOMES, "__version__"]


def __getattr__(name: str) -> Any:
    if name in HOMES:
        module, own = HOMES[name]
        return getattr(import_module(module), own)
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(mixing, name)
