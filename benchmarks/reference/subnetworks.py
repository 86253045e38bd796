"""The unimodal networks of LF-DNN and TFN. Shape suffixes: B batch, L time steps, D features."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F


class Averages(nn.Module):
    """Audio or vision, averaged over time: batch norm, dropout, three ReLU layers. (B, D) -> (B, hidden)."""

    def __init__(self, width: int, hidden: int, dropout: float):
        super().__init__()
        self.norm = nn.BatchNorm1d(width)
        self.dropout = nn.Dropout(dropout)
        self.linear_1 = nn.Linear(width, hidden)
        self.linear_2 = nn.Linear(hidden, hidden)
        self.linear_3 = nn.Linear(hidden, hidden)

    def forward(self, x_BD: Tensor) -> Tensor:
        h_BD = F.relu(self.linear_1(self.dropout(self.norm(x_BD))))
        return F.relu(self.linear_3(F.relu(self.linear_2(h_BD))))


class LastState(nn.Module):
    """Text: an LSTM over the whole padded sequence, a Linear on its last hidden state. (B, L, D) -> (B, out)."""

    def __init__(self, width: int, hidden: int, out: int):
        super().__init__()
        self.rnn = nn.LSTM(width, hidden, batch_first=True)
        self.linear_1 = nn.Linear(hidden, out)

    def forward(self, x_BLD: Tensor) -> Tensor:
        _, (h_1BD, _) = self.rnn(x_BLD)
        return self.linear_1(h_1BD.squeeze(0))


class PostFusion(nn.Module):
    """Dropout and three layers on the fused vector: (B, width) -> (B, 1)."""

    def __init__(self, width: int, hidden: int, dropout: float):
        super().__init__()
        self.dropout = nn.Dropout(dropout)
        self.linear_1 = nn.Linear(width, hidden)
        self.linear_2 = nn.Linear(hidden, hidden)
        self.linear_3 = nn.Linear(hidden, 1)

    def forward(self, fused_BD: Tensor) -> Tensor:
        h_BD = F.relu(self.linear_1(self.dropout(fused_BD)))
        return self.linear_3(F.relu(self.linear_2(h_BD)))


def with_one(x_BD: Tensor) -> Tensor:
    """[1, x]: (B, D) -> (B, D + 1)."""
    return torch.cat([torch.ones(len(x_BD), 1, dtype=x_BD.dtype, device=x_BD.device), x_BD], dim=1)
