"""Modality dropout, as in M3 (Georgiou et al., Interspeech 2021): some examples lose one modality."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Generator, Tensor

from powmix.mixing.convex import check, spread
from powmix.mixing.draws import device_of, unit
from powmix.mixing.mixer import Hidden, Mixed, Mixer, equal_weight


class Losses(NamedTuple):
    """What is random in modality dropout. lost_B: index of the modality each example loses, -1 for none."""

    lost_B: Tensor


@dataclass(eq=False)
class ModalityDropout(Mixer):
    """Set some hidden vectors to 0: with probability p, an example's vector of one modality, chosen uniformly.

    Nothing is rescaled. Rows and targets stay the examples' own, so the weights are the identity although the
    hidden states changed. A lone modality is never dropped.
    """

    p: float = 0.2

    def draw(self, hidden: Hidden, target: Tensor, generator: Generator | None) -> Losses:
        size, modalities = target.shape[0], len(hidden)
        which_B = torch.randint(modalities, (size,), generator=generator, device=device_of(generator))
        hit_B = unit((size,), generator) < (self.p if modalities > 1 else 0.0)
        return Losses(torch.where(hit_B, which_B, -1))

    def apply(self, parameters: Losses, hidden: Hidden, target: Tensor) -> Mixed:
        check(hidden, target)
        lost_B = parameters.lost_B.to(target.device, non_blocking=True)
        kept = {
            name: h.masked_fill((lost_B == index).view(-1, *[1] * (h.ndim - 1)), 0)
            for index, (name, h) in enumerate(hidden.items())
        }
        identity = torch.eye(target.shape[0], device=target.device, dtype=torch.float32)
        statistics: dict[str, Tensor | float] = {"mean_k": 1.0, "label_spread": spread(target)}
        return Mixed(kept, target, equal_weight(target), dict.fromkeys(hidden, identity), statistics=statistics)
