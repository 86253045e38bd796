"""Self-MM: modality-specific representations by self-supervised multi-task learning (Yu, Xu, Yuan, Wu 2021), with BERT.

Shape suffixes: B batch, R rows given to fusion, L steps, D width, T tasks (fusion, text, audio, vision), C outputs.
"""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from typing import Any, cast

import torch
from torch import Tensor, nn

from powmix.data.splits import Batch
from powmix.mixing import Mixed
from powmix.mixing.convex import combine
from powmix.models.base import Encoded, FusionModel, Inputs
from powmix.models.bert import BERT, TextEncoder
from powmix.models.dropout import Noise, dropout
from powmix.models.recurrent import LSTM
from powmix.models.sequences import refuse_other_kinds
from powmix.models.ulgm import ULGM

UNIMODAL = ("text", "audio", "vision")
NO_DECAY = ("bias", "LayerNorm.weight")


class SelfMM(FusionModel):
    """Late fusion of BERT's CLS, audio and vision; three unimodal heads learn pseudo labels of their own (ulgm.py).

    hidden: text (B, encoder width), audio (B, audio_out), vision (B, vision_out). unimodal: the unimodal heads learn
    from `mixed` vectors, with pseudo labels mixed by the same weights, or from `clean` ones. H bounds the pseudo labels
    (null: the label scale). decay_without_gradient false: while every unimodal loss weighs 0 (until epoch 3, labels
    move during epoch 2) there is none, so the optimiser leaves those heads alone; true: weight decay moves them, as
    published. Pseudo labels are defined for regression: several outputs have the fusion head alone, and a warning.
    """

    needs = ("tokens", "audio", "vision")
    tasks = ("regression", "classification")
    switches = ("decay_without_gradient",)

    def __init__(
        self,
        inputs: Inputs,
        text: Mapping[str, Any] = BERT,
        audio_hidden_size: int = 16,
        vision_hidden_size: int = 32,
        audio_out: int = 16,
        vision_out: int = 32,
        audio_lstm_dropout: float = 0.0,
        vision_lstm_dropout: float = 0.0,
        post_fusion_dim: int = 128,
        post_text_dim: int = 32,
        post_audio_dim: int = 16,
        post_vision_dim: int = 32,
        post_fusion_dropout: float = 0.0,
        post_text_dropout: float = 0.1,
        post_audio_dropout: float = 0.1,
        post_vision_dropout: float = 0.0,
        H: float | None = None,
        exclude_zero: bool = True,
        unimodal: str = "mixed",
        *,
        decay_without_gradient: bool = True,
    ):
        super().__init__()
        refuse_other_kinds("self_mm", inputs)
        self.unimodal, self.decay_without_gradient = unimodal, decay_without_gradient
        self.text = TextEncoder(inputs, **text)
        self.audio = SequenceEncoder(inputs.dims["audio"], audio_hidden_size, audio_out, audio_lstm_dropout)
        self.vision = SequenceEncoder(inputs.dims["vision"], vision_hidden_size, vision_out, vision_lstm_dropout)
        widths = {"text": self.text.width, "audio": audio_out, "vision": vision_out}
        self.heads = nn.ModuleDict(
            {"fusion": Head(sum(widths.values()), post_fusion_dim, inputs.outputs, post_fusion_dropout)}
        )
        if inputs.outputs > 1:
            warnings.warn("self_mm: pseudo labels need regression; only the fusion head is trained", stacklevel=2)
            return
        dims = {"text": post_text_dim, "audio": post_audio_dim, "vision": post_vision_dim}
        dropouts = {"text": post_text_dropout, "audio": post_audio_dropout, "vision": post_vision_dropout}
        self.heads.update({name: Head(widths[name], dims[name], 1, dropouts[name]) for name in UNIMODAL})
        bound = max(abs(end) for end in inputs.label_range) if H is None else H
        self.ulgm = ULGM({"fusion": post_fusion_dim, **dims}, bound, exclude_zero)

    @property
    def has_unimodal_tasks(self) -> bool:
        return len(self.heads) > 1

    def encode(self, batch: Batch, noise: Noise | None = None) -> Encoded:
        states_BLD, _ = self.text(batch.tokens, noise)
        hidden = {"text": states_BLD[:, 0]}
        for name in ("audio", "vision"):
            hidden[name] = getattr(self, name)(batch.features[name], batch.lengths[name], batch.side[name], noise)
        return Encoded(hidden)

    def fuse(self, hidden: Mapping[str, Tensor], noise: Noise | None = None) -> Tensor:
        return self.heads["fusion"](concatenated(hidden), noise)

    def auxiliary_losses(
        self, encoded: Encoded, mixed: Mixed, batch: Batch, noise: Noise | None = None
    ) -> dict[str, Tensor]:
        """Of each unimodal task: the mean over rows of tanh|W (y_s - y_m)| * |prediction - W y_s|; W = 1 if clean."""
        if not self.has_unimodal_tasks or self._weightless(batch.index):
            return {}
        mix = mixed.is_mixed and self.unimodal == "mixed"
        label_TB, losses = self.ulgm.labels_TN[:, batch.index], {}
        for name, label_B in zip(UNIMODAL, label_TB[1:]):
            label_gap_R2 = torch.stack([label_B, label_B - label_TB[0]], dim=-1)
            if mix:
                assert mixed.weights is not None
                label_gap_R2 = combine(mixed.weights[name], label_gap_R2)
            label_R, gap_R = label_gap_R2.unbind(-1)
            prediction_R = self.heads[name]((mixed if mix else encoded).hidden[name], noise).float().squeeze(-1)
            loss_R = gap_R.abs().tanh() * (prediction_R - label_R).abs()
            losses[name] = (loss_R * mixed.row_weight).sum() if mix else loss_R.mean()
        return losses

    def _weightless(self, index_B: Tensor) -> bool:
        """Whether the unimodal losses are left out, all their weights being 0 (asks the device in epoch 2 only)."""
        if self.decay_without_gradient or self.ulgm.last_epoch > 2:
            return False
        label_TB = self.ulgm.labels_TN[:, index_B]
        return self.ulgm.last_epoch < 2 or not bool((label_TB[1:] != label_TB[:1]).any())

    def parameter_groups(self, optimizer: Mapping[str, Any]) -> list[dict[str, Any]]:
        """Adam's five groups: BERT with and without decay (biases, LayerNorms), audio, vision, everything else."""
        bert = [(name, p) for name, p in self.text.named_parameters() if p.requires_grad]
        groups = {
            "bert": [p for name, p in bert if not name.endswith(NO_DECAY)],
            "bert_no_decay": [p for name, p in bert if name.endswith(NO_DECAY)],
            "audio": list(self.audio.parameters()),
            "vision": list(self.vision.parameters()),
            "other": list(self.heads.parameters()),
        }
        return [
            {
                "params": parameters,
                "lr": optimizer[f"learning_rate_{name.split('_')[0]}"],
                "weight_decay": 0.0 if name == "bert_no_decay" else optimizer[f"weight_decay_{name}"],
            }
            for name, parameters in groups.items()
            if parameters
        ]

    def prepare(self, target: Tensor) -> None:
        if self.has_unimodal_tasks:
            self.ulgm.prepare(target[:, 0])

    @torch.no_grad()
    def observe(self, encoded: Encoded, batch: Batch, epoch: int, noise: Noise | None = None) -> None:
        """The pseudo labels move by clean features of this step's heads, in training mode as published."""
        if self.has_unimodal_tasks:
            hidden = {"fusion": concatenated(encoded.hidden), **encoded.hidden}
            features = {name: cast(Head, self.heads[name]).features(hidden[name], noise) for name in self.heads}
            self.ulgm.update(features, batch.index, epoch)


class SequenceEncoder(nn.Module):
    """An LSTM read at the last valid step, dropout, a linear map: x (B, L, D) -> (B, out)."""

    def __init__(self, inputs: int, width: int, out: int, dropout: float):
        super().__init__()
        self.lstm, self.output, self.dropout = LSTM(inputs, width), nn.Linear(width, out), dropout

    def forward(self, x_BLD: Tensor, lengths_B: Tensor, side: str, noise: Noise | None = None) -> Tensor:
        h = self.lstm.final(x_BLD, lengths_B, side)
        return self.output(dropout(h, self.dropout, noise))


class Head(nn.Module):
    """Dropout, a ReLU layer (its output is the task's feature F), a second one of the same width, a linear output."""

    def __init__(self, inputs: int, width: int, outputs: int, dropout: float):
        super().__init__()
        self.dropout = dropout
        self.first, self.second = nn.Linear(inputs, width), nn.Linear(width, width)
        self.output = nn.Linear(width, outputs)

    def features(self, x: Tensor, noise: Noise | None = None) -> Tensor:
        return self.first(dropout(x, self.dropout, noise)).relu()

    def forward(self, x: Tensor, noise: Noise | None = None) -> Tensor:
        return self.output(self.second(self.features(x, noise)).relu())


def concatenated(hidden: Mapping[str, Tensor]) -> Tensor:
    return torch.cat([hidden[name] for name in UNIMODAL], dim=-1)
