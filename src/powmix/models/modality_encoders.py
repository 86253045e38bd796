"""One small encoder for each kind of modality: a vector, a sequence, an image or tokens, to a vector (B, width).

Each ends in dropout and a linear layer with ReLU: no entry is negative, so that PowMix's attention, eq. (5), has a
meaning. Padding is never read.
Shape suffixes: B batch, L steps, D features or channels, H hidden width.
"""

from __future__ import annotations

from collections.abc import Mapping
from itertools import pairwise
from typing import Any, cast

import torch
from torch import Tensor, nn

from powmix.data.splits import Batch, real_steps
from powmix.models.base import Inputs
from powmix.models.bert import TextEncoder
from powmix.models.dropout import Noise, dropout
from powmix.models.recurrent import first_valid_first, select_step
from powmix.models.sequences import Steps, with_positions
from powmix.models.transformer import TransformerLayer

KERNEL = 5
"""Steps that a convolution over time sees."""


class ModalityEncoder(nn.Module):
    """Reads one modality of a batch into (B, width). body: a module below, with its `width`."""

    def __init__(self, name: str, body: nn.Module, width: int, dropout: float):
        super().__init__()
        self.name, self.dropout = name, dropout
        self.body, self.output = body, nn.Linear(cast(int, body.width), width)

    def forward(self, batch: Batch, noise: Noise | None = None) -> Tensor:
        h_BH = self.body(batch, self.name, noise)
        return self.output(dropout(h_BH, self.dropout, noise)).relu()


class Vector(nn.Module):
    """ReLU layers with dropout between them: x (B, D) -> (B, H)."""

    def __init__(self, features: int, hidden: int, layers: int, dropout: float):
        super().__init__()
        self.width, self.dropout = hidden, dropout
        self.layers = nn.ModuleList(nn.Linear(hidden if n else features, hidden) for n in range(layers))

    def forward(self, batch: Batch, name: str, noise: Noise | None) -> Tensor:
        h = batch[name]
        for n, layer in enumerate(self.layers):
            h = layer(dropout(h, self.dropout, noise) if n else h).relu()
        return h


class Image(nn.Module):
    """3 x 3 convolutions with ReLU, each but the last halving the image; its mean and its maximum: (B, 2H).

    One convolution more than `layers`, since a single one sees nothing but edges.
    """

    def __init__(self, channels: int, hidden: int, layers: int, dropout: float):
        super().__init__()
        self.width, self.dropout = 2 * hidden, dropout
        widths = [channels, *[hidden] * (layers + 1)]
        self.layers = nn.ModuleList(nn.Conv2d(i, o, 3, padding=1) for i, o in pairwise(widths))

    def forward(self, batch: Batch, name: str, noise: Noise | None) -> Tensor:
        h = batch[name]
        for n, layer in enumerate(self.layers):
            if n:
                h = dropout(nn.functional.max_pool2d(h, 2, ceil_mode=True), self.dropout, noise)
            h = layer(h).relu()
        return torch.cat([h.mean((2, 3)), h.amax((2, 3))], dim=-1)


class Convolutions(nn.Module):
    """Convolutions over time with ReLU, then mean and maximum over the valid steps: (B, L, D) -> (B, 2H)."""

    def __init__(self, features: int, hidden: int, layers: int, dropout: float):
        super().__init__()
        self.width, self.dropout = 2 * hidden, dropout
        widths = [features, *[hidden] * layers]
        self.layers = nn.ModuleList(nn.Conv1d(i, o, KERNEL, padding=KERNEL // 2) for i, o in pairwise(widths))

    def forward(self, batch: Batch, name: str, noise: Noise | None) -> Tensor:
        h, mask_BL = valid_first(batch, name)
        for n, layer in enumerate(self.layers):
            h = dropout(h, self.dropout, noise) if n else h
            h = layer(h.transpose(1, 2)).transpose(1, 2).relu() * mask_BL.unsqueeze(-1)
        return torch.cat([mean_over(h, mask_BL), h.amax(1)], dim=-1)  # what is masked is 0, the least that ReLU gives


class Recurrent(nn.Module):
    """GRUs (Cho et al. 2014), dropout between them, read after the last valid step: (B, L, D) -> (B, H)."""

    def __init__(self, features: int, hidden: int, layers: int, dropout: float):
        super().__init__()
        self.width, self.dropout = hidden, dropout
        self.layers = nn.ModuleList(nn.GRU(hidden if n else features, hidden, batch_first=True) for n in range(layers))

    def forward(self, batch: Batch, name: str, noise: Noise | None) -> Tensor:
        h, mask_BL = valid_first(batch, name)
        for n, layer in enumerate(self.layers):
            h, _ = layer(dropout(h, self.dropout, noise) if n else h)
        return select_step(h, mask_BL.sum(-1) - 1)


class Transformer(nn.Module):
    """Transformer layers over steps with sinusoidal positions, then the mean over valid steps: (B, L, D) -> (B, H)."""

    def __init__(self, features: int, hidden: int, layers: int, dropout: float):
        super().__init__()
        self.width, self.dropout = hidden, dropout
        self.input = nn.Linear(features, hidden)
        self.layers = nn.ModuleList(TransformerLayer(hidden, inner=4 * hidden, dropout=dropout) for _ in range(layers))

    def forward(self, batch: Batch, name: str, noise: Noise | None) -> Tensor:
        x, mask_BL = valid_first(batch, name)
        h = dropout(with_positions(Steps(self.input(x))), self.dropout, noise)
        for layer in self.layers:
            h = layer(h, noise, mask_BL)
        return mean_over(h, mask_BL)


class Tokens(nn.Module):
    """The mean over tokens of a text encoder's last hidden states: (B, encoder width)."""

    def __init__(self, inputs: Inputs, text: Mapping[str, Any]):
        super().__init__()
        self.encoder = TextEncoder(inputs, **text)
        self.width = self.encoder.width

    def forward(self, batch: Batch, name: str, noise: Noise | None) -> Tensor:
        states_BLD, mask_BL = self.encoder(batch.tokens, noise)
        return mean_over(states_BLD, mask_BL)


SEQUENCES = {"conv": Convolutions, "gru": Recurrent, "transformer": Transformer}
"""By `sequence_encoder`, what reads a sequence."""


def valid_first(batch: Batch, name: str) -> tuple[Tensor, Tensor]:
    """A sequence as far as the batch's longest (B, L', D), padding on the right and zero, and its mask (B, L').

    An empty sequence is one step of zeros.
    """
    x_BLD, lengths_B = batch[name], batch.lengths[name].clamp(max=batch[name].shape[1])
    x_BLD = x_BLD.where(real_steps(lengths_B, batch.side[name], x_BLD.shape[1]).unsqueeze(-1), 0)
    lengths_B = lengths_B.clamp(min=1)
    if batch.side[name] == "left":
        x_BLD = first_valid_first(x_BLD, lengths_B)
    longest = int(lengths_B.max())
    return x_BLD[:, :longest], real_steps(lengths_B, "right", longest)


def mean_over(x_BLD: Tensor, mask_BL: Tensor) -> Tensor:
    """The mean over the steps of a mask: (B, D)."""
    weight_BL = mask_BL / mask_BL.sum(-1, keepdim=True)
    return (x_BLD * weight_BL.unsqueeze(-1)).sum(1)
