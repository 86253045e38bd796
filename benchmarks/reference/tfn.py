"""TFN: the outer product of three unimodal networks (Zadeh et al. 2017). Suffix P: a flattened product."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from benchmarks.reference.subnetworks import Averages, LastState, PostFusion, with_one


class TFN(nn.Module):
    """hidden_dims: (text, audio, vision); dropouts: (audio, vision, text, post fusion), text's being without effect."""

    def __init__(
        self,
        dims: Mapping[str, int],
        hidden_dims: Sequence[int],
        text_out: int,
        post_fusion_dim: int,
        dropouts: Sequence[float],
    ):
        super().__init__()
        text, audio, vision = hidden_dims
        self.audio = Averages(dims["audio"], audio, dropouts[0])
        self.vision = Averages(dims["vision"], vision, dropouts[1])
        self.text = LastState(dims["text"], text, text_out)
        self.post = PostFusion((audio + 1) * (vision + 1) * (text_out + 1), post_fusion_dim, dropouts[3])
        self.register_buffer("output_range", torch.tensor([6.0]))
        self.register_buffer("output_shift", torch.tensor([-3.0]))

    def forward(self, batch: Mapping[str, Any]) -> dict[str, Tensor]:
        audio, vision = (getattr(self, name)(batch[name].squeeze(1)) for name in ("audio", "vision"))
        text = self.text(batch["text"])
        pair_BAV = torch.bmm(with_one(audio).unsqueeze(2), with_one(vision).unsqueeze(1))
        pair_BP1 = pair_BAV.view(len(text), -1, 1)
        fused_BP = torch.bmm(pair_BP1, with_one(text).unsqueeze(1)).view(len(text), -1)
        prediction = torch.sigmoid(self.post(fused_BP)) * self.output_range + self.output_shift
        return {"text": text, "audio": audio, "vision": vision, "M": prediction}
