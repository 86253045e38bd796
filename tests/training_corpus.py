"""A model, a mixer and a dataset of a few kilobytes that exercise everything the training loop touches."""

from __future__ import annotations

import csv
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file
from torch import nn

from powmix.data.splits import Split, Splits
from powmix.mixing import Mixed, Mixer
from powmix.models import Encoded, FusionModel
from powmix.training import Listener, Settings, train

WIDTHS = {"text": 6, "audio": 3, "vision": 4}


class TinyFusion(FusionModel):
    """Mean over time, a layer per modality, dropout, a head; `observe` counts the steps it saw."""

    def __init__(self, outputs: int = 1, dropout: float = 0.2):
        super().__init__()
        self.encoders = nn.ModuleDict({name: nn.Linear(width, 8) for name, width in WIDTHS.items()})
        self.head = nn.Linear(24, outputs)
        self.dropout = dropout
        self.register_buffer("seen", torch.zeros((), dtype=torch.int64))

    def encode(self, batch, noise=None):
        hidden = {name: layer(batch.features[name].mean(-2)).relu() for name, layer in self.encoders.items()}
        return Encoded({k: noise.dropout(v, self.dropout) if noise else v for k, v in hidden.items()})

    def fuse(self, hidden, noise=None):
        return self.head(torch.cat(list(hidden.values()), -1))

    def observe(self, encoded, batch, epoch, noise=None):
        self.seen += 1


class PairMixer(Mixer):
    """Averages every example with the next one."""

    def draw(self, hidden, target, generator):
        return torch.randint(1, len(target), (), generator=generator)

    def apply(self, shift, hidden, target):
        rows = len(target)
        weights = (torch.eye(rows) + torch.eye(rows).roll(int(shift), 1)) / 2
        return Mixed(
            {name: weights @ value for name, value in hidden.items()},
            weights @ target,
            torch.full((rows,), 1 / rows),
            dict.fromkeys(hidden, weights),
            fallbacks={"attention": torch.tensor(1), "attention_of": rows},
            statistics={"mean_k": torch.tensor(2.0), "label_spread": target.std()},
        )


def tiny_split(size: int, seed: int, outputs: int = 1) -> Split:
    generator = torch.Generator().manual_seed(seed)
    features = {name: torch.randn(size, 5, width, generator=generator) for name, width in WIDTHS.items()}
    score = 6 * features["text"].mean((1, 2)) + 2 * features["audio"].mean((1, 2))
    target = score[:, None].clamp(-3, 3)
    if outputs > 1:
        target = torch.eye(outputs)[(score > 0).long() + (score > 1).long()]
    lengths = {name: torch.randint(1, 6, (size,), generator=generator) for name in WIDTHS}
    ids = [f"video{row}$_$0" for row in range(size)]
    return Split(features, None, lengths, dict.fromkeys(WIDTHS, "right"), target, ids, [""] * size)


def tiny_splits(outputs: int = 1) -> Splits:
    train, valid, test = (tiny_split(size, seed, outputs) for size, seed in ((53, 0), (30, 1), (31, 2)))
    steps = dict.fromkeys(WIDTHS, 5)
    task, columns = ("classification", "classification") if outputs > 1 else ("regression", "mosi")
    return Splits("tiny", train, valid, test, dict(WIDTHS), steps, (-3.0, 3.0), columns, "none", outputs, task=task)


def tiny_train(folder: Path, mixer: Mixer | None = None, seed: int = 1111, listener=None, **settings: Any) -> dict:
    settings = {
        "optimizer": {"learning_rate": 0.01, "weight_decay": 0.01},
        "max_epochs": 6,
        "batch_size": 16,
        "device": "cpu",
    } | settings
    mixer = PairMixer(p_mix=0.5) if mixer is None else mixer
    return train(TinyFusion, tiny_splits(), mixer, Settings(**settings), seed, folder, listener)


class Watcher(Listener):
    """Remembers the epochs it was told of and raises `error` after epoch `last`."""

    def __init__(self, last: int | None = None, error: type[BaseException] = RuntimeError):
        self.rows, self.last, self.error = [], last, error

    def on_epoch(self, seed, row):
        self.rows.append(dict(row))
        if row["epoch"] == self.last:
            raise self.error(f"stopped after epoch {self.last}")


def science(record):
    """A seed's record less what differs from run to run."""
    return {key: value for key, value in record.items() if key not in ("seconds", "folder")}


def weights(folder):
    return load_file(folder / "weights.safetensors")


def same_weights(a, b):
    return a.keys() == b.keys() and all(torch.equal(a[name], b[name]) for name in a)


def rows_of(path):
    with path.open() as stream:
        return list(csv.DictReader(stream))
