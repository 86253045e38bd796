"""From the `dataset` section of a configuration to Splits, once per process for equal arguments.

Shape suffixes: N examples, C outputs.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from powmix.data import synthetic
from powmix.data.cache import stamp
from powmix.data.options import COMMON, mistakes
from powmix.data.sources import MODALITIES, SYNTHETIC
from powmix.data.splits import Split, Splits, Task
from powmix.mistakes import check_one_of, refuse, unknown

NEEDS = ("tokens", *MODALITIES)
CLASSES = ("negative", "neutral", "positive")
STRATUM = 10

log = logging.getLogger(__name__)
_loaded: dict[str, Splits] = {}


def load(
    dataset: Mapping[str, Any], needs: Sequence[str], task: Task = "regression", seed: int | None = None
) -> Splits:
    """The dataset with what a model needs of it, on the CPU; memory-mapped where it came from a file.

    dataset: `name` (synthetic, mosi, mosei, sims), `fraction` of the training split with its `fraction_seed`, and
    for files `path` and `text_encoder`, for synthetic the fields of synthetic.Options. needs: of tokens, text, audio,
    vision; dense `text` that a file lacks is computed by a frozen BERT. task: classification turns labels into one-hot
    (N, 3) negative, neutral, positive. Equal arguments give the same object within a process.
    Raises ValueError for wrong options, missing or unusable files.
    """
    needs = tuple(dict.fromkeys(one for need in needs for one in (MODALITIES if need == "*" else (need,))))
    refuse(mistakes(dataset))
    check_one_of("task", task, ("regression", "classification"))
    refuse(unknown(needs, NEEDS, "need"))
    path = dataset.get("path")
    version = stamp(Path(path).expanduser()) if path and Path(path).expanduser().is_file() else None
    key = json.dumps([dict(dataset), sorted(needs), task, version], sort_keys=True, default=str)
    if key not in _loaded:
        whole = _synthetic(dataset) if dataset["name"] == SYNTHETIC else _from_file(dataset, needs)
        _loaded[key] = _reduced(_limited(whole, dataset), needs, task)
    return _loaded[key]


def one_hot_sign(label_N1: Tensor) -> Tensor:
    """(N, 1) labels to (N, 3) one-hot classes: negative, neutral, positive."""
    return torch.nn.functional.one_hot(label_N1[:, 0].sign().long() + 1, len(CLASSES)).float()


def fraction_rows(target_NC: Tensor, fraction: float, seed: int = 0) -> list[int]:
    """Rows of a fraction of the training set, ascending: round(fraction * N), at least one; fractions of a seed nest.

    Examples sorted by label (the most likely class for soft targets) form strata of ten; one shuffled order takes
    evenly from all of them, and a fraction is its beginning. Raises ValueError for a fraction outside (0, 1].
    """
    if not 0 < fraction <= 1:
        raise ValueError(f"dataset.fraction must be within (0, 1], got {fraction!r}")
    order_N = _stratified_order(target_NC, seed)
    return sorted(order_N[: max(1, round(fraction * len(order_N)))].tolist())


def _stratified_order(target_NC: Tensor, seed: int) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    label_N = target_NC[:, 0] if target_NC.shape[1] == 1 else target_NC.argmax(1)
    shuffled_N = torch.randperm(len(label_N), generator=generator)
    by_label_N = shuffled_N[label_N[shuffled_N].argsort(stable=True)]
    key_N = torch.empty(len(label_N), dtype=torch.float64)
    for stratum in by_label_N.split(STRATUM):
        place = torch.randperm(len(stratum), generator=generator).double()
        key_N[stratum] = (place + torch.rand((), generator=generator, dtype=torch.float64)) / len(stratum)
    return key_N.argsort(stable=True)


def _synthetic(dataset: Mapping[str, Any]) -> Splits:
    return synthetic.build({key: value for key, value in dataset.items() if key not in COMMON})


def _from_file(dataset: Mapping[str, Any], needs: Sequence[str]) -> Splits:
    from powmix.data.store import doubts, open_store
    from powmix.data.text import with_text

    path = Path(dataset["path"]).expanduser()
    store = open_store(path, dataset["name"])
    for doubt in doubts(store.facts):
        log.warning("%s: %s", path, doubt)
    return with_text(store, dataset.get("text_encoder")) if "text" in needs else store.splits


def _limited(splits: Splits, dataset: Mapping[str, Any]) -> Splits:
    fraction = dataset.get("fraction", 1.0)
    rows = fraction_rows(splits.train.target, fraction, dataset.get("fraction_seed") or 0)
    return splits if len(rows) == len(splits.train) else replace(splits, train=splits.train.select(rows))


def _reduced(splits: Splits, needs: Sequence[str], task: str) -> Splits:
    signs = task == "classification"

    def reduce(split: Split) -> Split:
        return replace(
            split,
            features={name: value for name, value in split.features.items() if name in needs},
            tokens=split.tokens if "tokens" in needs else None,
            target=one_hot_sign(split.target) if signs else split.target,
        )

    if "tokens" in needs and splits.train.tokens is None:
        raise ValueError(f"dataset {splits.name}: the model reads token ids, but the file has no text_bert")
    return replace(
        splits,
        train=reduce(splits.train),
        valid=reduce(splits.valid),
        test=reduce(splits.test),
        dims={name: width for name, width in splits.dims.items() if name in needs},
        outputs=len(CLASSES) if signs else splits.outputs,
        convention="classification" if signs else splits.convention,
        task=task,
        classes=CLASSES if signs else (),
    )
