"""From the `dataset` section of a configuration to Splits, once per process for equal arguments."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor

from powmix.data import synthetic
from powmix.data.fractions import fraction_rows
from powmix.data.options import one_of, unknown_keys
from powmix.data.sources import DATASETS, SYNTHETIC, whence
from powmix.data.splits import Split, Splits

NEEDS = ("tokens", "text", "audio", "vision")
FILE_KEYS = ("name", "path", "fraction", "fraction_seed", "text_encoder")
CLASSES = ("negative", "neutral", "positive")

_loaded: dict[str, Splits] = {}


def load(
    dataset: Mapping[str, Any], needs: Sequence[str], task: Literal["regression", "classification"] = "regression"
) -> Splits:
    """The dataset with what a model needs of it, on the CPU; memory-mapped where it came from a file.

    dataset: `name` (synthetic, mosi, mosei, sims), `fraction` of the training split with its `fraction_seed`, and
    for files `path` and `text_encoder`, for synthetic the fields of synthetic.Options. needs: of tokens, text, audio,
    vision; dense `text` that a file lacks is computed by a frozen BERT. task: classification turns labels into one-hot
    (N, 3) negative, neutral, positive. Equal arguments give the same object within a process.
    Raises ValueError for wrong options, missing or unusable files.
    """
    one_of("dataset.name", dataset.get("name"), DATASETS)
    one_of("task", task, ("regression", "classification"))
    for need in needs:
        one_of("needs", need, NEEDS)
    key = json.dumps([dict(dataset), sorted(needs), task, _stamp(dataset)], sort_keys=True, default=str)
    if key not in _loaded:
        whole = _synthetic(dataset) if dataset["name"] == SYNTHETIC else _from_file(dataset, needs)
        _loaded[key] = _reduced(_limited(whole, dataset), needs, task)
    return _loaded[key]


def one_hot_sign(label_N1: Tensor) -> Tensor:
    """(N, 1) labels to (N, 3) one-hot classes: negative, neutral, positive."""
    return torch.nn.functional.one_hot(label_N1[:, 0].sign().long() + 1, len(CLASSES)).float()


def _stamp(dataset: Mapping[str, Any]) -> list[int]:
    path = dataset.get("path")
    if not path or not Path(path).expanduser().is_file():
        return []
    status = Path(path).expanduser().stat()
    return [status.st_size, status.st_mtime_ns]


def _synthetic(dataset: Mapping[str, Any]) -> Splits:
    own = ("name", "fraction", "fraction_seed")
    unknown_keys("dataset", dataset, [*own, *synthetic.Options.__dataclass_fields__])
    return synthetic.build({key: value for key, value in dataset.items() if key not in own})


def _from_file(dataset: Mapping[str, Any], needs: Sequence[str]) -> Splits:
    from powmix.data.store import open_store
    from powmix.data.text import with_text

    unknown_keys("dataset", dataset, FILE_KEYS)
    name, path = dataset["name"], dataset.get("path")
    if not path:
        raise ValueError(f"dataset.path: no feature file given. {whence(name)}")
    if not Path(path).expanduser().is_file():
        raise ValueError(f"dataset.path: no file {str(path)!r}. {whence(name)}")
    store = open_store(Path(path).expanduser(), name)
    if "text" in needs:
        return with_text(store, dataset.get("text_encoder"))
    return store.splits


def _limited(splits: Splits, dataset: Mapping[str, Any]) -> Splits:
    fraction = dataset.get("fraction", 1.0)
    rows = fraction_rows(splits.train.target, fraction, dataset.get("fraction_seed") or 0)
    return splits if len(rows) == len(splits.train) else replace(splits, train=splits.train.select(rows))


def _reduced(splits: Splits, needs: Sequence[str], task: str) -> Splits:
    def reduce(split: Split) -> Split:
        return replace(
            split,
            features={name: value for name, value in split.features.items() if name in needs},
            tokens=split.tokens if "tokens" in needs else None,
            target=split.target if task == "regression" else one_hot_sign(split.target),
        )

    if "tokens" in needs and splits.train.tokens is None:
        raise ValueError(f"dataset {splits.name}: the model reads token ids, but the file has no text_bert")
    return replace(
        splits,
        train=reduce(splits.train),
        valid=reduce(splits.valid),
        test=reduce(splits.test),
        dims={name: width for name, width in splits.dims.items() if name in needs},
        outputs=1 if task == "regression" else len(CLASSES),
    )
