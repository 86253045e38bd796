"""MAG-BERT: audio and vision shift BERT's embeddings (Rahman et al. 2020).

Shape suffixes: B batch, L tokens, D width.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from benchmarks.reference.bert import SMALL

EPSILON = 1e-6


class Gate(nn.Module):
    """The multimodal adaptation gate, token by token."""

    def __init__(self, text: int, audio: int, vision: int, beta_shift: float, dropout: float):
        super().__init__()
        self.gate_vision, self.gate_audio = nn.Linear(vision + text, text), nn.Linear(audio + text, text)
        self.vision, self.audio = nn.Linear(vision, text), nn.Linear(audio, text)
        self.beta_shift = beta_shift
        self.norm, self.dropout = nn.LayerNorm(text), nn.Dropout(dropout)

    def forward(self, text_BLD: Tensor, audio: Tensor, vision: Tensor) -> Tensor:
        weight_v = F.relu(self.gate_vision(torch.cat([vision, text_BLD], dim=-1)))
        weight_a = F.relu(self.gate_audio(torch.cat([audio, text_BLD], dim=-1)))
        shift_BLD = weight_v * self.vision(vision) + weight_a * self.audio(audio)
        text_norm_BL, shift_norm_BL = text_BLD.norm(dim=-1), shift_BLD.norm(dim=-1)
        shift_norm_BL = torch.where(shift_norm_BL == 0, torch.ones_like(shift_norm_BL), shift_norm_BL)
        alpha_BL = torch.clamp(text_norm_BL / (shift_norm_BL + EPSILON) * self.beta_shift, max=1.0)
        return self.dropout(self.norm(alpha_BL.unsqueeze(-1) * shift_BLD + text_BLD))


class MAGBERT(nn.Module):
    """Embeddings, gate, encoder, pooler, one Linear; aligned features only."""

    def __init__(
        self, dims: Mapping[str, int], beta_shift: float, dropout_prob: float, bert: Mapping[str, Any] = SMALL
    ):
        from transformers import BertConfig, BertModel

        super().__init__()
        self.bert = BertModel(BertConfig(**bert))
        width = self.bert.config.hidden_size
        self.gate = Gate(width, dims["audio"], dims["vision"], beta_shift, dropout_prob)
        self.dropout = nn.Dropout(self.bert.config.hidden_dropout_prob)
        self.classifier = nn.Linear(width, 1)
        self.gate.apply(self._init)
        self.classifier.apply(self._init)

    @staticmethod
    def _init(module: nn.Module) -> None:
        """New Linears start as BERT's do."""
        if isinstance(module, nn.Linear):
            nn.init.normal_(module.weight, std=0.02)
            nn.init.zeros_(module.bias)

    def forward(self, batch: Mapping[str, Any]) -> dict[str, Tensor]:
        ids_BL, mask_BL, types_BL = (batch["text"][:, row] for row in range(3))
        embedded_BLD = self.bert.embeddings(input_ids=ids_BL.long(), token_type_ids=types_BL.long())
        shifted_BLD = self.gate(embedded_BLD, batch["audio"], batch["vision"])
        mask_B11L = (1.0 - mask_BL[:, None, None, :].float()) * torch.finfo(torch.float32).min
        encoded = self.bert.encoder(shifted_BLD, attention_mask=mask_B11L)
        pooled_BD = self.bert.pooler(encoded.last_hidden_state)
        return {"pooled": pooled_BD, "M": self.classifier(self.dropout(pooled_BD))}
