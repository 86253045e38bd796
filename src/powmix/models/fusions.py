"""late_fusion's ways to fuse: vectors of equal width, one a modality, to a prediction.

Shape suffixes: R rows (clean or mixed), M modalities, W width, F fusion width, C outputs.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from powmix.models.dropout import Noise, dropout
from powmix.models.outer_linear import as_three, outer_linear, product_size
from powmix.models.transformer import TransformerLayer


class Head(nn.Module):
    """A ReLU layer, dropout, a linear output: (R, inputs) -> (R, C)."""

    def __init__(self, inputs: int, hidden: int, outputs: int, dropout: float):
        super().__init__()
        self.dropout = dropout
        self.first, self.output = nn.Linear(inputs, hidden), nn.Linear(hidden, outputs)

    def forward(self, x: Tensor, noise: Noise | None) -> Tensor:
        return self.after_first(self.first(x), noise)

    def after_first(self, h: Tensor, noise: Noise | None) -> Tensor:
        return self.output(dropout(h.relu(), self.dropout, noise))


class Concatenation(nn.Module):
    """One head on all vectors side by side."""

    def __init__(self, modalities: int, width: int, hidden: int, outputs: int, dropout: float):
        super().__init__()
        self.head = Head(modalities * width, hidden, outputs, dropout)

    def forward(self, vectors: Sequence[Tensor], noise: Noise | None) -> Tensor:
        return self.head(torch.cat(list(vectors), dim=-1), noise)


class OverModalities(nn.Module):
    """One transformer layer whose steps are the modalities, then a head on what it gives for all, as in MISA."""

    def __init__(self, modalities: int, width: int, hidden: int, outputs: int, dropout: float):
        super().__init__()
        self.transformer = TransformerLayer(width, inner=hidden, dropout=dropout)
        self.head = Head(modalities * width, hidden, outputs, dropout)

    def forward(self, vectors: Sequence[Tensor], noise: Noise | None) -> Tensor:
        return self.head(self.transformer(torch.stack(list(vectors), dim=1), noise).flatten(1), noise)


class OuterProduct(nn.Module):
    """A head on the outer product of all [1, vector], as in TFN (Zadeh et al. 2017)."""

    def __init__(self, modalities: int, width: int, hidden: int, outputs: int, dropout: float):
        super().__init__()
        self.dropout = dropout
        self.head = Head(product_size("late_fusion", [width] * modalities), hidden, outputs, dropout)

    def forward(self, vectors: Sequence[Tensor], noise: Noise | None) -> Tensor:
        first, extended = self.head.first, [F.pad(h, (1, 0), value=1.0) for h in vectors]
        return self.head.after_first(
            outer_linear(as_three(extended), first.weight, first.bias, self.dropout, noise), noise
        )


class Gates(nn.Module):
    """The gated multimodal unit (Arevalo et al. 2017): the sum over m of sigmoid(U_m [h_1 ... h_M]) * tanh(V_m h_m)."""

    def __init__(self, modalities: int, width: int, hidden: int, outputs: int, dropout: float):
        super().__init__()
        self.dropout = dropout
        self.gate = nn.Linear(modalities * width, modalities * hidden)
        self.values = nn.ModuleList(nn.Linear(width, hidden) for _ in range(modalities))
        self.output = nn.Linear(hidden, outputs)

    def forward(self, vectors: Sequence[Tensor], noise: Noise | None) -> Tensor:
        gate_RMF = self.gate(torch.cat(list(vectors), dim=-1)).sigmoid().unflatten(-1, (len(vectors), -1))
        value_RMF = torch.stack([value(h) for value, h in zip(self.values, vectors, strict=True)], dim=1).tanh()
        return self.output(dropout((gate_RMF * value_RMF).sum(1), self.dropout, noise))


class MeanOfHeads(nn.Module):
    """The mean of one prediction a modality, each by its own head."""

    def __init__(self, modalities: int, width: int, hidden: int, outputs: int, dropout: float):
        super().__init__()
        self.heads = nn.ModuleList(Head(width, hidden, outputs, dropout) for _ in range(modalities))

    def forward(self, vectors: Sequence[Tensor], noise: Noise | None) -> Tensor:
        return torch.stack([head(h, noise) for head, h in zip(self.heads, vectors, strict=True)]).mean(0)


FUSIONS = {
    "concat": Concatenation,
    "transformer": OverModalities,
    "tensor": OuterProduct,
    "gated": Gates,
    "mean_of_heads": MeanOfHeads,
}
"""By `fusion`, what fuses."""
