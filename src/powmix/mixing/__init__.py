"""The mixers: pure torch, no configuration, no I/O, usable alone in anybody's training loop.

    from powmix import PowMix

    mixer = PowMix(n_out=256, subset=(2, 4), p_mix=0.5)
    generator = torch.Generator().manual_seed(1111)
    for batch, target in loader:                                  # target (B,), (B, 1) or soft classes (B, C)
        hidden = {name: encoder[name](batch[name]) for name in encoder}                       # each (B, D_m)
        mixed = mixer(hidden, target, generator=generator)                                    # n_out rows, or B
        prediction = head(torch.cat(list(mixed.hidden.values()), -1))
        loss = ((prediction - mixed.target).abs().squeeze(-1) * mixed.row_weight).sum()       # L1 with target (B, 1)
        optimizer.zero_grad(); loss.backward(); optimizer.step()

Call it in training only; at validation and test leave it out. `mixed.weights` holds the matrices by modality (None
for a clean mini-batch), `mixed.fallbacks` how often eq. (5) was undefined. `draw` and `apply` are the two halves of a
call: everything random, and mixing with known parameters. Names are imported when first used.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from powmix.mixing.c_mixup import CMixup
    from powmix.mixing.manifold_mixup import ManifoldMixup
    from powmix.mixing.mixed import Mixed, Mixer, clean
    from powmix.mixing.modality_dropout import ModalityDropout
    from powmix.mixing.multimix import MultiMix
    from powmix.mixing.none import NoMixer
    from powmix.mixing.powmix import PowMix
    from powmix.mixing.registry import NAMES, build, defaults
    from powmix.mixing.regmixup import RegMixup

HOMES = {
    "Mixed": "mixed",
    "Mixer": "mixed",
    "clean": "mixed",
    "PowMix": "powmix",
    "MultiMix": "multimix",
    "ManifoldMixup": "manifold_mixup",
    "CMixup": "c_mixup",
    "RegMixup": "regmixup",
    "ModalityDropout": "modality_dropout",
    "NoMixer": "none",
    "NAMES": "registry",
    "build": "registry",
    "defaults": "registry",
}

__all__ = [
    "NAMES",
    "CMixup",
    "ManifoldMixup",
    "Mixed",
    "Mixer",
    "ModalityDropout",
    "MultiMix",
    "NoMixer",
    "PowMix",
    "RegMixup",
    "build",
    "clean",
    "defaults",
]


def __getattr__(name: str) -> Any:
    if name not in HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{HOMES[name]}"), name)
