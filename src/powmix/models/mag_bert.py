"""MAG-BERT: a multimodal adaptation gate inside BERT (Rahman et al. 2020), between its embeddings and its encoder.

Shape suffixes: B batch, T tokens, L frames, D feature width, E encoder width.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from powmix.data.splits import Batch
from powmix.models.base import Encoded, FusionModel, Inputs
from powmix.models.bert import BERT, TextEncoder
from powmix.models.dropout import Noise, dropout
from powmix.models.recurrent import first_valid_first
from powmix.models.sequences import refuse_other_kinds

OUTPUT_DROPOUT = 0.1
"""Before the output layer: the rate of BERT itself, as published."""


class MagBert(FusionModel):
    """Early fusion: audio and vision shift BERT's embeddings; its pooled vector is the only hidden, `fused` (B, E).

    Word-aligned data (as many steps as tokens) are used as they are; others are averaged in blocks of frames:
    mask_padding false: over padded lengths, padding included, as published; true: each example's own frames and tokens.
    """

    needs = ("tokens", "audio", "vision")
    switches = ("mask_padding",)

    def __init__(
        self,
        inputs: Inputs,
        text: Mapping[str, Any] = BERT,
        beta_shift: float = 1.0,
        dropout_prob: float = 0.3,
        *,
        mask_padding: bool = False,
    ):
        super().__init__()
        refuse_other_kinds("mag_bert", inputs)
        self.mask_padding = mask_padding
        self.aligned = {name for name in ("audio", "vision") if inputs.steps[name] == inputs.steps["text"]}
        self.text = TextEncoder(inputs, **text, pooler=True)
        self.gate = AdaptationGate(
            self.text.width, inputs.dims["audio"], inputs.dims["vision"], beta_shift, dropout_prob
        )
        self.output = nn.Linear(self.text.width, inputs.outputs)
        for linear in (*self.gate.linears(), self.output):
            nn.init.normal_(linear.weight, std=0.02)
            nn.init.zeros_(linear.bias)

    def encode(self, batch: Batch, noise: Noise | None = None) -> Encoded:
        assert batch.tokens is not None
        _, mask_BT = self.text.cut(batch.tokens)
        audio, vision = (self.align(name, batch, mask_BT) for name in ("audio", "vision"))
        states_BTE, _ = self.text(batch.tokens, noise, lambda embedded: self.gate(embedded, audio, vision, noise))
        return Encoded({"fused": self.text.pool(states_BTE)})

    def fuse(self, hidden: Mapping[str, Tensor], noise: Noise | None = None) -> Tensor:
        return self.output(dropout(hidden["fused"], OUTPUT_DROPOUT, noise))

    def align(self, modality: str, batch: Batch, mask_BT: Tensor) -> Tensor:
        """A modality's frames, one per token of `mask_BT`: (B, T, D)."""
        x_BLD, steps = batch.features[modality], mask_BT.shape[1]
        lengths_B = batch.lengths[modality].clamp(1, x_BLD.shape[1])
        if self.mask_padding and batch.side[modality] == "left":
            x_BLD = first_valid_first(x_BLD, lengths_B)
        if modality in self.aligned:
            missing = steps - x_BLD.shape[1]
            return x_BLD[:, :steps] if missing <= 0 else nn.functional.pad(x_BLD, (0, 0, 0, missing))
        if self.mask_padding:
            return masked_block_average(x_BLD, lengths_B, mask_BT.sum(-1), steps)
        assert batch.tokens is not None
        return block_average(x_BLD, batch.tokens.shape[-1])[:, :steps]


class AdaptationGate(nn.Module):
    """MAG: shifts each embedding e by a gated sum of its audio a and vision v, no further than beta allows."""

    def __init__(self, width: int, audio: int, vision: int, beta: float, dropout: float):
        super().__init__()
        self.beta, self.dropout = beta, dropout
        self.vision_gate, self.audio_gate = nn.Linear(vision + width, width), nn.Linear(audio + width, width)
        self.vision_shift, self.audio_shift = nn.Linear(vision, width), nn.Linear(audio, width)
        self.norm = nn.LayerNorm(width)

    def linears(self) -> tuple[nn.Linear, ...]:
        return self.vision_gate, self.audio_gate, self.vision_shift, self.audio_shift

    def forward(self, e_BTE: Tensor, audio_BTD: Tensor, vision_BTD: Tensor, noise: Noise | None = None) -> Tensor:
        vision_gate = self.vision_gate(torch.cat([vision_BTD, e_BTE], dim=-1)).relu()  # g_v = ReLU(W_hv [v; e])
        audio_gate = self.audio_gate(torch.cat([audio_BTD, e_BTE], dim=-1)).relu()  # g_a = ReLU(W_ha [a; e])
        shift_BTE = vision_gate * self.vision_shift(vision_BTD) + audio_gate * self.audio_shift(audio_BTD)
        norm_BT1 = torch.linalg.vector_norm(shift_BTE, dim=-1, keepdim=True)
        room_BT1 = torch.linalg.vector_norm(e_BTE, dim=-1, keepdim=True)
        alpha_BT1 = (self.beta * room_BT1 / (norm_BT1 + 1e-6)).clamp_max(1)  # alpha = min(beta |e| / |h|, 1)
        return dropout(self.norm(alpha_BT1 * shift_BTE + e_BTE), self.dropout, noise)


def block_average(x_BLD: Tensor, steps: int) -> Tensor:
    """(B, T, D): T blocks of ceil(L / T) frames, the last frame repeated to fill them; padding is averaged too.

    M-SENA's alignment for CH-SIMS (400 and 55 frames to 39 steps), for any L and T. Source: thuiar/MMSA, AlignNets.
    """
    frames = x_BLD.shape[1]
    if frames == steps:
        return x_BLD
    pool = -(-frames // steps)
    filling_BFD = x_BLD[:, -1:].expand(-1, pool * steps - frames, -1)
    return torch.cat([x_BLD, filling_BFD], dim=1).unflatten(1, (steps, pool)).mean(2)


def masked_block_average(x_BLD: Tensor, frames_B: Tensor, tokens_B: Tensor, steps: int) -> Tensor:
    """(B, T, D): the same blocks for each example alone, its valid frames onto its valid tokens.

    x is padded on the right; frames_B and tokens_B count what is valid, at least 1. Steps after an example's last token
    repeat its last frame. The result does not depend on how far anything is padded.
    """
    pool_B11 = (-(-frames_B // tokens_B)).view(-1, 1, 1)
    start_BT1 = torch.arange(steps, device=x_BLD.device).view(1, -1, 1) * pool_B11
    frame_L, frames_B11 = torch.arange(x_BLD.shape[1], device=x_BLD.device), frames_B.view(-1, 1, 1)
    inside_BTL = (frame_L >= start_BT1) & (frame_L < start_BT1 + pool_B11) & (frame_L < frames_B11)
    repeats_BT1 = (start_BT1 + pool_B11 - start_BT1.maximum(frames_B11)).clamp_min(0)
    weight_BTL = inside_BTL + repeats_BT1 * (frame_L == frames_B11 - 1)
    return (weight_BTL / pool_B11).to(x_BLD.dtype) @ x_BLD
