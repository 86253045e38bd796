"""Batches of token ids with audio and vision, and BERT models small enough for a test."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Generator, Tensor

from powmix.data.splits import Batch
from powmix.models import Inputs, Noise, build

CONF = Path(__file__).resolve().parents[1] / "conf"
DIMS = {"audio": 3, "vision": 4}
STEPS = {"text": 9, "audio": 14, "vision": 12}
ALIGNED = dict.fromkeys(STEPS, 9)
INPUTS = Inputs(dims=DIMS, steps=STEPS, vocabulary=130)
PUBLISHED = {"own_lengths": False, "configured_decay": False, "decay_without_gradient": True, "mask_padding": False}
SOUND = {name: not value for name, value in PUBLISHED.items()}
TINY = {"pretrained": "tiny"}
DATASETS = {  # feature widths and steps of the published files, models.md a.4
    "mosi": Inputs({"audio": 5, "vision": 20}, {"text": 50, "audio": 375, "vision": 500}),
    "mosei": Inputs({"audio": 74, "vision": 35}, {"text": 50, "audio": 500, "vision": 500}),
    "sims": Inputs({"audio": 33, "vision": 709}, {"text": 39, "audio": 400, "vision": 55}, label_range=(-1.0, 1.0)),
}


def make(name: str, protocol: Mapping[str, bool] = PUBLISHED, inputs: Inputs = INPUTS, **options: Any):
    """A model with the `tiny` text encoder and reproducible weights."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return build(name, {"text": TINY, **options}, inputs, protocol)


def noise(seed: int = 1) -> Noise:
    return Noise(Generator().manual_seed(seed))


def batch_of(size: int = 5, steps: Mapping[str, int] = STEPS, seed: int = 0) -> Batch:
    """Right-padded examples of random lengths; the first one is as long as the padding allows."""
    g = Generator().manual_seed(seed)
    lengths = {name: torch.randint(3, n + 1, (size,), generator=g) for name, n in steps.items()}
    for name, value in lengths.items():
        value[0] = steps[name]
    features = {
        name: torch.randn(size, steps[name], width, generator=g) * valid(lengths[name], steps[name]).unsqueeze(-1)
        for name, width in DIMS.items()
    }
    mask = valid(lengths["text"], steps["text"]).long()
    ids = torch.randint(104, 130, mask.shape, generator=g) * mask
    ids[:, 0] = 101
    tokens = torch.stack([ids, mask, torch.zeros_like(mask)], 1)
    target = torch.randn(size, 1, generator=g)
    side = dict.fromkeys(steps, "right")
    return Batch(features, tokens, lengths, side, target, torch.arange(size))


def valid(lengths: Tensor, steps: int) -> Tensor:
    return torch.arange(steps) < lengths.unsqueeze(-1)


def padded(batch: Batch, by: int) -> Batch:
    """The same examples with `by` more steps of padding in every modality."""
    features = {name: F.pad(x, (0, 0, 0, by)) for name, x in batch.features.items()}
    return replace(batch, features=features, tokens=F.pad(batch.tokens, (0, by)))


def alone(batch: Batch, row: int) -> Batch:
    """One example, cut to its own lengths."""
    lengths = {name: x[row : row + 1] for name, x in batch.lengths.items()}
    features = {name: x[row : row + 1, : int(lengths[name])] for name, x in batch.features.items()}
    tokens = batch.tokens[row : row + 1, :, : int(lengths["text"])]
    return replace(
        batch,
        features=features,
        tokens=tokens,
        lengths=lengths,
        target=batch.target[row : row + 1],
        index=batch.index[row : row + 1],
    )


def left_padded(batch: Batch) -> Batch:
    """The same audio and vision, padded on the left."""
    features = {
        name: torch.stack([row.roll(len(row) - int(length), 0) for row, length in zip(x, batch.lengths[name])])
        for name, x in batch.features.items()
    }
    return replace(batch, features=features, side={"text": "right", "audio": "left", "vision": "left"})


def assert_padding_does_not_matter(model: torch.nn.Module, batch: Batch) -> None:
    """The same hidden vectors and prediction alone, in a batch, and with more padding."""
    with torch.no_grad():
        whole, prediction = model.encode(batch).hidden, model(batch)
        assert all(h.std(0).max() > 1e-3 for h in whole.values()), "examples must differ for the test to mean something"
        assert_same_hidden(model.encode(padded(batch, 4)).hidden, whole)
        for row in range(len(prediction)):
            assert_same_hidden(model.encode(alone(batch, row)).hidden, {k: h[row : row + 1] for k, h in whole.items()})
            torch.testing.assert_close(model(alone(batch, row)), prediction[row : row + 1], atol=1e-5, rtol=0)


def assert_same_hidden(first: Mapping[str, Tensor], second: Mapping[str, Tensor]) -> None:
    torch.testing.assert_close(dict(first), dict(second), atol=1e-5, rtol=0)


def recipe(model: str, dataset: str) -> dict[str, Any]:
    from omegaconf import OmegaConf

    return OmegaConf.to_container(OmegaConf.load(CONF / "recipe" / f"{model}_{dataset}.yaml"))


def count_outside_bert(name: str, dataset: str, monkeypatch: Any, protocol: Mapping[str, bool] = PUBLISHED) -> int:
    """Parameters of a model as its recipe builds it, with an encoder as wide as BERT-base."""
    from transformers import BertConfig, BertModel

    def wide(name: str, vocabulary: int, pooler: bool) -> torch.nn.Module:
        return BertModel(BertConfig(vocab_size=104, num_hidden_layers=1), add_pooling_layer=pooler)

    monkeypatch.setattr("powmix.models.bert.load_bert", wide)
    model = build(name, recipe(name, dataset)["model"], DATASETS[dataset], protocol)
    return sum(p.numel() for key, p in model.named_parameters() if not key.startswith("text."))
