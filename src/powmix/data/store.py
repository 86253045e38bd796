"""The memory-mapped store: a feature file is unpickled once per machine, then opened in milliseconds by every job.

Layout of `features/<SHA-256 of the file>-v<VERSION>/` in the cache: what `survey` found in facts.json, and per split
<split>.json (ids, raw_text) and <split>.<name>.npy for audio, vision, text (float32), tokens, lengths_<modality>
(int64), target (float32). cache.py writes and checks them.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from powmix.data import cleaning, msena
from powmix.data.cache import Stored, Writer, build_once, cache_root, file_digest
from powmix.data.cleaning import Scan
from powmix.data.msena import RawSplit
from powmix.data.pickled_arrays import Numbers
from powmix.data.sources import MODALITIES, SOURCES, SPLITS
from powmix.data.splits import Split, Splits
from powmix.data.unpickler import FeatureFileError

VERSION = 2
log = logging.getLogger(__name__)

Scans = Mapping[str, Mapping[str, Scan]]
Lengths = Mapping[str, Mapping[str, np.ndarray]]


@dataclass(frozen=True)
class Store:
    """An opened store: its folder, what `survey` found in the file, and its splits with all that the file has."""

    path: Path
    folder: Path
    facts: dict[str, Any]
    splits: Splits


def open_store(path: Path, name: str, whole: bool = False) -> Store:
    """The feature file `path` of dataset `name` (mosi, mosei, sims), converted on first use.

    whole: check the hash of every array. Raises FeatureFileError (a ValueError) for an unusable file, one line with
    file, key, expected and got.
    """
    digest = file_digest(path)
    stored = build_once(store_folder(digest), lambda writer: _convert(path, digest, writer), whole)
    facts = stored.facts
    check_labels(path, name, facts)
    parts: dict[str, Any] = {split: _open_split(stored, split) for split in SPLITS}
    splits = Splits(
        name=name,
        **parts,
        dims=facts["dims"],
        steps=facts["steps"],
        label_range=SOURCES[name].label_range,
        convention=SOURCES[name].convention,
        digest=digest,
        notes={"constant_mae": facts["constant_mae"], "cleaned": facts["cleaned"], "repaired": facts["repaired"]},
    )
    return Store(path, stored.folder, facts, splits)


def store_folder(digest: str) -> Path:
    """Where the store of the file with this SHA-256 lies."""
    return cache_root() / "features" / f"{digest}-v{VERSION}"


def check_labels(path: Path, name: str, facts: Mapping[str, Any]) -> None:
    """Raises FeatureFileError where the labels leave the range of dataset `name`."""
    (low, high), (least, most) = SOURCES[name].label_range, facts["label_range"]
    if least < low - 1e-3 or most > high + 1e-3:
        fitting = [other for other, s in SOURCES.items() if s.label_range[0] <= least and most <= s.label_range[1]]
        hint = f"; is it a file of {' or '.join(fitting)}?" if fitting else ""
        raise FeatureFileError(
            f"{path}: regression_labels: expected {low:g} to {high:g} for {name}, got {least:g} to {most:g}{hint}"
        )


def doubts(facts: Mapping[str, Any]) -> list[str]:
    """What a usable file makes one doubt: modalities that say nothing, test examples that training has seen."""
    blank = [
        f"{modality} is 0 in every training example"
        + (f" ({count} values were NaN or infinite)" if (count := sum(facts["cleaned"][modality].values())) else "")
        for modality in facts["blank"]
    ]
    seen = [
        f"{count} of {facts['sizes'][split]} {split} examples are equal to a training example in every modality"
        for split, count in facts["seen_in_train"].items()
        if count
    ]
    return blank + seen


def survey(raw: Mapping[str, RawSplit], scans: Scans) -> tuple[dict[str, Any], Lengths]:
    """What is in a file, JSON-ready, and the lengths by split and modality.

    sizes by split; dims, steps, side, cleaned (values replaced), lengths [least, mean, most] and repaired by modality;
    blank: modalities without a value in the training split; seen_in_train: how many examples of the other splits equal
    a training example; label_range found; classes: counts of negative, neutral, positive by split; constant_mae of the
    training median on the test.
    """
    first = raw["train"]
    side = {modality: cleaning.padding_side(scans[modality].values()) for modality in scans}
    if first.tokens_N3L is not None:
        side["text"] = _token_side([one for split in SPLITS if (one := raw[split].tokens_N3L) is not None])
    lengths, repaired = _lengths(raw, scans, side)
    label = {split: raw[split].label_N for split in SPLITS}
    every = np.concatenate(list(label.values()))
    facts = {
        "sizes": {split: len(label[split]) for split in SPLITS},
        "dims": {modality: first.features[modality].shape[2] for modality in scans},
        "steps": {modality: first.steps()[modality] for modality in MODALITIES},
        "side": {modality: side[modality] for modality in MODALITIES},
        "aligned": first.aligned(),
        "tokens": first.tokens_N3L is not None,
        "cleaned": {
            modality: {kind: sum(scan.replaced[kind] for scan in found.values()) for kind in ("-inf", "inf", "nan")}
            for modality, found in scans.items()
        },
        "blank": [m for m in scans if (scans[m]["train"].leading_N == first.features[m].shape[1]).all()],
        "seen_in_train": _seen_in_train(raw, scans),
        "lengths": {modality: _spread([lengths[split][modality] for split in SPLITS]) for modality in MODALITIES},
        "repaired": repaired,
        "label_range": [float(every.min()), float(every.max())],
        "classes": {
            split: [int(count) for count in ((y < 0).sum(), (y == 0).sum(), (y > 0).sum())]
            for split, y in label.items()
        },
        "constant_mae": float(np.abs(label["test"] - np.median(label["train"])).mean()),
    }
    return facts, lengths


def scan(raw: Mapping[str, RawSplit], writer: Writer | None = None) -> Scans:
    """A pass over every modality's features, by modality and split; the cleaned features go to `writer` if any."""
    return {m: {s: _scan(f"{s}.{m}", raw[s].features[m], writer) for s in SPLITS} for m in raw["train"].features}


def _scan(name: str, array_NLD: Numbers, writer: Writer | None) -> Scan:
    if writer is None:
        return cleaning.clean(array_NLD)
    with writer.array(name, np.float32, array_NLD.shape) as write:
        return cleaning.clean(array_NLD, write)


def _convert(path: Path, digest: str, writer: Writer) -> dict[str, Any]:
    log.info("reading %s once; the memory-mapped store is kept in %s", path, writer.folder.parent)
    raw = msena.read(path)
    facts, lengths = survey(raw, scan(raw, writer))
    for name, split in raw.items():
        writer.whole_array(f"{name}.target", split.label_N[:, None], np.float32)
        if split.tokens_N3L is not None:
            writer.whole_array(f"{name}.tokens", split.tokens_N3L, np.int64)
        for modality, length_N in lengths[name].items():
            writer.whole_array(f"{name}.lengths_{modality}", length_N, np.int64)
        writer.text(f"{name}.json", json.dumps({"ids": split.ids, "raw_text": split.raw_text}))
    if file_digest(path) != digest:
        raise FeatureFileError(f"{path}: the file was changed while it was read")
    return facts


def _token_side(tokens: list[np.ndarray]) -> str:
    first, last = (sum(int((part[:, 1, step] == 0).sum()) for part in tokens) for step in (0, -1))
    return "left" if first > last else "right"


def _lengths(
    raw: Mapping[str, RawSplit], scans: Scans, side: Mapping[str, str]
) -> tuple[Lengths, dict[str, dict[str, int]]]:
    """Lengths by split and modality, and how many were repaired. An aligned file without lengths has the text's."""
    lengths: dict[str, dict[str, np.ndarray]] = {split: {} for split in SPLITS}
    repaired = {modality: {"zero": 0, "beyond": 0} for modality in MODALITIES}
    for split, modality in ((split, modality) for split in SPLITS for modality in MODALITIES):
        steps = raw[split].steps()[modality]
        tokens_N3L = raw[split].tokens_N3L
        if modality == "text" and tokens_N3L is not None:
            found_N = tokens_N3L[:, 1].sum(-1).astype(np.int64)
        elif modality == "text":
            found_N = cleaning.measured_lengths(scans["text"][split], side["text"], steps)
        else:
            found_N = raw[split].lengths.get(modality, lengths[split]["text"])
        lengths[split][modality], counts = cleaning.repaired_lengths(found_N, steps)
        for kind, count in counts.items():
            repaired[modality][kind] += count
    return lengths, repaired


def _seen_in_train(raw: Mapping[str, RawSplit], scans: Scans) -> dict[str, int]:
    def examples(split: str) -> list[tuple[int, ...]]:
        columns = [found[split].hash_N.tolist() for found in scans.values()]
        tokens_N3L = raw[split].tokens_N3L
        if tokens_N3L is not None:
            columns.append(cleaning.hashes(tokens_N3L))
        return list(zip(*columns))

    trained = set(examples("train"))
    return {split: sum(example in trained for example in examples(split)) for split in ("valid", "test")}


def _spread(lengths: list[np.ndarray]) -> list[float]:
    every = np.concatenate(lengths)
    return [int(every.min()), float(every.mean()), int(every.max())]


def _open_split(stored: Stored, name: str) -> Split:
    return Split(
        features={modality: tensor(stored, f"{name}.{modality}") for modality in stored.facts["dims"]},
        tokens=tensor(stored, f"{name}.tokens") if stored.facts["tokens"] else None,
        lengths={modality: tensor(stored, f"{name}.lengths_{modality}") for modality in MODALITIES},
        side=stored.facts["side"],
        target=tensor(stored, f"{name}.target"),
        **json.loads(stored.text(f"{name}.json")),
    )


def tensor(stored: Stored, name: str) -> Tensor:
    """A tensor over an array of a checked folder."""
    return torch.from_numpy(stored.array(name))
