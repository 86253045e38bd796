"""One step's forward pass: encode, mix, fuse, and the losses. It names neither a model nor a mixer.

Shape suffixes: B batch, R rows given to fusion (clean or mixed), C outputs. A leading axis (stacked seeds) passes
through `encode`; everything behind it is done seed by seed.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Generator, Tensor

from powmix.data.splits import Batch, Split
from powmix.mixing.mixed import Mixed, Mixer
from powmix.models.base import Encoded, FusionModel
from powmix.models.dropout import Noise
from powmix.training.batches import evaluation_batches
from powmix.training.device import Precision
from powmix.training.losses import RowLoss


@dataclass(frozen=True)
class Step:
    """loss: what is minimised, the task loss of the mixed rows plus the auxiliary losses."""

    loss: Tensor
    encoded: Encoded
    mixed: Mixed


def training_step(
    model: FusionModel,
    mixer: Mixer,
    batch: Batch,
    row_loss: RowLoss,
    noise: Noise,
    mixing: Generator,
    epoch: int,
    precision: Precision,
) -> Step:
    """The losses of one mini-batch. `mixing` is the mixer's generator; `epoch` counts from 0.

    Mixing and losses are computed in float32 whatever the precision of the encoders.
    """
    encoded = encode(model, batch, noise, precision)
    return fuse(model, mixer, batch, encoded, row_loss, noise, mixing, epoch, precision)


def encode(model: FusionModel, batch: Batch, noise: Noise, precision: Precision) -> Encoded:
    """The first half of a step: what the encoders give, in float32."""
    with precision():
        return _in_float32(model.encode(batch, noise))


def fuse(
    model: FusionModel,
    mixer: Mixer,
    batch: Batch,
    encoded: Encoded,
    row_loss: RowLoss,
    noise: Noise,
    mixing: Generator,
    epoch: int,
    precision: Precision,
) -> Step:
    """The second half of a step: mixing, fusion, losses."""
    mixed = mixer(encoded.hidden, batch.target, generator=mixing, epoch=epoch)
    with precision():
        prediction_RC = model.fuse(mixed.hidden, noise)
        auxiliary = model.auxiliary_losses(encoded, mixed, batch, noise)
    task = (row_loss(prediction_RC.float(), mixed.target) * mixed.row_weight).sum(-1)
    return Step(task + sum(value.float() for value in auxiliary.values()), encoded, mixed)


@torch.no_grad()
def predict(model: FusionModel, split: Split, size: int, precision: Precision) -> Tensor:
    """Predictions (N, C) float32 on the CPU, in the split's order, without dropout or mixing."""
    with precision():
        parts = [model(split.batch(index)).float() for index in evaluation_batches(split, size)]
    return torch.cat(parts, -2).cpu()


def _in_float32(encoded: Encoded) -> Encoded:
    hidden, clean = (
        {k: v.float() if v.dtype == torch.bfloat16 else v for k, v in x.items()}
        for x in (encoded.hidden, encoded.clean)
    )
    return Encoded(hidden, clean)
