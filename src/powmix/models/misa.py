"""MISA: modality-invariant and -specific representations (Hazarika, Zimmermann, Poria 2020), with a fine-tuned BERT.

M-SENA's `sp_discriminator` and last LayerNorm (`tlayer_norm`) are in no output and no loss: they are left out.
Shape suffixes: B batch, R rows given to fusion, M modalities (text, vision, audio), P pairs, K moments, L steps,
D feature width, H hidden.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from powmix.data.splits import Batch
from powmix.mixing import Mixed
from powmix.models.base import Encoded, FusionModel, Inputs
from powmix.models.bert import BERT, TextEncoder
from powmix.models.dropout import Noise, dropout
from powmix.models.recurrent import LSTM, first_valid_first, select_step
from powmix.models.sequences import refuse_other_kinds
from powmix.models.transformer import TransformerLayer

ORDER = ("text", "vision", "audio")
HIDDEN = (*(f"private_{name}" for name in ORDER), *(f"shared_{name}" for name in ORDER))
PAIRS = ((0, 1), (0, 2), (2, 1))
"""Pairs of modalities, by their places in ORDER."""
MOMENTS = 5


class MISA(FusionModel):
    """Private and shared sigmoid vectors of three modalities, fused by one transformer layer.

    hidden: six vectors (B, H), private text, vision, audio, then shared text, vision, audio. diff_weight, sim_weight
    and recon_weight weigh the auxiliary losses. own_lengths false: audio and vision are read only as far as the text
    has tokens, as stored; true: by their own lengths. configured_decay false: no weight decay, whatever is set.
    """

    needs = ("tokens", "audio", "vision")
    switches = ("own_lengths", "configured_decay")

    def __init__(
        self,
        inputs: Inputs,
        text: Mapping[str, Any] = BERT,
        hidden_size: int = 128,
        dropout: float = 0.2,
        diff_weight: float = 0.1,
        sim_weight: float = 0.3,
        recon_weight: float = 1.0,
        *,
        own_lengths: bool = False,
        configured_decay: bool = False,
    ):
        super().__init__()
        refuse_other_kinds("misa", inputs)
        self.own_lengths, self.configured_decay, self.dropout = own_lengths, configured_decay, dropout
        self.loss_weights = {"difference": diff_weight, "similarity": sim_weight, "reconstruction": recon_weight}
        self.text = TextEncoder(inputs, **text)
        self.vision, self.audio = UtteranceLSTM(inputs.dims["vision"]), UtteranceLSTM(inputs.dims["audio"])
        widths = {"text": self.text.width, "vision": 4 * inputs.dims["vision"], "audio": 4 * inputs.dims["audio"]}
        self.project = nn.ModuleDict({name: projection(widths[name], hidden_size) for name in ORDER})
        self.private = nn.ModuleDict({name: nn.Linear(hidden_size, hidden_size) for name in ORDER})
        self.shared = nn.Linear(hidden_size, hidden_size)
        self.reconstruct = nn.ModuleDict({name: nn.Linear(hidden_size, hidden_size) for name in ORDER})
        self.transformer = TransformerLayer(hidden_size)
        self.hidden_layer = nn.Linear(6 * hidden_size, 3 * hidden_size)
        self.output = nn.Linear(3 * hidden_size, inputs.outputs)

    def encode(self, batch: Batch, noise: Noise | None = None) -> Encoded:
        utterance = self.utterances(batch, noise)
        projection_MBH = torch.stack([self.project[name](utterance[name]) for name in ORDER])
        private_MBH = torch.stack([self.private[name](p) for name, p in zip(ORDER, projection_MBH)]).sigmoid()
        shared_MBH = self.shared(projection_MBH).sigmoid()
        whole_MBH = private_MBH + shared_MBH
        reconstruction_MBH = torch.stack([self.reconstruct[name](w) for name, w in zip(ORDER, whole_MBH)])
        clean = {"private": private_MBH, "shared": shared_MBH}
        clean |= {"projection": projection_MBH, "reconstruction": reconstruction_MBH}
        return Encoded(dict(zip(HIDDEN, (*private_MBH, *shared_MBH))), clean)

    def utterances(self, batch: Batch, noise: Noise | None) -> dict[str, Tensor]:
        """One vector per modality: BERT's mean over tokens (B, D), the final LSTM states (B, 4D)."""
        states_BLD, mask_BL = self.text(batch.tokens, noise)
        weight_BL = mask_BL / mask_BL.sum(-1, keepdim=True)
        text_BD = (states_BLD * weight_BL.unsqueeze(-1)).sum(1)
        return {"text": text_BD, **{name: self.read(name, batch) for name in ("vision", "audio")}}

    def read(self, modality: str, batch: Batch) -> Tensor:
        x_BLD = batch.features[modality]
        assert batch.tokens is not None
        lengths_B = batch.lengths[modality] if self.own_lengths else (batch.tokens[:, 1] != 0).sum(-1)
        lengths_B = lengths_B.clamp(1, x_BLD.shape[1])
        if self.own_lengths and batch.side[modality] == "left":
            x_BLD = first_valid_first(x_BLD, lengths_B)
        return getattr(self, modality)(x_BLD[:, : int(lengths_B.max())], lengths_B)

    def fuse(self, hidden: Mapping[str, Tensor], noise: Noise | None = None) -> Tensor:
        six_R6H = torch.stack([hidden[name] for name in HIDDEN], dim=1)
        h = self.hidden_layer(self.transformer(six_R6H, noise).flatten(1))
        return self.output(dropout(h, self.dropout, noise).relu())

    def auxiliary_losses(
        self, encoded: Encoded, mixed: Mixed, batch: Batch, noise: Noise | None = None
    ) -> dict[str, Tensor]:
        """Difference, similarity (CMD) and reconstruction on the clean vectors, weighted: they know no mixed rows."""
        clean = encoded.clean
        with torch.autocast(batch.target.device.type, enabled=False):
            losses = {
                "difference": difference_loss(clean["private"], clean["shared"]),
                "similarity": similarity_loss(clean["shared"]),
                "reconstruction": reconstruction_loss(clean["reconstruction"], clean["projection"]),
            }
        return {name: self.loss_weights[name] * loss for name, loss in losses.items()}

    def parameter_groups(self, optimizer: Mapping[str, Any]) -> list[dict[str, Any]]:
        decay = optimizer["weight_decay"] if self.configured_decay else 0.0
        return super().parameter_groups({**optimizer, "weight_decay": decay})


def difference_loss(private_MBH: Tensor, shared_MBH: Tensor) -> Tensor:
    """How far subspaces are from orthogonal, the paper's L_diff: a sum over six pairs of mean (X1^T X2)^2.

    Pairs: each modality's private and shared vectors, and the private vectors of two modalities. X is centred over the
    batch, each row divided by its norm, through which no gradient flows.
    """
    x = torch.cat([private_MBH, shared_MBH])
    x = x - x.mean(1, keepdim=True)
    x = x / (torch.linalg.vector_norm(x, dim=2, keepdim=True).detach() + 1e-6)
    first, second = zip(*[(m, m + 3) for m in range(3)], *PAIRS)
    correlation_PHH = torch.bmm(x[list(first)].transpose(1, 2), x[list(second)])
    return correlation_PHH.pow(2).mean((1, 2)).sum()


def similarity_loss(shared_MBH: Tensor) -> Tensor:
    """Central moment discrepancy of the shared vectors, the paper's L_sim, moments 1 to 5, mean over three pairs.

    Gradients stay finite where two moments are equal, as in a batch of one.
    """
    mean_M1H = shared_MBH.mean(1, keepdim=True)
    centred = shared_MBH - mean_M1H
    moments_KMH = torch.stack([mean_M1H.squeeze(1), *(centred.pow(k).mean(1) for k in range(2, MOMENTS + 1))])
    first, second = zip(*PAIRS)
    gaps_KPH = moments_KMH[:, list(first)] - moments_KMH[:, list(second)]
    return torch.linalg.vector_norm(gaps_KPH, dim=2).sum(0).mean()


def reconstruction_loss(reconstruction_MBH: Tensor, projection_MBH: Tensor) -> Tensor:
    """The paper's L_recon: squared error, mean over modalities; the target gets its gradient too, as published."""
    return F.mse_loss(reconstruction_MBH, projection_MBH)


class UtteranceLSTM(nn.Module):
    """Two bidirectional LSTMs, a LayerNorm between them: x (B, L, D) of `lengths` valid steps -> (B, 4D).

    The final states in the order first forward, second forward, first backward, second backward.
    """

    def __init__(self, width: int):
        super().__init__()
        self.first = nn.ModuleList([LSTM(width, width) for _ in range(2)])
        self.second = nn.ModuleList([LSTM(2 * width, width) for _ in range(2)])
        self.norm = nn.LayerNorm(2 * width)

    def forward(self, x_BLD: Tensor, lengths_B: Tensor) -> Tensor:
        last_B = lengths_B - 1
        forward, backward = self.first[0](x_BLD), self.first[1](reverse(x_BLD, lengths_B))
        y = self.norm(torch.cat([forward, reverse(backward, lengths_B)], dim=-1))
        second = [self.second[0](y), self.second[1](reverse(y, lengths_B))]
        states = torch.cat([forward, second[0], backward, second[1]], dim=-1)
        return select_step(states, last_B)


def reverse(x_BLD: Tensor, lengths_B: Tensor) -> Tensor:
    """The valid steps of each right-padded sequence in reverse order, its padding left where it is."""
    step_L = torch.arange(x_BLD.shape[1], device=x_BLD.device)
    mirrored_BL = lengths_B.unsqueeze(-1) - 1 - step_L
    index_BL = torch.where(mirrored_BL >= 0, mirrored_BL, step_L)
    return x_BLD.gather(1, index_BL.unsqueeze(-1).expand_as(x_BLD))


def projection(inputs: int, width: int) -> nn.Sequential:
    return nn.Sequential(nn.Linear(inputs, width), nn.ReLU(), nn.LayerNorm(width))
