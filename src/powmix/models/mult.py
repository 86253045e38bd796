"""MulT: the Multimodal Transformer (Tsai et al., ACL 2019) without CTC, as in thuiar/MMSA at a94e65d.

Shape suffixes: B batch, L steps, E width (dim), R rows of fusion.
"""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from itertools import islice
from typing import Any, cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from powmix.data.splits import MODALITIES, Batch
from powmix.models.base import Encoded, FusionModel, Inputs
from powmix.models.crossmodal import Encoders
from powmix.models.dropout import Noise, dropout
from powmix.models.packing import are_near, beside, end_to_end, in_lines
from powmix.models.sequences import Steps, sequential, valid_steps


def pairs_of(modalities: Sequence[str]) -> list[tuple[str, str]]:
    """The crossmodal networks, target with source: of the paper's three, ta, tv, at, av, vt, va."""
    return [(target, source) for target in modalities for source in modalities if source != target]


class MulT(FusionModel):
    """A crossmodal encoder for every ordered pair of M >= 2 modalities, then one memory encoder a target.

    The mix point is the memory's last step (B, (M - 1) dim); the paper has six crossmodal encoders of text, audio and
    vision. A vector is a sequence of one step; modalities of other names have the options of audio.
    Options: conf/model/mult.yaml. mask_padding: keys by valid length, and the last valid step; positions: sinusoidal
    ones (the published code has none); configured_decay: false ignores the recipe's weight decay, as the published code
    does.
    """

    needs = ("*",)
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
        self.modalities = sequential("mult", inputs)
        self.pairs = pairs_of(self.modalities)
        kernels = {"text": kernel_text, "vision": kernel_vision}
        self.projections = nn.ModuleDict()
        for place, name in enumerate(self.modalities):
            if inputs.dims[name] != dim:
                kernel = _fitting(name, kernels.get(name, kernel_audio), inputs)
                key = name if name in MODALITIES else str(place)  # a name may hold what a module's cannot
                self.projections[key] = nn.Conv1d(inputs.dims[name], dim, kernel, bias=False)
        by_source = {"text": attn_dropout, "vision": attn_dropout_vision}
        rates = [by_source.get(source, attn_dropout_audio) for _, source in self.pairs]
        common = (relu_dropout, embed_dropout, res_dropout, positions)
        self.crossmodal = Encoders(dim, heads, levels, rates, *common)
        others = len(self.modalities) - 1
        self.memory = Encoders(others * dim, heads, max(levels, 3), [attn_dropout] * len(self.modalities), *common)
        fused = len(self.pairs) * dim
        self.linear_1, self.linear_2 = nn.Linear(fused, fused), nn.Linear(fused, fused)
        self.output = nn.Linear(fused, inputs.outputs)

    def encode(self, batch: Batch, noise: Noise | None = None) -> Encoded:
        laid = self._laid_in_lines(batch, noise) if self.mask_padding else self._laid_as_padded(batch, noise)
        targets, sources = ([laid[pair[side]] for pair in self.pairs] for side in (0, 1))
        crossed = iter(self.crossmodal.crossmodal(targets, sources, noise))
        sequences = []
        for name in self.modalities:
            joined = torch.cat(list(islice(crossed, len(self.modalities) - 1)), dim=-1)
            sequences.append(Steps(joined, laid[name].places))
        return Encoded(dict(zip(self.modalities, self.memory.memory(sequences, noise), strict=True)))

    def fuse(self, hidden: Mapping[str, Tensor], noise: Noise | None = None) -> Tensor:
        joined = torch.cat([hidden[name] for name in self.modalities], dim=-1)
        h = dropout(self.linear_1(joined).relu(), self.output_dropout, noise)
        return self.output(joined + self.linear_2(h))

    def parameter_groups(self, optimizer: Mapping[str, Any]) -> list[dict[str, Any]]:
        decay = optimizer["weight_decay"] if self.configured_decay else 0.0
        return super().parameter_groups({**optimizer, "weight_decay": decay})

    def _laid_as_padded(self, batch: Batch, noise: Noise | None) -> dict[str, Steps]:
        """By modality, what its convolution gives of all steps, padding included: (B, L - kernel + 1, E).

        Those of nearly equal lengths get equal ones, with places that nobody sees: nine networks are two computations.
        """
        convolved = {name: self._convolved(batch, name, noise) for name in self.modalities}
        steps = [x.shape[1] for x in convolved.values()]
        if min(steps) == max(steps) or not are_near(steps):
            return {name: Steps(x) for name, x in convolved.items()}
        places = beside(steps, len(batch.target), batch.target.device)
        longer = [F.pad(x, (0, 0, 0, max(steps) - x.shape[1])) for x in convolved.values()]
        return dict(zip(self.modalities, map(Steps, longer, places), strict=True))

    def _convolved(self, batch: Batch, name: str, noise: Noise | None) -> Tensor:
        x = batch[name] if batch[name].dim() == 3 else batch[name].unsqueeze(1)
        if name == "text":
            x = dropout(x, self.text_dropout, noise)
        convolution = self._convolution(name)
        if convolution is None:
            return x
        missing = max(convolution.kernel_size[0] - x.shape[1], 0)
        if missing:
            x = F.pad(x, (0, 0, 0, missing) if batch.side[name] == "right" else (0, 0, missing, 0))
        return convolution(x.transpose(1, 2)).transpose(1, 2)

    def _laid_in_lines(self, batch: Batch, noise: Noise | None) -> dict[str, Steps]:
        """By modality, what its convolution gives of the valid steps alone, several examples to a line (packing.py)."""
        convolved, starts, lengths = [], [], []
        for name in self.modalities:
            x_BLD, length_B, side = valid_steps(batch, name)
            convolution = self._convolution(name)
            kernel = 1 if convolution is None else convolution.kernel_size[0]
            x_TD, start_B = end_to_end(x_BLD, length_B, side, kernel)
            if name == "text":
                x_TD = dropout(x_TD, self.text_dropout, noise)
            # end to end is one sequence; no line takes the steps of which the kernel sees two examples
            convolved.append(x_TD if convolution is None else convolution(x_TD.T.unsqueeze(0)).squeeze(0).T)
            starts.append(start_B)
            lengths.append((length_B - kernel + 1).clamp(min=1))
        laid = zip(in_lines(lengths), convolved, starts, strict=True)
        steps = [Steps(places.fill(x_TE, start_B), places) for places, x_TE, start_B in laid]
        return dict(zip(self.modalities, steps, strict=True))

    def _convolution(self, name: str) -> nn.Conv1d | None:
        """None where a modality is as wide as the model already."""
        key = name if name in MODALITIES else str(self.modalities.index(name))
        return cast(nn.Conv1d, self.projections[key]) if key in self.projections else None


def _fitting(name: str, kernel: int, inputs: Inputs) -> int:
    """The kernel; 1 for a vector, and cut to the length of a sequence with a warning."""
    if inputs.kind(name) == "vector":
        return 1
    steps = inputs.steps[name]
    if kernel > steps:
        option = name if name in MODALITIES else "audio"
        warnings.warn(f"model mult: kernel_{option}={kernel} is cut to {steps}, the length of {name}", stacklevel=3)
    return min(kernel, steps)
