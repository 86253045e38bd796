"""Padded sequences: which modalities are some, their valid steps, who may attend to whom, and positions.

Shape suffixes: G networks, B batch, L steps, Q and K query and key steps, E width.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from powmix.data.splits import MODALITIES, Batch
from powmix.models.base import Inputs

ADVICE = "model=late_fusion takes any number of any kind"


def sequential(model: str, inputs: Inputs) -> tuple[str, ...]:
    """The modalities of a dataset, the paper's first; a vector counts as a sequence of one step.

    ValueError where there are fewer than two, and where one is an image.
    """
    names = tuple(name for name in MODALITIES if name in inputs.dims)
    names += tuple(name for name in inputs.dims if name not in MODALITIES)
    images = [name for name in names if inputs.kind(name) == "image"]
    if images:
        raise ValueError(f"model {model} reads sequences and vectors, {', '.join(images)} holds images: {ADVICE}")
    if len(names) < 2:
        raise ValueError(f"model {model} needs two modalities or more, got {', '.join(names) or 'none'}: {ADVICE}")
    return names


def refuse_other_kinds(model: str, inputs: Inputs) -> None:
    """ValueError where audio or vision, which a model with a text encoder reads step by step, is no sequence."""
    others = [
        f"{name} is of kind {inputs.kind(name)}" for name in ("audio", "vision") if inputs.kind(name) != "sequence"
    ]
    if others:
        raise ValueError(f"model {model} reads sequences (N, L, D), {', '.join(others)}: {ADVICE}")


@dataclass(frozen=True)
class Steps:
    """A batch of sequences. x (B, L, E); lengths: valid steps (B,), None where all are; side: where padding stands."""

    x: Tensor
    lengths: Tensor | None = None
    side: str = "right"

    def start(self) -> Tensor | int:
        """The first valid step, (B, 1) or 0."""
        if self.lengths is None or self.side == "right":
            return 0
        return (self.x.shape[1] - self.lengths).unsqueeze(-1)

    def last(self) -> Tensor | int:
        """The last valid step, (B,), or a number where all steps are valid."""
        if self.lengths is None:
            return self.x.shape[1] - 1
        return self.lengths - 1 if self.side == "right" else torch.full_like(self.lengths, self.x.shape[1] - 1)

    def valid(self) -> Tensor:
        """(B, L, 1), bool; only with lengths."""
        assert self.lengths is not None
        step_BL = torch.arange(self.x.shape[1], device=self.x.device) - self.start()
        return ((step_BL >= 0) & (step_BL < self.lengths.unsqueeze(-1))).unsqueeze(-1)


def steps_of(batch: Batch, name: str, masked: bool) -> Steps:
    """A modality of a batch, a vector as one step; without `masked` all steps count."""
    x = batch[name]
    if x.dim() == 2:
        return Steps(x.unsqueeze(1), torch.ones(len(x), dtype=torch.int64, device=x.device) if masked else None)
    return Steps(x, batch.lengths[name].clamp(min=1) if masked else None, batch.side[name])


def attention_bias(queries: Sequence[Steps], keys: Sequence[Steps]) -> Tensor | None:
    """What query i may not see: -inf where key j > i + |K - Q| and on padding, else 0; None where all is seen.

    queries, keys: one of each by network, all of one length. Returns (Q, K) without lengths, else (G * B, Q, K). With
    lengths, i and j count from the first valid step and K and Q are the valid lengths, so that a sequence is treated as
    it would be alone, unpadded; the steps before the first valid query see what the first sees.
    """
    steps_Q, steps_K = queries[0].x.shape[1], keys[0].x.shape[1]
    if keys[0].lengths is not None:
        return _bias(torch.cat([_visible(q, k) for q, k in zip(queries, keys, strict=True)]))
    if abs(steps_K - steps_Q) >= steps_K - 1:
        return None
    return _bias(_visible(queries[0], keys[0]))


def _bias(visible: Tensor) -> Tensor:
    return torch.zeros(visible.shape, device=visible.device).masked_fill_(~visible, -torch.inf)


def _visible(query: Steps, key: Steps) -> Tensor:
    """(Q, K) or (B, Q, K), bool."""
    i_Q = torch.arange(query.x.shape[1], device=key.x.device) - query.start()
    j_K = torch.arange(key.x.shape[1], device=key.x.device) - key.start()
    offset: Tensor | int
    length: Tensor | int
    if key.lengths is None or query.lengths is None:
        offset, length = abs(key.x.shape[1] - query.x.shape[1]), key.x.shape[1]
    else:
        offset, length = (key.lengths - query.lengths).abs()[:, None, None], key.lengths[:, None, None]
    i_Q1, j_1K = i_Q.clamp(min=0).unsqueeze(-1), j_K.unsqueeze(-2)
    return (j_1K <= i_Q1 + offset) & (j_1K >= 0) & (j_1K < length)


def with_positions(steps: Steps) -> Tensor:
    """x plus sinusoidal positions, from 1 at the first valid step (Vaswani et al. 2017; sines, then cosines)."""
    x = steps.x
    half = x.shape[-1] // 2
    rate_H = torch.exp(torch.arange(half, device=x.device) * -(math.log(10000) / max(half - 1, 1)))
    position_BL = (torch.arange(x.shape[1], device=x.device) - steps.start() + 1).clamp(min=0)
    angle_BLH = position_BL.unsqueeze(-1) * rate_H
    return x + F.pad(torch.cat([angle_BLH.sin(), angle_BLH.cos()], dim=-1), (0, x.shape[-1] % 2))
