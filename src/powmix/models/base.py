"""What a model is to the training loop: encode, (the mixer stands here), fuse; nothing is written in forward.

Shape suffixes: B batch, R rows given to fusion (B clean or O mixed), D width, C outputs. Models that are `stackable`
take a leading axis S on every parameter and every input: S seeds as one computation.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar

from torch import Tensor, nn

from powmix.data.splits import Batch
from powmix.mixing import Mixed
from powmix.models.dropout import Noise


@dataclass(frozen=True)
class Encoded:
    """What the encoders give. hidden: by modality (B, D_m), in the order fusion expects: all the mixer sees.

    clean: further tensors that the auxiliary losses or `observe` need; they are never mixed.
    """

    hidden: dict[str, Tensor]
    clean: dict[str, Tensor] = field(default_factory=dict)


@dataclass(frozen=True)
class Inputs:
    """What a model must know of the data, read from the data: never from YAML.

    dims: feature width by modality (`text` absent where only tokens exist); steps: padded length by modality;
    outputs: C; label_range: scale of the labels; vocabulary: the largest token id + 1, 0 without tokens;
    token_ids: those that occur, None: any may.
    """

    dims: Mapping[str, int]
    steps: Mapping[str, int]
    outputs: int = 1
    label_range: tuple[float, float] = (-3.0, 3.0)
    vocabulary: int = 0
    token_ids: tuple[int, ...] | None = None


class FusionModel(nn.Module):
    """Late fusion of encoded modalities. `noise` carries the dropout generator; None means evaluation."""

    needs: ClassVar[tuple[str, ...]] = ("text", "audio", "vision")
    """What the model reads: dense `text` and/or `tokens`, `audio`, `vision`."""
    stackable: ClassVar[bool] = False
    switches: ClassVar[tuple[str, ...]] = ()
    """The protocol switches (conf/protocol) that are keyword arguments of this model's constructor."""

    def encode(self, batch: Batch, noise: Noise | None = None) -> Encoded:
        """The hidden vectors of a batch, before any mixing."""
        raise NotImplementedError

    def fuse(self, hidden: Mapping[str, Tensor], noise: Noise | None = None) -> Tensor:
        """The prediction (R, C) of clean or mixed hidden vectors (R, D_m)."""
        raise NotImplementedError

    def forward(self, batch: Batch, noise: Noise | None = None) -> Tensor:
        """The prediction (B, C) without mixing."""
        return self.fuse(self.encode(batch, noise).hidden, noise)

    def auxiliary_losses(
        self, encoded: Encoded, mixed: Mixed, batch: Batch, noise: Noise | None = None
    ) -> dict[str, Tensor]:
        """Losses beside the task loss, already weighted, by name; each a scalar."""
        return {}

    def parameter_groups(self, optimizer: Mapping[str, Any]) -> list[dict[str, Any]]:
        """Adam's groups, each `{"params": [...], "lr": float, "weight_decay": float}`, from the recipe."""
        return [
            {
                "params": [p for p in self.parameters() if p.requires_grad],
                "lr": optimizer["learning_rate"],
                "weight_decay": optimizer["weight_decay"],
            }
        ]

    def prepare(self, target: Tensor) -> None:
        """Called once before training with the training targets (N, C): allocate what is remembered per example."""

    def observe(self, encoded: Encoded, batch: Batch, epoch: int, noise: Noise | None = None) -> None:
        """Called after each backward pass of epoch 1, 2, ...: the only place where buffers are written."""
