"""The interface between a model and the training loop: encode, then (the mixer stands here) fuse.

Shape suffixes: B batch, R rows given to fusion (B clean or O mixed), D width, C outputs, N training examples.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar

from torch import Tensor, nn

from powmix.data.splits import Batch, Kind, Splits, Task
from powmix.mixing import Mixed
from powmix.models.dropout import Noise


@dataclass(frozen=True)
class Encoded:
    """What a model's encoders give for a batch.

    hidden: by modality (B, D_m), in the order that fusion expects; the mixer sees these and nothing else.
    clean: further tensors that the auxiliary losses or `observe` need; they are never mixed.
    """

    hidden: dict[str, Tensor]
    clean: dict[str, Tensor] = field(default_factory=dict)


@dataclass(frozen=True)
class Inputs:
    """What a model must know of a dataset; it is read from the data, never from YAML.

    dims: feature width (of images: channels) by modality (`text` absent where only tokens exist); steps: padded length
    of each sequence; outputs: C; label_range: scale of the labels; vocabulary: the largest token id + 1, 0 without
    tokens; token_ids: those that occur, None: any may; kinds: of each modality (data/splits.py), `sequence` where it is
    not said; task: what is predicted.
    """

    dims: Mapping[str, int]
    steps: Mapping[str, int]
    outputs: int = 1
    label_range: tuple[float, float] = (-3.0, 3.0)
    vocabulary: int = 0
    token_ids: tuple[int, ...] | None = None
    kinds: Mapping[str, Kind] = field(default_factory=dict)
    task: Task = "regression"

    def kind(self, modality: str) -> Kind:
        """What one example of a modality is: `vector`, `sequence` or `image`."""
        return self.kinds.get(modality, "sequence")


def inputs_of(splits: Splits) -> Inputs:
    """Reads from a dataset what a model must know of it."""
    parts = (splits.train, splits.valid, splits.test)
    ids = sorted({i for split in parts if split.tokens is not None for i in split.tokens[:, 0].unique().tolist()})
    vocabulary = ids[-1] + 1 if ids else 0
    return Inputs(
        splits.dims,
        splits.steps,
        splits.outputs,
        splits.label_range,
        vocabulary,
        tuple(ids) or None,
        {name: splits.kind(name) for name in splits.dims},
        splits.task,
    )


class FusionModel(nn.Module):
    """A model that fuses encoded modalities; the base class of all architectures.

    `noise` is where dropout draws from; None means evaluation. Only `prepare` and `observe` may write buffers.
    """

    needs: ClassVar[tuple[str, ...]] = ("text", "audio", "vision")
    """What the model reads of a dataset: dense modalities by name, or `*` for all of them; `tokens`."""
    tasks: ClassVar[tuple[Task, ...]] = ("regression", "classification", "multilabel")
    """What the model can learn."""
    switches: ClassVar[tuple[str, ...]] = ()
    """The protocol switches (conf/protocol) that are keyword arguments of this model's constructor."""
    inputs: Inputs | None = None
    """What it was built for, where `models.build` built it."""

    @classmethod
    def needs_of(cls, options: Mapping[str, Any]) -> tuple[str, ...]:
        """What the model reads of a dataset with these options (conf/model)."""
        return cls.needs

    def encode(self, batch: Batch, noise: Noise | None = None) -> Encoded:
        """The hidden vectors of a batch, before any mixing."""
        raise NotImplementedError

    def fuse(self, hidden: Mapping[str, Tensor], noise: Noise | None = None) -> Tensor:
        """The prediction (R, C) from clean or mixed hidden vectors (R, D_m)."""
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
        """Called once before training with the training targets (N, C), to allocate what is remembered by example."""

    def observe(self, encoded: Encoded, batch: Batch, epoch: int, noise: Noise | None = None) -> None:
        """Called after each backward pass of epoch 1, 2, ..., to update what is remembered."""
