"""Sequences: which modalities are some, their valid steps, who may attend to whom, and positions.

Shape suffixes: G networks, B batch, L steps, R lines of S places (packing.py), Q and K query and key places, E width.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from powmix.data.splits import MODALITIES, Batch, Side
from powmix.models.base import Inputs
from powmix.models.packing import Places

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
    """A batch of sequences x (R, S, E). places: whose steps these are; None: a row is an example, all of it valid."""

    x: Tensor
    places: Places | None = None


def valid_steps(batch: Batch, name: str) -> tuple[Tensor, Tensor, Side]:
    """A modality (B, L, D), its lengths (B,) of 1 at least, and the side of its padding; a vector is one step."""
    x = batch[name]
    if x.dim() == 2:
        return x.unsqueeze(1), torch.ones(len(x), dtype=torch.int64, device=x.device), "right"
    return x, batch.lengths[name].clamp(min=1), batch.side[name]


def attention_bias(queries: Sequence[Steps], keys: Sequence[Steps]) -> Tensor | None:
    """What query i may not see: -inf where key j > i + |K - Q| and on what is not its own, else 0; None: all is seen.

    queries, keys: one of each by network, all of one length. Returns (Q, K) without places, else (G * R, Q, K). With
    places, i, j, K and Q are of each sequence alone, as if it were never padded; nobody's queries see everything.
    """
    if keys[0].places is not None:
        return _bias(torch.cat([_visible(q.places, k.places) for q, k in zip(queries, keys, strict=True)]))
    steps_Q, steps_K = queries[0].x.shape[1], keys[0].x.shape[1]
    offset = abs(steps_K - steps_Q)
    if offset >= steps_K - 1:
        return None
    i_Q1 = torch.arange(steps_Q, device=keys[0].x.device).unsqueeze(-1)
    return _bias(torch.arange(steps_K, device=i_Q1.device) <= i_Q1 + offset)


def _bias(visible: Tensor) -> Tensor:
    return torch.zeros(visible.shape, device=visible.device).masked_fill_(~visible, -torch.inf)


def _visible(query: Places | None, key: Places | None) -> Tensor:
    """(R, Q, K), bool."""
    assert query is not None and key is not None
    owner_RQ1 = query.owner_RS.unsqueeze(-1)
    offset_RQ1 = (key.lengths_B - query.lengths_B).abs()[owner_RQ1.clamp(min=0)]
    comes_RQK = key.number_RS.unsqueeze(-2) <= query.number_RS.unsqueeze(-1) + offset_RQ1
    return (comes_RQK & (key.owner_RS.unsqueeze(-2) == owner_RQ1)) | (owner_RQ1 < 0)


def with_positions(steps: Steps) -> Tensor:
    """x plus sinusoidal positions, from 1 at the first valid step (Vaswani et al. 2017; sines, then cosines)."""
    x, places = steps.x, steps.places
    half = x.shape[-1] // 2
    rate_H = torch.exp(torch.arange(half, device=x.device) * -(math.log(10000) / max(half - 1, 1)))
    number_S = torch.arange(x.shape[1], device=x.device) if places is None else places.number_RS
    angle_SH = (number_S + 1).unsqueeze(-1) * rate_H
    return x + F.pad(torch.cat([angle_SH.sin(), angle_SH.cos()], dim=-1), (0, x.shape[-1] % 2))
