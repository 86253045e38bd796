"""What LF-DNN and TFN share: an LSTM over the text, and averages over time through three layers for audio and vision.

Source: thuiar/MMSA at a94e65d. Shape suffixes: B batch, L time steps, D features, H hidden width.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from powmix.data.splits import Batch
from powmix.models.base import Encoded, FusionModel, Inputs
from powmix.models.layers import LSTM, BatchNorm1d, Linear
from powmix.models.dropout import Noise


class AverageSubnet(nn.Module):
    """Batch norm, dropout, three ReLU layers: (B, D) -> (B, H), with the statistics that batch norm is to absorb."""

    def __init__(self, features: int, hidden: int, dropout: float):
        super().__init__()
        self.dropout = dropout
        self.norm = BatchNorm1d(features)
        self.linear_1, self.linear_2 = Linear(features, hidden), Linear(hidden, hidden)
        self.linear_3 = Linear(hidden, hidden)

    def forward(self, x_BD: Tensor, noise: Noise | None) -> tuple[Tensor, dict[str, Tensor]]:
        h, statistics = self.norm(x_BD, training=noise is not None)
        if noise is not None:
            h = noise.dropout(h, self.dropout)
        for layer in (self.linear_1, self.linear_2, self.linear_3):
            h = layer(h).relu()
        return h, statistics


class TextSubnet(nn.Module):
    """The final state of an LSTM, projected without activation: (B, L, D) -> (B, text_out)."""

    def __init__(self, features: int, hidden: int, text_out: int):
        super().__init__()
        self.rnn, self.linear = LSTM(features, hidden), Linear(hidden, text_out)

    def forward(self, x_BLD: Tensor, lengths: Tensor | None = None, side: str = "right") -> Tensor:
        return self.linear(self.rnn.final(x_BLD, lengths, side))


class SubnetModel(FusionModel):
    """The encoders; subclasses fuse. The mix point: audio (B, H_a), vision (B, H_v), text (B, text_out).

    mask_padding: false, as published, averages over all time steps and takes the LSTM's state after the padding; true
    averages the valid steps and takes the state after the last valid one.
    """

    stackable = True

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
        self.text = TextSubnet(inputs.dims["text"], text_hidden, text_out)
        self.audio = AverageSubnet(inputs.dims["audio"], audio_hidden, audio_dropout)
        self.vision = AverageSubnet(inputs.dims["vision"], vision_hidden, vision_dropout)

    def encode(self, batch: Batch, noise: Noise | None = None) -> Encoded:
        audio, audio_statistics = self.audio(self.average(batch, "audio"), noise)
        vision, vision_statistics = self.vision(self.average(batch, "vision"), noise)
        valid = (batch.lengths["text"], batch.side["text"]) if self.mask_padding else ()
        statistics = {f"audio.{name}": value for name, value in audio_statistics.items()}
        statistics |= {f"vision.{name}": value for name, value in vision_statistics.items()}
        return Encoded(
            {"audio": audio, "vision": vision, "text": self.text(batch.features["text"], *valid)}, statistics
        )

    def average(self, batch: Batch, modality: str) -> Tensor:
        """The mean over time (B, D): of all steps as published (NaN becomes 0), or of the valid ones."""
        x_BLD = batch.features[modality]
        if not self.mask_padding:
            return torch.nan_to_num(x_BLD.mean(dim=-2), nan=0.0, posinf=torch.inf, neginf=-torch.inf)
        mask_B1L = batch.mask(modality).unsqueeze(-2).to(x_BLD.dtype)
        return (mask_B1L @ x_BLD).squeeze(-2) / batch.lengths[modality].clamp(min=1).unsqueeze(-1)

    def observe(self, encoded: Encoded, batch: Batch, epoch: int, noise: Noise | None = None) -> None:
        for name, subnet in (("audio", self.audio), ("vision", self.vision)):
            if f"{name}.mean" in encoded.clean:
                subnet.norm.absorb(encoded.clean[f"{name}.mean"], encoded.clean[f"{name}.var"])


class FusionLayers(nn.Module):
    """Two ReLU layers and an output layer: (R, fused) -> (R, C)."""

    def __init__(self, fused: int, hidden: int, outputs: int):
        super().__init__()
        self.linear_1, self.linear_2 = Linear(fused, hidden), Linear(hidden, hidden)
        self.linear_3 = Linear(hidden, outputs)

    def forward(self, x: Tensor) -> Tensor:
        return self.after_first(self.linear_1(x))

    def after_first(self, h: Tensor) -> Tensor:
        """The output, from what the first layer gives before its ReLU."""
        return self.linear_3(self.linear_2(h.relu()).relu())
