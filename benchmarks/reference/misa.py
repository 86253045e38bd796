"""MISA: modality-invariant and -specific representations (Hazarika et al. 2020).

Shape suffixes: B batch, L time steps, D width, M the six vectors.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

from benchmarks.reference.bert import SMALL, TextEncoder

MODALITIES = ("text", "vision", "audio")
MOMENTS = 5


class Recurrent(nn.Module):
    """Two bidirectional LSTMs with a norm between them: (B, L, D) -> the four final states (B, 4D)."""

    def __init__(self, width: int):
        super().__init__()
        self.rnn_1 = nn.LSTM(width, width, bidirectional=True)
        self.rnn_2 = nn.LSTM(2 * width, width, bidirectional=True)
        self.norm = nn.LayerNorm(2 * width)

    def forward(self, x_BLD: Tensor, length_B: Tensor) -> Tensor:
        packed = pack_padded_sequence(x_BLD.permute(1, 0, 2), length_B, enforce_sorted=False)
        states, (final_1, _) = self.rnn_1(packed)
        padded, _ = pad_packed_sequence(states)
        packed = pack_padded_sequence(self.norm(padded), length_B, enforce_sorted=False)
        _, (final_2, _) = self.rnn_2(packed)
        return torch.cat([final_1, final_2], dim=2).permute(1, 0, 2).contiguous().view(len(x_BLD), -1)


class MISA(nn.Module):
    """`M` is the prediction; the vectors that the losses need are beside it."""

    def __init__(self, dims: Mapping[str, int], hidden_size: int, dropout: float, bert: Mapping[str, Any] = SMALL):
        super().__init__()
        self.text_model = TextEncoder(bert)
        self.rnn = nn.ModuleDict({name: Recurrent(dims[name]) for name in ("vision", "audio")})
        widths = {"text": self.text_model.width, "vision": 4 * dims["vision"], "audio": 4 * dims["audio"]}
        self.project = nn.ModuleDict({name: self._projection(widths[name], hidden_size) for name in MODALITIES})
        self.private = nn.ModuleDict({name: self._sigmoid(hidden_size) for name in MODALITIES})
        self.shared = self._sigmoid(hidden_size)
        self.reconstruct = nn.ModuleDict({name: nn.Linear(hidden_size, hidden_size) for name in MODALITIES})
        self.discriminator = nn.Linear(hidden_size, 4)
        self.transformer = nn.TransformerEncoderLayer(hidden_size, nhead=2)
        self.fusion = nn.Sequential(
            nn.Linear(6 * hidden_size, 3 * hidden_size), nn.Dropout(dropout), nn.ReLU(), nn.Linear(3 * hidden_size, 1)
        )

    @staticmethod
    def _projection(width: int, hidden: int) -> nn.Sequential:
        return nn.Sequential(nn.Linear(width, hidden), nn.ReLU(), nn.LayerNorm(hidden))

    @staticmethod
    def _sigmoid(hidden: int) -> nn.Sequential:
        return nn.Sequential(nn.Linear(hidden, hidden), nn.Sigmoid())

    def forward(self, batch: Mapping[str, Any]) -> dict[str, Any]:
        utterance = self._utterances(batch)
        projected = {name: self.project[name](utterance[name]) for name in MODALITIES}
        private = {name: self.private[name](projected[name]) for name in MODALITIES}
        shared = {name: self.shared(projected[name]) for name in MODALITIES}
        guessed = {name: self.discriminator(private[name]) for name in MODALITIES}
        reconstructed = {name: self.reconstruct[name](private[name] + shared[name]) for name in MODALITIES}
        six_MBD = torch.stack([*private.values(), *shared.values()], dim=0)
        attended_MBD = self.transformer(six_MBD)
        prediction = self.fusion(torch.cat(list(attended_MBD), dim=1))
        vectors = {"projected": projected, "private": private, "shared": shared, "reconstructed": reconstructed}
        return {"M": prediction, "guessed": guessed, **vectors}

    def _utterances(self, batch: Mapping[str, Any]) -> dict[str, Tensor]:
        """One vector per modality; audio and vision are read by the text's lengths, aligned or not."""
        mask_BL = batch["text"][:, 1].float()
        states_BLD = self.text_model(batch["text"])
        text_BD = (states_BLD * mask_BL.unsqueeze(2)).sum(dim=1) / mask_BL.sum(dim=1, keepdim=True)
        length_B = mask_BL.sum(dim=1).long().cpu()
        return {"text": text_BD, **{name: self.rnn[name](batch[name], length_B) for name in ("vision", "audio")}}


def difference(first_BD: Tensor, second_BD: Tensor) -> Tensor:
    """Mean squared entry of X1^T X2, each X centred over the batch, its rows then divided by their detached norm."""
    x1, x2 = (x - x.mean(dim=0, keepdim=True) for x in (first_BD, second_BD))
    x1, x2 = (x / (x.norm(dim=1, keepdim=True).detach() + 1e-6) for x in (x1, x2))
    return x1.t().mm(x2).pow(2).mean()


def central_moments(first_BD: Tensor, second_BD: Tensor) -> Tensor:
    """Central moment discrepancy (Zellinger et al. 2017) up to the fifth moment."""
    mean_1, mean_2 = first_BD.mean(dim=0), second_BD.mean(dim=0)
    x1, x2 = first_BD - mean_1, second_BD - mean_2
    total = distance(mean_1, mean_2)
    for power in range(2, MOMENTS + 1):
        total = total + distance((x1**power).mean(dim=0), (x2**power).mean(dim=0))
    return total


def distance(a_D: Tensor, b_D: Tensor) -> Tensor:
    return ((a_D - b_D) ** 2).sum().sqrt()


def auxiliary_losses(output: Mapping[str, Any]) -> dict[str, Tensor]:
    """Difference, similarity and reconstruction, unweighted."""
    private, shared = output["private"], output["shared"]
    pairs = [(private[name], shared[name]) for name in MODALITIES]
    pairs += [(private[a], private[b]) for a, b in (("audio", "text"), ("audio", "vision"), ("text", "vision"))]
    similar = [
        central_moments(shared[a], shared[b]) for a, b in (("text", "vision"), ("text", "audio"), ("audio", "vision"))
    ]
    recon = [F.mse_loss(output["reconstructed"][name], output["projected"][name]) for name in MODALITIES]
    return {
        "difference": sum(difference(*pair) for pair in pairs),
        "similarity": sum(similar) / 3,
        "reconstruction": sum(recon) / 3,
    }
