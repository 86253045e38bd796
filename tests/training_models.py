"""Small models on a corpus of 70 clips, and trainings of them."""

from __future__ import annotations

from functools import lru_cache, partial
from pathlib import Path
from typing import Any

from powmix import data, mixing, models
from powmix.training import Settings, train

SUBNETS = {"text_hidden": 8, "audio_hidden": 4, "vision_hidden": 4, "text_out": 6, "post_fusion_dim": 8}
OPTIONS = {
    "lf_dnn": SUBNETS,
    "tfn": SUBNETS,
    "mult": {"dim": 8, "heads": 2, "levels": 2, "kernel_text": 3, "kernel_audio": 1, "kernel_vision": 3},
}
PROTOCOL = dict.fromkeys(
    ("mask_padding", "positions", "own_lengths", "range_from_labels", "configured_decay", "decay_without_gradient"),
    False,
)
CORPUS = {
    "name": "synthetic",
    "sizes": {"train": 70, "valid": 30, "test": 40},
    "steps": {"text": 8, "audio": 12, "vision": 12},
    "dims": {"text": 10, "audio": 3, "vision": 5},
}
BASICS = {
    "max_epochs": 4,
    "batch_size": 16,
    "device": "cpu",
    "optimizer": {"learning_rate": 3e-3, "weight_decay": 1e-3},
}


@lru_cache
def corpus() -> data.Splits:
    return data.load(CORPUS, models.needs("mult"))


def builder(name: str):
    return partial(models.build, name, OPTIONS[name], models.inputs_of(corpus()), PROTOCOL)


def settings(**changed: Any) -> Settings:
    return Settings(**BASICS | changed)


def mixer(name: str = "none", **options: Any):
    return mixing.build(name, options)


def alone(folder: Path, name: str, mixer, seed: int, listener=None, **changed: Any) -> dict[str, Any]:
    """One seed, trained by itself."""
    return train(builder(name), corpus(), mixer, settings(**changed), seed, folder, listener)
