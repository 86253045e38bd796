"""Self-MM: unimodal heads taught by self-made labels (Yu et al. 2021).

Shape suffixes: N training examples, B batch, L time steps, D width. Tasks: M fusion, T text, A audio, V vision.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.utils.rnn import pack_padded_sequence

from benchmarks.reference.bert import SMALL, TextEncoder

TASKS = ("M", "T", "A", "V")


class FinalState(nn.Module):
    """One LSTM over the valid steps, a Linear on its final state."""

    def __init__(self, width: int, hidden: int, out: int, dropout: float):
        super().__init__()
        self.rnn = nn.LSTM(width, hidden, batch_first=True)
        self.dropout = nn.Dropout(dropout)
        self.linear_1 = nn.Linear(hidden, out)

    def forward(self, x_BLD: Tensor, length_B: Tensor) -> Tensor:
        packed = pack_padded_sequence(x_BLD, length_B.cpu(), batch_first=True, enforce_sorted=False)
        _, (h_1BD, _) = self.rnn(packed)
        return self.linear_1(self.dropout(h_1BD.squeeze(0)))


class Head(nn.Module):
    """Dropout and three layers; the first one's output is the feature that the label maker remembers."""

    def __init__(self, width: int, hidden: int, dropout: float):
        super().__init__()
        self.dropout = nn.Dropout(dropout)
        self.linear_1 = nn.Linear(width, hidden)
        self.linear_2 = nn.Linear(hidden, hidden)
        self.linear_3 = nn.Linear(hidden, 1)

    def forward(self, h_BD: Tensor) -> tuple[Tensor, Tensor]:
        feature_BD = F.relu(self.linear_1(self.dropout(h_BD)))
        return feature_BD, self.linear_3(F.relu(self.linear_2(feature_BD)))


class SelfMM(nn.Module):
    """Options under the names of the framework's configuration file; the text's width is BERT's."""

    def __init__(
        self,
        dims: Mapping[str, int],
        a_lstm_hidden_size: int,
        v_lstm_hidden_size: int,
        audio_out: int,
        video_out: int,
        post_fusion_dim: int,
        post_text_dim: int,
        post_audio_dim: int,
        post_video_dim: int,
        post_fusion_dropout: float = 0.0,
        post_text_dropout: float = 0.0,
        post_audio_dropout: float = 0.0,
        post_video_dropout: float = 0.0,
        a_lstm_dropout: float = 0.0,
        v_lstm_dropout: float = 0.0,
        bert: Mapping[str, Any] = SMALL,
    ):
        super().__init__()
        self.text_model = TextEncoder(bert)
        self.audio_model = FinalState(dims["audio"], a_lstm_hidden_size, audio_out, a_lstm_dropout)
        self.video_model = FinalState(dims["vision"], v_lstm_hidden_size, video_out, v_lstm_dropout)
        text_out = self.text_model.width
        self.head = nn.ModuleDict(
            {
                "M": Head(text_out + audio_out + video_out, post_fusion_dim, post_fusion_dropout),
                "T": Head(text_out, post_text_dim, post_text_dropout),
                "A": Head(audio_out, post_audio_dim, post_audio_dropout),
                "V": Head(video_out, post_video_dim, post_video_dropout),
            }
        )

    def forward(self, batch: Mapping[str, Any]) -> dict[str, Any]:
        hidden = {
            "T": self.text_model(batch["text"])[:, 0],
            "A": self.audio_model(batch["audio"], batch["audio_lengths"]),
            "V": self.video_model(batch["vision"], batch["vision_lengths"]),
        }
        inputs = {"M": torch.cat([hidden[task] for task in "TAV"], dim=-1), **hidden}
        outputs = {task: self.head[task](inputs[task]) for task in TASKS}
        features = {task: feature for task, (feature, _) in outputs.items()}
        return {"hidden": hidden, "features": features, **{task: pred for task, (_, pred) in outputs.items()}}

    def groups(self, rates: Mapping[str, tuple[float, float]]) -> list[dict[str, Any]]:
        """Adam's five groups; `rates`: (learning rate, weight decay) of bert, audio, video, other."""
        plain = ("bias", "LayerNorm.bias", "LayerNorm.weight")
        bert = list(self.text_model.named_parameters())
        parts = [
            ([p for name, p in bert if not name.endswith(plain)], *rates["bert"]),
            ([p for name, p in bert if name.endswith(plain)], rates["bert"][0], 0.0),
            (list(self.audio_model.parameters()), *rates["audio"]),
            (list(self.video_model.parameters()), *rates["video"]),
            (list(self.head.parameters()), *rates["other"]),
        ]
        return [{"params": params, "lr": rate, "weight_decay": decay} for params, rate, decay in parts]


class LabelMaker:
    """ULGM: features, labels and class centres of all N training examples, by task."""

    def __init__(self, target_N: Tensor, widths: Mapping[str, int], limit: float):
        self.limit = limit
        self.labels = {task: target_N.clone() for task in TASKS}
        self.features = {task: target_N.new_zeros(len(target_N), widths[task]) for task in TASKS}
        self.centres = {task: {sign: target_N.new_zeros(widths[task]) for sign in ("pos", "neg")} for task in TASKS}

    def weights(self, task: str, index_B: Tensor) -> Tensor:
        """How much each example's error counts: 1 for M, tanh of the distance from the fusion's label otherwise."""
        if task == "M":
            return torch.ones_like(self.labels["M"][index_B])
        return torch.tanh(torch.abs(self.labels[task][index_B] - self.labels["M"][index_B]))

    def observe(self, features: Mapping[str, Tensor], index_B: Tensor, epoch: int) -> None:
        """After a backward pass of epoch 1, 2, ...: labels (from epoch 2), features, all centres over all N rows."""
        if epoch > 1:
            self._relabel(features, index_B, epoch)
        for task in TASKS:
            self.features[task][index_B] = features[task].detach()
        for task in TASKS:
            positive_N, negative_N = self.labels[task] > 0, self.labels[task] < 0
            self.centres[task]["pos"] = self.features[task][positive_N].mean(dim=0)
            self.centres[task]["neg"] = self.features[task][negative_N].mean(dim=0)

    def _relabel(self, features: Mapping[str, Tensor], index_B: Tensor, epoch: int) -> None:
        fusion_B = self._tilt("M", features["M"].detach())
        target_B = self.labels["M"][index_B]
        for task in TASKS[1:]:
            tilt_B = self._tilt(task, features[task].detach())
            alpha_B = tilt_B / (fusion_B + 1e-8)
            new_B = 0.5 * alpha_B * target_B + 0.5 * (target_B + tilt_B - fusion_B)
            new_B = torch.clamp(new_B, min=-self.limit, max=self.limit)
            old_B = self.labels[task][index_B]
            self.labels[task][index_B] = (epoch - 1) / (epoch + 1) * old_B + 2 / (epoch + 1) * new_B

    def _tilt(self, task: str, feature_BD: Tensor) -> Tensor:
        """How much nearer the positive centre is than the negative one, relative to the former's distance."""
        to_positive_B = torch.norm(feature_BD - self.centres[task]["pos"], dim=-1)
        to_negative_B = torch.norm(feature_BD - self.centres[task]["neg"], dim=-1)
        return (to_negative_B - to_positive_B) / (to_positive_B + 1e-8)
