"""Sequences of unequal length side by side: valid steps, attention biases, positions, and which networks to bundle.

Shape suffixes: S seeds (absent alone), G networks, B batch, Q and K query and key steps, L steps, E width.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

DISPATCH = 1e6
"""What launching a bundle's operations costs an example, in multiply-adds (some 40 of them for 16 to 32 examples)."""


@dataclass(frozen=True)
class Steps:
    """x (*S, B, L, E). lengths: valid steps (*S, B), or None where every step counts; side: where padding stands."""

    x: Tensor
    lengths: Tensor | None = None
    side: str = "right"

    def start(self) -> Tensor | int:
        """The first valid step, (*S, B, 1) or 0."""
        if self.lengths is None or self.side == "right":
            return 0
        return (self.x.shape[-2] - self.lengths).unsqueeze(-1)

    def last(self) -> Tensor | int:
        """The last valid step, (*S, B) or a number."""
        if self.lengths is None or self.side == "left":
            return self.x.shape[-2] - 1
        return self.lengths - 1

    def valid(self) -> Tensor:
        """(*S, B, L, 1), bool; only with lengths."""
        step_BL = torch.arange(self.x.shape[-2], device=self.x.device) - self.start()
        return ((step_BL >= 0) & (step_BL < self.lengths.unsqueeze(-1))).unsqueeze(-1)


def padded(parts: Sequence[Tensor]) -> Tensor:
    """Networks' inputs (*S, B, L_g, E), the shorter ones with zero rows behind: (*S, G, B, L, E)."""
    steps = max(x.shape[-2] for x in parts)
    return torch.stack([F.pad(x, (0, 0, 0, steps - x.shape[-2])) if x.shape[-2] < steps else x for x in parts], dim=-4)


def bundles(lengths: Sequence[tuple[int, int]], width: int, heads: int) -> list[slice]:
    """Which consecutive networks run as one computation, padded to equal lengths, by their (query, key) lengths.

    All, or by target both or each alone: whichever costs least. The cost of an example and layer in multiply-adds is
    10 E^2 a query step, 2 E^2 a key step, 300 a score (measured: scores are bound by memory, not by arithmetic) and
    DISPATCH a bundle.
    """

    def cost(part: slice) -> float:
        queries, keys = (max(length[side] for length in lengths[part]) for side in (0, 1))
        work = width**2 * (10 * queries + 2 * keys) + 300 * heads * queries * keys
        return len(lengths[part]) * work + DISPATCH

    def cheapest(*choices: list[slice]) -> list[slice]:
        return min(choices, key=lambda choice: sum(map(cost, choice)))

    by_target = []
    for start in range(0, len(lengths), 2):
        stop = min(start + 2, len(lengths))
        by_target += cheapest([slice(start, stop)], [slice(g, g + 1) for g in range(start, stop)])
    return cheapest([slice(0, len(lengths))], by_target)


def attention_bias(queries: Sequence[Steps], keys: Sequence[Steps]) -> Tensor | None:
    """What query i may not see: -inf where key j > i + |K - Q| and on padding, else 0; None where all is seen.

    queries, keys: one of each by network. Returns (Q, K) where all networks and sequences agree, else (N, Q, K),
    N = S * G * B. With lengths, i and j count from the first valid step and K and Q are the valid lengths, so that a
    sequence is treated as it would be alone, unpadded; the steps before the first valid query see what the first sees.
    """
    steps_Q, steps_K = (max(part.x.shape[-2] for part in parts) for parts in (queries, keys))
    pairs = list(zip(queries, keys, strict=True))
    if len({(q.x.shape[-2], k.x.shape[-2]) for q, k in pairs}) == 1 and all(k.lengths is None for k in keys):
        if abs(steps_K - steps_Q) >= steps_K - 1:
            return None
        return _bias(_visible(*pairs[0], steps_Q, steps_K))
    seen = [_visible(q, k, steps_Q, steps_K) for q, k in pairs]
    batch = pairs[0][0].x.shape[:-2]
    return _bias(torch.stack([part.expand(*batch, steps_Q, steps_K) for part in seen], dim=-4)).flatten(0, -3)


def _bias(visible: Tensor) -> Tensor:
    return torch.zeros(visible.shape, device=visible.device).masked_fill_(~visible, -torch.inf)


def _visible(query: Steps, key: Steps, steps_Q: int, steps_K: int) -> Tensor:
    """(Q, K) or (*S, B, Q, K), bool."""
    device = key.x.device
    i_Q = torch.arange(steps_Q, device=device) - query.start()
    j_K = torch.arange(steps_K, device=device) - key.start()
    if key.lengths is None:
        offset, length = abs(key.x.shape[-2] - query.x.shape[-2]), key.x.shape[-2]
    else:
        offset, length = (key.lengths - query.lengths).abs()[..., None, None], key.lengths[..., None, None]
    i_Q1, j_1K = i_Q.clamp(min=0).unsqueeze(-1), j_K.unsqueeze(-2)
    return (j_1K <= i_Q1 + offset) & (j_1K >= 0) & (j_1K < length)


def with_positions(steps: Steps) -> Tensor:
    """x plus sinusoidal positions, from 1 at the first valid step (Vaswani et al. 2017; sines, then cosines)."""
    x = steps.x
    half = x.shape[-1] // 2
    rate_H = torch.exp(torch.arange(half, device=x.device) * -(math.log(10000) / max(half - 1, 1)))
    position_BL = (torch.arange(x.shape[-2], device=x.device) - steps.start() + 1).clamp(min=0)
    angle_BLH = position_BL.unsqueeze(-1) * rate_H
    return x + F.pad(torch.cat([angle_BLH.sin(), angle_BLH.cos()], dim=-1), (0, x.shape[-1] % 2))
