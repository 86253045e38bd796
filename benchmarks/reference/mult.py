"""MulT: six crossmodal transformers, three memories (Tsai et al. 2019), as six and three separate networks.

Shape suffixes: B batch, L time steps, D width.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from benchmarks.reference.transformer import Dropouts, Encoder

MODALITIES = ("text", "audio", "vision")


class MulT(nn.Module):
    """Options under the names of the framework's configuration file; `text_with_audio`: target text, source audio."""

    def __init__(
        self,
        dims: Mapping[str, int],
        dst_feature_dim_nheads: Sequence[int],
        nlevels: int,
        conv1d_kernel_size_l: int,
        conv1d_kernel_size_a: int,
        conv1d_kernel_size_v: int,
        attn_dropout: float = 0.0,
        attn_dropout_a: float = 0.0,
        attn_dropout_v: float = 0.0,
        relu_dropout: float = 0.0,
        embed_dropout: float = 0.0,
        res_dropout: float = 0.0,
        output_dropout: float = 0.0,
        text_dropout: float = 0.0,
    ):
        super().__init__()
        width, heads = dst_feature_dim_nheads
        self.text_dropout, self.output_dropout = text_dropout, output_dropout
        kernels = {"text": conv1d_kernel_size_l, "audio": conv1d_kernel_size_a, "vision": conv1d_kernel_size_v}
        self.project = nn.ModuleDict(
            {
                name: nn.Conv1d(dims[name], width, kernels[name], bias=False)
                for name in MODALITIES
                if dims[name] != width
            }
        )
        rate_of_source = {"audio": attn_dropout_a, "vision": attn_dropout_v, "text": attn_dropout}
        others = (relu_dropout, res_dropout, embed_dropout)
        self.cross = nn.ModuleDict(
            {
                f"{target}_with_{source}": Encoder(width, heads, nlevels, Dropouts(rate_of_source[source], *others))
                for target in MODALITIES
                for source in MODALITIES
                if source != target
            }
        )
        memory = Dropouts(attn_dropout, *others)
        self.memory = nn.ModuleDict({name: Encoder(2 * width, heads, max(nlevels, 3), memory) for name in MODALITIES})
        self.linear_1, self.linear_2 = nn.Linear(6 * width, 6 * width), nn.Linear(6 * width, 6 * width)
        self.out = nn.Linear(6 * width, 1)

    def forward(self, batch: Mapping[str, Any]) -> dict[str, Tensor]:
        features = {name: batch[name].transpose(1, 2) for name in MODALITIES}
        features["text"] = F.dropout(features["text"], self.text_dropout, self.training)
        sequences = {name: self._project(name, x).permute(2, 0, 1) for name, x in features.items()}
        hidden = {name: self._remember(name, sequences) for name in MODALITIES}
        last_BD = torch.cat(list(hidden.values()), dim=1)
        h_BD = F.dropout(F.relu(self.linear_1(last_BD)), self.output_dropout, self.training)
        return {**hidden, "M": self.out(last_BD + self.linear_2(h_BD))}

    def _project(self, name: str, x_BDL: Tensor) -> Tensor:
        return self.project[name](x_BDL) if name in self.project else x_BDL

    def _remember(self, target: str, sequences: Mapping[str, Tensor]) -> Tensor:
        """The last time step (B, 2D) of the target's memory over both of its crossmodal encoders."""
        attended = [
            self.cross[f"{target}_with_{source}"](sequences[target], sequences[source])
            for source in MODALITIES
            if source != target
        ]
        return self.memory[target](torch.cat(attended, dim=2))[-1]
