"""TFN: the Tensor Fusion Network (Zadeh et al., EMNLP 2017), as in thuiar/MMSA at a94e65d.

Shape suffix: R rows.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from powmix.data.splits import MODALITIES
from powmix.models.base import Inputs
from powmix.models.dropout import Noise
from powmix.models.lf_dnn import FusionLayers, SubnetModel
from powmix.models.outer_linear import as_three, outer_linear, product_size


class TFN(SubnetModel):
    """Fusion by the outer product of [1, audio], [1, vision], [1, text] and [1, any other], two of them or more.

    Widths and rates: conf/model/tfn.yaml. ValueError where the product is too large (outer_linear.MOST).

    A regression output is squashed into [-3, 3] on every sentiment corpus, as published, or into the labels' own range
    (`range_from_labels`, and of any other modalities). Range and shift are frozen parameters there, so they are here.
    """

    name = "tfn"
    switches = ("mask_padding", "range_from_labels")

    def __init__(
        self,
        inputs: Inputs,
        text_hidden: int = 128,
        audio_hidden: int = 32,
        vision_hidden: int = 128,
        text_out: int = 32,
        post_fusion_dim: int = 64,
        audio_dropout: float = 0.3,
        vision_dropout: float = 0.3,
        post_fusion_dropout: float = 0.5,
        mask_padding: bool = False,
        range_from_labels: bool = False,
    ):
        super().__init__(
            inputs, text_hidden, audio_hidden, vision_hidden, text_out, audio_dropout, vision_dropout, mask_padding
        )
        self.post_fusion_dropout = post_fusion_dropout
        self.fusion = FusionLayers(product_size("tfn", list(self.widths.values())), post_fusion_dim, inputs.outputs)
        self.squashes = inputs.outputs == 1 and inputs.task == "regression"
        if self.squashes:
            is_corpus = set(self.widths) == set(MODALITIES)
            low, high = inputs.label_range if range_from_labels or not is_corpus else (-3.0, 3.0)
            self.output_range = nn.Parameter(torch.tensor([high - low]), requires_grad=False)
            self.output_shift = nn.Parameter(torch.tensor([low]), requires_grad=False)

    def fuse(self, hidden: Mapping[str, Tensor], noise: Noise | None = None) -> Tensor:
        vectors = [F.pad(hidden[name], (1, 0), value=1.0) for name in self.widths]
        first = self.fusion.linear_1
        prediction = self.fusion.after_first(
            outer_linear(as_three(vectors), first.weight, first.bias, self.post_fusion_dropout, noise)
        )
        if not self.squashes:
            return prediction
        return torch.sigmoid(prediction) * self.output_range + self.output_shift
