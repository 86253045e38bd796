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
for a clean mini-batch), `mixed.mask` rebuilds the padding mask of mixed sequences, `mixed.fallbacks` counts where
eq. (5) was undefined. `draw` and `apply` are the two halves of a call: everything random or remembered, and mixing with
known parameters. Classes are imported when first used, and torch with them.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from powmix.mixing.registry import MIXERS, build, defaults

if TYPE_CHECKING:
    from powmix.mixing.b_mm import BMM as BMM
    from powmix.mixing.c_mixup import CMixup as CMixup
    from powmix.mixing.manifold_mixup import ManifoldMixup as ManifoldMixup
    from powmix.mixing.mixer import Mixed as Mixed
    from powmix.mixing.mixer import Mixer as Mixer
    from powmix.mixing.mixer import NoMixer as NoMixer
    from powmix.mixing.mixer import clean as clean
    from powmix.mixing.modality_dropout import ModalityDropout as ModalityDropout
    from powmix.mixing.ms_mix import MSMix as MSMix
    from powmix.mixing.multimix import MultiMix as MultiMix
    from powmix.mixing.powmix import PowMix as PowMix
    from powmix.mixing.regmixup import RegMixup as RegMixup

MODULES = {row.class_name: row.module for row in MIXERS.values()} | dict.fromkeys(
    ("Mixed", "Mixer", "clean"), "powmix.mixing.mixer"
)
"""Where each name lives that is imported when first used."""

__all__ = ["MIXERS", "build", "defaults", *MODULES]


def __getattr__(name: str) -> Any:
    if name not in MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(MODULES[name]), name)
