"""Datasets in memory whose modalities have any names, number and kinds, and whose target can be learnt from each."""

from __future__ import annotations

from dataclasses import replace

import torch
import torch.nn.functional as F
from torch import Generator, Tensor

from powmix.data.splits import Batch, Kind, Split, Splits, real_steps
from powmix.models import inputs_of

DIMS: dict[Kind, int] = {"vector": 5, "sequence": 4, "image": 2}
STEPS = 9


def split_of(kinds: dict[str, Kind], size: int, seed: int = 0, outputs: int = 1, side: str = "right") -> Split:
    """Noise around each example's score, which is the target (or, with outputs, its class)."""
    g = Generator().manual_seed(seed)
    score = torch.randn(size, generator=g)
    features, lengths = {}, {}
    for name, kind in kinds.items():
        shape = {"vector": (5,), "sequence": (STEPS, 4), "image": (2, 6, 7)}[kind]
        x = 0.5 * torch.randn(size, *shape, generator=g) + score.view(-1, *[1] * len(shape))
        if kind == "sequence":
            lengths[name] = torch.randint(1, STEPS + 1, (size,), generator=g)
            x = x * real_steps(lengths[name], side, STEPS).unsqueeze(-1)
        features[name] = x
    target = score.unsqueeze(1) if outputs == 1 else F.one_hot(score.sign().long() + 1, outputs).float()
    ids = [f"{seed}/{row}" for row in range(size)]
    return Split(features, None, lengths, dict.fromkeys(lengths, side), target, ids, [""] * size)


def splits_of(kinds: dict[str, Kind], size: int = 64, outputs: int = 1, side: str = "right") -> Splits:
    train, valid, test = (split_of(kinds, size, seed, outputs, side) for seed in range(3))
    dims = {name: DIMS[kind] for name, kind in kinds.items()}
    steps = {name: STEPS for name, kind in kinds.items() if kind == "sequence"}
    task, columns = ("classification", "classification") if outputs > 1 else ("regression", "mosi")
    return Splits(
        "any", train, valid, test, dims, steps, (-3.0, 3.0), columns, "none", outputs, task=task, kinds=dict(kinds)
    )


def inputs_for(kinds: dict[str, Kind], outputs: int = 1):
    return inputs_of(splits_of(kinds, 4, outputs))


def batch_of(kinds: dict[str, Kind], size: int = 16, outputs: int = 1, side: str = "right") -> Batch:
    return split_of(kinds, size, outputs=outputs, side=side).batch(torch.arange(size))


def padded(batch: Batch, by: int = 5, filler: float = 7.0) -> Batch:
    """The same examples with more padding, of anything."""
    features = dict(batch.features)
    for name in batch.lengths:
        x, right = features[name], batch.side[name] == "right"
        x = F.pad(x, (0, 0, 0, by) if right else (0, 0, by, 0))
        valid_BL = real_steps(batch.lengths[name], batch.side[name], x.shape[1])
        features[name] = x.masked_fill(~valid_BL.unsqueeze(-1), filler)
    return replace(batch, features=features)


def rows_of(batch: Batch, rows: list[int]) -> Batch:
    """Some examples of a batch, in that order."""
    return replace(
        batch,
        features={name: x[rows] for name, x in batch.features.items()},
        lengths={name: x[rows] for name, x in batch.lengths.items()},
        target=batch.target[rows],
        index=batch.index[rows],
    )


def share_left(model: torch.nn.Module, batch: Batch, noises, mixer, steps: int = 40, rate: float = 1e-2) -> float:
    """The clean loss after some steps of training with a mixer, as a share of the one before."""

    def loss(prediction: Tensor, target: Tensor) -> Tensor:
        return F.cross_entropy(prediction, target) if target.shape[1] > 1 else F.l1_loss(prediction, target)

    adam = torch.optim.Adam(model.parameters(), lr=rate)
    generator, before = Generator().manual_seed(3), loss(model(batch), batch.target).item()
    for step in range(steps):
        encoded = model.encode(batch, noises(step))
        mixed = mixer(encoded.hidden, batch.target, generator=generator)
        adam.zero_grad()
        loss(model.fuse(mixed.hidden, noises(step)), mixed.target).backward()
        adam.step()
        model.observe(encoded, batch, step + 1)
    return loss(model(batch), batch.target).item() / before
