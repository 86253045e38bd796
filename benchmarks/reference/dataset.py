"""A split as the reference framework serves it: one dictionary of fresh tensors per example, collated batch by batch.

Shape suffixes: N examples of a split, B of a batch, L time steps, D features.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from powmix.data.splits import Split


class Items(Dataset):
    """NumPy arrays behind a per-item `__getitem__` that copies every array of the example into a new tensor.

    tokens: text is the (3, L) token array instead of dense features. average: audio and vision are replaced by
    their mean over all time steps, padding included, then NaN by 0 (LF-DNN, TFN).
    """

    def __init__(self, split: Split, *, tokens: bool = False, average: bool = False):
        self.text = split.tokens.float().numpy() if tokens else split.features["text"].numpy()
        self.audio, self.vision = (split.features[name].numpy() for name in ("audio", "vision"))
        if average:
            self.audio, self.vision = averaged(self.audio), averaged(self.vision)
        self.audio_lengths, self.vision_lengths = (split.lengths[name].numpy() for name in ("audio", "vision"))
        self.labels = split.target.numpy()
        self.ids, self.raw_text = split.ids, split.raw_text

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, index: int) -> dict[str, Any]:
        return {
            "raw_text": self.raw_text[index],
            "text": torch.Tensor(self.text[index]),
            "audio": torch.Tensor(self.audio[index]),
            "vision": torch.Tensor(self.vision[index]),
            "index": index,
            "id": self.ids[index],
            "labels": {"M": torch.Tensor(self.labels[index].reshape(-1))},
            "audio_lengths": self.audio_lengths[index],
            "vision_lengths": self.vision_lengths[index],
        }


def averaged(features_NLD: np.ndarray) -> np.ndarray:
    """(N, L, D) -> (N, 1, D): the mean over all steps."""
    mean_N1D = features_NLD.mean(axis=1, keepdims=True)
    mean_N1D[np.isnan(mean_N1D)] = 0
    return mean_N1D


def loader(items: Items, batch_size: int, generator: torch.Generator | None = None) -> DataLoader:
    """Shuffled, nothing dropped. No workers: a benchmark must not depend on how processes are scheduled."""
    return DataLoader(items, batch_size=batch_size, shuffle=True, num_workers=0, generator=generator)


def on_device(batch: dict[str, Any], device: torch.device | str) -> dict[str, Any]:
    """The batch with its tensors moved, one by one."""
    moved = {key: value.to(device) if isinstance(value, Tensor) else value for key, value in batch.items()}
    moved["labels"] = {key: value.to(device) for key, value in batch["labels"].items()}
    return moved
