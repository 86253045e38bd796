"""LF-DNN: late fusion of small networks (Cambria et al. 2018), as in thuiar/MMSA at a94e65d. TFN has them too.

Shape suffixes: B batch, R rows given to fusion, L time steps, D features, H hidden width.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

import torch
from torch import Tensor, nn

from powmix.data.splits import MODALITIES, Batch
from powmix.models.base import Encoded, FusionModel, Inputs
from powmix.models.dropout import Noise, dropout
from powmix.models.recurrent import LSTM
from powmix.models.sequences import sequential, valid_steps


class SubnetModel(FusionModel):
    """The encoders of LF-DNN and TFN: an LSTM over the text, averages over time for audio and vision.

    hidden: audio (B, audio_hidden), vision (B, vision_hidden), text (B, text_out), as many of them as the dataset has,
    then all others as audio, with its options. A vector is its own average, also as text. mask_padding: false, as
    published, averages over all time steps and takes the LSTM's state after the padding; true averages the valid steps
    and takes the state after the last valid one.
    """

    needs = ("*",)
    switches: ClassVar[tuple[str, ...]] = ("mask_padding",)
    name: ClassVar[str]
    text: nn.Module

    def __init__(
        self,
        inputs: Inputs,
        text_hidden: int,
        audio_hidden: int,
        vision_hidden: int,
        text_out: int,
        audio_dropout: float,
        vision_dropout: float,
        mask_padding: bool,
    ):
        super().__init__()
        self.mask_padding = mask_padding
        names, dims = sequential(self.name, inputs), inputs.dims
        if inputs.kind("text") == "vector":
            self.text = AverageSubnet(dims["text"], text_out, audio_dropout)
        elif "text" in names:
            self.text = TextSubnet(dims["text"], text_hidden, text_out)
        if "audio" in names:
            self.audio = AverageSubnet(dims["audio"], audio_hidden, audio_dropout)
        if "vision" in names:
            self.vision = AverageSubnet(dims["vision"], vision_hidden, vision_dropout)
        widths = {"audio": audio_hidden, "vision": vision_hidden, "text": text_out}
        self.widths = {name: width for name, width in widths.items() if name in names}
        others = [name for name in names if name not in widths]
        if others:
            self.others = nn.ModuleList(AverageSubnet(dims[name], audio_hidden, audio_dropout) for name in others)
        self.widths |= dict.fromkeys(others, audio_hidden)
        """Of each hidden vector, in the order of fusion."""

    def averaging(self) -> dict[str, AverageSubnet]:
        """The networks of all modalities but a text with an LSTM, in the order of fusion."""
        others = iter(getattr(self, "others", ()))
        subnets = {name: getattr(self, name) if name in MODALITIES else next(others) for name in self.widths}
        return {name: subnet for name, subnet in subnets.items() if isinstance(subnet, AverageSubnet)}

    def encode(self, batch: Batch, noise: Noise | None = None) -> Encoded:
        hidden: dict[str, Tensor] = {}
        statistics: dict[str, Tensor] = {}
        for name, subnet in self.averaging().items():
            hidden[name], found = subnet(self.average(batch, name), noise)
            statistics |= {f"{name}.{key}": value for key, value in found.items()}
        if isinstance(getattr(self, "text", None), TextSubnet):
            x_BLD, lengths_B, side = valid_steps(batch, "text")
            hidden["text"] = self.text(x_BLD, lengths_B if self.mask_padding else None, side)
        return Encoded({name: hidden[name] for name in self.widths}, statistics)

    def average(self, batch: Batch, modality: str) -> Tensor:
        """The mean over time (B, D): of all steps as published (NaN becomes 0), or of the valid ones."""
        x_BLD = batch.features[modality]
        if x_BLD.dim() == 2:
            return x_BLD
        if not self.mask_padding:
            return torch.nan_to_num(x_BLD.mean(dim=1), nan=0.0, posinf=torch.inf, neginf=-torch.inf)
        mask_B1L = batch.mask(modality).unsqueeze(1).to(x_BLD.dtype)
        return (mask_B1L @ x_BLD).squeeze(1) / batch.lengths[modality].clamp(min=1).unsqueeze(-1)

    def observe(self, encoded: Encoded, batch: Batch, epoch: int, noise: Noise | None = None) -> None:
        for name, subnet in self.averaging().items():
            if f"{name}.mean" in encoded.clean:
                subnet.norm.absorb(encoded.clean[f"{name}.mean"], encoded.clean[f"{name}.var"])


class LFDNN(SubnetModel):
    """Late-fusion deep neural network of M >= 2 modalities. Widths and dropout rates: conf/model/lf_dnn.yaml."""

    name = "lf_dnn"

    def __init__(
        self,
        inputs: Inputs,
        text_hidden: int = 128,
        audio_hidden: int = 16,
        vision_hidden: int = 128,
        text_out: int = 256,
        post_fusion_dim: int = 128,
        audio_dropout: float = 0.2,
        vision_dropout: float = 0.2,
        post_fusion_dropout: float = 0.2,
        mask_padding: bool = False,
    ):
        super().__init__(
            inputs, text_hidden, audio_hidden, vision_hidden, text_out, audio_dropout, vision_dropout, mask_padding
        )
        self.post_fusion_dropout = post_fusion_dropout
        self.fusion = FusionLayers(sum(self.widths.values()), post_fusion_dim, inputs.outputs)

    def fuse(self, hidden: Mapping[str, Tensor], noise: Noise | None = None) -> Tensor:
        fused = torch.cat([hidden[name] for name in self.widths], dim=-1)
        return self.fusion(dropout(fused, self.post_fusion_dropout, noise))


class TextSubnet(nn.Module):
    """The final state of an LSTM, projected without activation: (B, L, D) -> (B, text_out)."""

    def __init__(self, features: int, hidden: int, text_out: int):
        super().__init__()
        self.rnn, self.linear = LSTM(features, hidden), nn.Linear(hidden, text_out)

    def forward(self, x_BLD: Tensor, lengths_B: Tensor | None = None, side: str = "right") -> Tensor:
        return self.linear(self.rnn.final(x_BLD, lengths_B, side))


class AverageSubnet(nn.Module):
    """Batch norm, dropout, three ReLU layers: (B, D) -> (B, H), with the statistics that batch norm is to absorb."""

    def __init__(self, features: int, hidden: int, dropout: float):
        super().__init__()
        self.dropout = dropout
        self.norm = BatchNorm1d(features)
        self.linear_1, self.linear_2 = nn.Linear(features, hidden), nn.Linear(hidden, hidden)
        self.linear_3 = nn.Linear(hidden, hidden)

    def forward(self, x_BD: Tensor, noise: Noise | None) -> tuple[Tensor, dict[str, Tensor]]:
        h, statistics = self.norm(x_BD, training=noise is not None)
        h = dropout(h, self.dropout, noise)
        for layer in (self.linear_1, self.linear_2, self.linear_3):
            h = layer(h).relu()
        return h, statistics


class BatchNorm1d(nn.Module):
    """Normalises each feature of x (B, D) over the batch, eps 1e-5; its running statistics have momentum 0.1.

    Training uses the batch's statistics and returns them; unlike `nn.BatchNorm1d` it does not write the running ones in
    forward, where they would change a model that is only asked, but in `absorb`. Evaluation uses the running ones, as
    does a training batch of one, whose variance is undefined.
    """

    momentum, eps = 0.1, 1e-5
    running_mean: Tensor
    running_var: Tensor

    def __init__(self, width: int):
        super().__init__()
        self.weight, self.bias = nn.Parameter(torch.ones(width)), nn.Parameter(torch.zeros(width))
        self.register_buffer("running_mean", torch.zeros(width))
        self.register_buffer("running_var", torch.ones(width))

    def forward(self, x_BD: Tensor, training: bool) -> tuple[Tensor, dict[str, Tensor]]:
        """The normalised x, and the batch's `mean` and unbiased `var` (D,) for `absorb` (none in evaluation)."""
        rows = len(x_BD)
        if not training or rows < 2:
            return self.scale(x_BD, self.running_mean, self.running_var), {}
        var, mean = torch.var_mean(x_BD, dim=0, correction=0)
        unbiased = var.detach() * (rows / (rows - 1))
        return self.scale(x_BD, mean, var), {"mean": mean.detach(), "var": unbiased}

    def scale(self, x_BD: Tensor, mean_D: Tensor, var_D: Tensor) -> Tensor:
        return torch.addcmul(self.bias, x_BD - mean_D, self.weight * torch.rsqrt(var_D + self.eps))

    @torch.no_grad()
    def absorb(self, mean: Tensor, var: Tensor) -> None:
        """Moves the running statistics towards a batch's; `observe` calls it."""
        self.running_mean.lerp_(mean, self.momentum)
        self.running_var.lerp_(var, self.momentum)


class FusionLayers(nn.Module):
    """Two ReLU layers and an output layer: (R, fused) -> (R, C)."""

    def __init__(self, fused: int, hidden: int, outputs: int):
        super().__init__()
        self.linear_1, self.linear_2 = nn.Linear(fused, hidden), nn.Linear(hidden, hidden)
        self.linear_3 = nn.Linear(hidden, outputs)

    def forward(self, x: Tensor) -> Tensor:
        return self.after_first(self.linear_1(x))

    def after_first(self, h: Tensor) -> Tensor:
        """The output, from what the first layer gives before its ReLU."""
        return self.linear_3(self.linear_2(h.relu()).relu())
