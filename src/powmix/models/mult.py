"""MulT: the Multimodal Transformer (Tsai et al., ACL 2019) without CTC, as in thuiar/MMSA at a94e65d.

Shape suffixes: B batch, L steps, E width (dim), R rows of fusion.
"""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from powmix.data.splits import MODALITIES, Batch
from powmix.models.base import Encoded, FusionModel, Inputs
from powmix.models.crossmodal import Encoders
from powmix.models.dropout import Noise, dropout
from powmix.models.sequences import Steps

PAIRS = tuple((target, source) for target in MODALITIES for source in MODALITIES if source != target)
"""The six crossmodal networks, target with source: ta, tv, at, av, vt, va."""


class MulT(FusionModel):
    """Six crossmodal encoders, then one memory encoder a target; the mix point is its last step (B, 2 dim).

    Options: conf/model/mult.yaml. mask_padding: keys by valid length, and the last valid step; positions: sinusoidal
    ones (the published code has none); configured_decay: false ignores the recipe's weight decay, as the published code
    does.
    """

    switches = ("mask_padding", "positions", "configured_decay")

    def __init__(
        self,
        inputs: Inputs,
        dim: int = 50,
        heads: int = 10,
        levels: int = 4,
        kernel_text: int = 5,
        kernel_audio: int = 5,
        kernel_vision: int = 5,
        text_dropout: float = 0.5,
        attn_dropout: float = 0.3,
        attn_dropout_audio: float = 0.2,
        attn_dropout_vision: float = 0.0,
        relu_dropout: float = 0.0,
        embed_dropout: float = 0.2,
        res_dropout: float = 0.0,
        output_dropout: float = 0.5,
        mask_padding: bool = False,
        positions: bool = False,
        configured_decay: bool = False,
    ):
        super().__init__()
        if dim % heads:
            raise ValueError(f"model mult: dim must be a multiple of heads, got dim={dim}, heads={heads}")
        self.text_dropout, self.output_dropout = text_dropout, output_dropout
        self.mask_padding, self.configured_decay = mask_padding, configured_decay
        kernels = {"text": kernel_text, "audio": kernel_audio, "vision": kernel_vision}
        self.projections = nn.ModuleDict(
            {
                name: nn.Conv1d(inputs.dims[name], dim, _fitting(name, kernel, inputs.steps[name]), bias=False)
                for name, kernel in kernels.items()
                if inputs.dims[name] != dim
            }
        )
        by_source = {"text": attn_dropout, "audio": attn_dropout_audio, "vision": attn_dropout_vision}
        common = (relu_dropout, embed_dropout, res_dropout, positions)
        self.crossmodal = Encoders(dim, heads, levels, [by_source[source] for _, source in PAIRS], *common)
        self.memory = Encoders(2 * dim, heads, max(levels, 3), [attn_dropout] * len(MODALITIES), *common)
        self.linear_1, self.linear_2 = nn.Linear(6 * dim, 6 * dim), nn.Linear(6 * dim, 6 * dim)
        self.output = nn.Linear(6 * dim, inputs.outputs)

    def encode(self, batch: Batch, noise: Noise | None = None) -> Encoded:
        projected = {name: self._project(batch, name, noise) for name in MODALITIES}
        targets, sources = ([projected[pair[side]] for pair in PAIRS] for side in (0, 1))
        crossed = self.crossmodal.crossmodal(targets, sources, noise)
        sequences = []
        for name, first, second in zip(MODALITIES, crossed[::2], crossed[1::2], strict=True):
            sequences.append(Steps(torch.cat([first, second], dim=-1), projected[name].lengths, projected[name].side))
        return Encoded(dict(zip(MODALITIES, self.memory.memory(sequences, noise), strict=True)))

    def fuse(self, hidden: Mapping[str, Tensor], noise: Noise | None = None) -> Tensor:
        joined = torch.cat([hidden[name] for name in MODALITIES], dim=-1)
        h = dropout(self.linear_1(joined).relu(), self.output_dropout, noise)
        return self.output(joined + self.linear_2(h))

    def parameter_groups(self, optimizer: Mapping[str, Any]) -> list[dict[str, Any]]:
        decay = optimizer["weight_decay"] if self.configured_decay else 0.0
        return super().parameter_groups({**optimizer, "weight_decay": decay})

    def _project(self, batch: Batch, name: str, noise: Noise | None) -> Steps:
        """A modality's sequence convolved to width E: (B, L - kernel + 1, E)."""
        lengths = batch.lengths[name].clamp(min=1) if self.mask_padding else None
        steps = Steps(batch.features[name], lengths, batch.side[name])
        x = steps.x if lengths is None else steps.x.where(steps.valid(), 0)
        if name == "text":
            x = dropout(x, self.text_dropout, noise)
        if name not in self.projections:
            return Steps(x, lengths, steps.side)
        convolution = self.projections[name]
        (kernel,) = convolution.kernel_size
        missing = max(kernel - x.shape[1], 0)
        if missing:
            x = F.pad(x, (0, 0, 0, missing) if steps.side == "right" else (0, 0, missing, 0))
        shorter = None if lengths is None else (lengths - kernel + 1).clamp(min=1)
        return Steps(convolution(x.transpose(1, 2)).transpose(1, 2), shorter, steps.side)


def _fitting(name: str, kernel: int, steps: int) -> int:
    """The kernel, cut to the length of the sequence with a warning."""
    if kernel > steps:
        warnings.warn(f"model mult: kernel_{name}={kernel} is cut to {steps}, the length of {name}", stacklevel=3)
    return min(kernel, steps)
