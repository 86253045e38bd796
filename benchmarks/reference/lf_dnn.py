"""LF-DNN: three unimodal networks, concatenated late (Yu et al. 2020)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from benchmarks.reference.subnetworks import Averages, LastState, PostFusion


class LFDNN(nn.Module):
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
        self.post = PostFusion(audio + vision + text_out, post_fusion_dim, dropouts[3])

    def forward(self, batch: Mapping[str, Any]) -> dict[str, Tensor]:
        audio, vision = (getattr(self, name)(batch[name].squeeze(1)) for name in ("audio", "vision"))
        text = self.text(batch["text"])
        fused = torch.cat([audio, vision, text], dim=-1)
        return {"text": text, "audio": audio, "vision": vision, "M": self.post(fused)}
