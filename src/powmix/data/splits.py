"""Splits in memory: what a dataset is once it has been read.

Shape suffixes: N examples of a split, B of a batch, L time steps, D features, C outputs (1 for regression).
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Literal

import torch
from torch import Tensor

from powmix.data.sources import MODALITIES, SPLITS

__all__ = [
    "CLS",
    "MODALITIES",
    "PAD",
    "SEP",
    "SPLITS",
    "UNKNOWN",
    "Batch",
    "Kind",
    "Side",
    "Split",
    "Splits",
    "Task",
    "real_steps",
]

PAD, UNKNOWN, CLS, SEP = 0, 100, 101, 102
"""Token ids in the vocabulary of every BERT that a corpus comes with."""
Side = Literal["right", "left"]
Kind = Literal["vector", "sequence", "image"]
"""What one example of a modality is: (D,), (L, D) with a length, or (D, H, W) with D channels."""
Task = Literal["regression", "classification", "multilabel"]


def real_steps(length_B: Tensor, side: Side, steps: int) -> Tensor:
    """Which of `steps` time steps are real, not padding: (B, L) bool for lengths (B,) and the padded side."""
    length_B1 = length_B.unsqueeze(-1)
    step_L = torch.arange(steps, device=length_B.device)
    return step_L < length_B1 if side == "right" else step_L >= steps - length_B1


@dataclass(frozen=True)
class Batch:
    """Examples selected by an index; every tensor's first axis is the index's. `batch[name]` is `batch.features[name]`.

    features: by modality, float32: vectors (B, D), padded sequences (B, L, D), images (B, D, H, W); `text` is absent
    where only tokens exist.
    tokens: (B, 3, L) int64, rows ids, attention mask, token types; None where the corpus has none.
    lengths: valid time steps (B,) int64 of each sequence (`text` counts tokens, CLS and SEP included).
    side: the side on which each sequence is padded.
    target: (B, C) float32: the label, one-hot or soft classes, or 0/1 for each of several labels.
    index: (B,) int64, rows of the split.
    """

    features: dict[str, Tensor]
    tokens: Tensor | None
    lengths: dict[str, Tensor]
    side: dict[str, Side]
    target: Tensor
    index: Tensor

    def __getitem__(self, modality: str) -> Tensor:
        return self.features[modality]

    def mask(self, modality: str) -> Tensor:
        """Which time steps of a dense sequence are real: (B, L) bool, padding side respected."""
        return real_steps(self.lengths[modality], self.side[modality], self.features[modality].shape[-2])


@dataclass(frozen=True)
class Split:
    """One split of a dataset, whole, as tensors (possibly memory-mapped) on one device.

    features, tokens, lengths, side, target: as in Batch, for N examples. ids: N different strings. raw_text: N strings,
    empty ones where the dataset has no text. groups: N names (subject, speaker) or None.
    """

    features: dict[str, Tensor]
    tokens: Tensor | None
    lengths: dict[str, Tensor]
    side: dict[str, Side]
    target: Tensor
    ids: list[str]
    raw_text: list[str]
    groups: list[str] | None = None

    def __len__(self) -> int:
        return len(self.target)

    def batch(self, index: Tensor) -> Batch:
        """The examples at `index` (B,) int64, on the split's device."""
        return Batch(
            features={name: value[index] for name, value in self.features.items()},
            tokens=None if self.tokens is None else self.tokens[index],
            lengths={name: value[index] for name, value in self.lengths.items()},
            side=self.side,
            target=self.target[index],
            index=index,
        )

    def select(self, rows: list[int]) -> Split:
        """The split reduced to `rows`, in that order."""
        index = torch.as_tensor(rows, dtype=torch.int64)
        return replace(
            self,
            features={name: value[index] for name, value in self.features.items()},
            tokens=None if self.tokens is None else self.tokens[index],
            lengths={name: value[index] for name, value in self.lengths.items()},
            target=self.target[index],
            ids=[self.ids[row] for row in rows],
            raw_text=[self.raw_text[row] for row in rows],
            groups=self.groups and [self.groups[row] for row in rows],
        )

    def to(self, device: torch.device | str) -> Split:
        """The same split with every tensor on `device`."""
        return replace(
            self,
            features={name: value.to(device) for name, value in self.features.items()},
            tokens=None if self.tokens is None else self.tokens.to(device),
            lengths={name: value.to(device) for name, value in self.lengths.items()},
            target=self.target.to(device),
        )


@dataclass(frozen=True)
class Splits:
    """A dataset: its three splits and what models, metrics and provenance need to know of it.

    dims: feature width (of images: channels) by modality; steps: padded length of each sequence; label_range: of the
    labels' scale (MOSI and MOSEI -3..3, SIMS -1..1); convention: which metrics (metrics/columns.py); digest: SHA-256 of
    what the data came from; outputs: C; kinds: of each modality, `sequence` where it is not said; classes: names of the
    C classes or labels, if they have any; scale: by modality the mean and the standard deviation of each feature, where
    features were scaled by them.
    """

    name: str
    train: Split
    valid: Split
    test: Split
    dims: dict[str, int]
    steps: dict[str, int]
    label_range: tuple[float, float]
    convention: str
    digest: str
    outputs: int = 1
    notes: dict[str, object] = field(default_factory=dict)
    task: Task = "regression"
    kinds: dict[str, Kind] = field(default_factory=dict)
    classes: tuple[str, ...] = ()
    scale: dict[str, tuple[list[float], list[float]]] = field(default_factory=dict)

    def kind(self, modality: str) -> Kind:
        """What one example of a modality is."""
        return self.kinds.get(modality, "sequence")

    def to(self, device: torch.device | str) -> Splits:
        """The same dataset with every tensor on `device`."""
        return replace(self, train=self.train.to(device), valid=self.valid.to(device), test=self.test.to(device))
