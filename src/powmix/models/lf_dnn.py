"""LF-DNN: unimodal subnets whose outputs are concatenated (Cambria et al. 2018), as in thuiar/MMSA at a94e65d."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from powmix.models.base import Inputs
from powmix.models.dropout import Noise
from powmix.models.subnets import FusionLayers, SubnetModel


class LFDNN(SubnetModel):
    """Late-fusion deep neural network. Widths and dropout rates: conf/model/lf_dnn.yaml."""

    switches = ("mask_padding",)

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
        self.fusion = FusionLayers(audio_hidden + vision_hidden + text_out, post_fusion_dim, inputs.outputs)

    def fuse(self, hidden: Mapping[str, Tensor], noise: Noise | None = None) -> Tensor:
        fused = torch.cat([hidden["audio"], hidden["vision"], hidden["text"]], dim=-1)
        if noise is not None:
            fused = noise.dropout(fused, self.post_fusion_dropout)
        return self.fusion(fused)
