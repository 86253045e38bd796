"""The memory-mapped store: a feature file is unpickled once per machine, then opened in milliseconds by every job.

Layout of `features/<SHA-256 of the file>-v<VERSION>/` in the cache: facts.json, and per split <split>.json (ids,
raw_text) and <split>.<name>.npy for audio, vision, text (float32), tokens, lengths_<modality> (int64), target
(float32). Arrays are mapped copy-on-write: jobs share the page cache, a stray write stays private.
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
from powmix.data.cache import build_once, cache_root, file_digest
from powmix.data.cleaning import Scan
from powmix.data.msena import RawSplit
from powmix.data.schema import MODALITIES, SPLITS
from powmix.data.sources import SOURCES
from powmix.data.splits import Split, Splits
from powmix.data.unpickler import FeatureFileError

VERSION = 1
log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Store:
    """An opened store: its folder, what `survey` found in the file, and its splits with all that the file has."""

    path: Path
    folder: Path
    facts: dict[str, Any]
    splits: Splits


def open_store(path: Path, name: str) -> Store:
    """The feature file `path` of dataset `name` (mosi, mosei, sims), converted on first use.

    Raises FeatureFileError (a ValueError) for an unusable file, one line with file, key, expected and got.
    """
    digest = file_digest(path)
    folder = build_once(cache_root() / "features" / f"{digest}-v{VERSION}", lambda target: _convert(path, target))
    facts = json.loads((folder / "facts.json").read_text())
    check_labels(path, name, facts)
    source = SOURCES[name]
    made = {split: _open_split(folder, split, facts) for split in SPLITS}
    splits = Splits(
        name=name,
        **made,
        dims=facts["dims"],
        steps=facts["steps"],
        label_range=source.label_range,
        convention=source.convention,
        aligned=facts["aligned"],
        digest=digest,
        notes={"constant_mae": facts["constant_mae"], "cleaned": facts["cleaned"], "repaired": facts["repaired"]},
    )
    return Store(path, folder, facts, splits)


def check_labels(path: Path, name: str, facts: Mapping[str, Any]) -> None:
    """Raises FeatureFileError where the labels leave the range of dataset `name`."""
    (low, high), (least, most) = SOURCES[name].label_range, facts["label_range"]
    if least < low - 1e-3 or most > high + 1e-3:
        fitting = [other for other, s in SOURCES.items() if s.label_range[0] <= least and most <= s.label_range[1]]
        hint = f"; is it a file of {' or '.join(fitting)}?" if fitting else ""
        raise FeatureFileError(
            f"{path}: regression_labels: expected {low:g} to {high:g} for {name}, got {least:g} to {most:g}{hint}"
        )


def survey(raw: Mapping[str, RawSplit], target: Path | None = None) -> dict[str, Any]:
    """What is in a file, JSON-ready; with `target`, its cleaned arrays are written there on the same pass.

    sizes by split; dims, steps, side, cleaned (values replaced), lengths [least, mean, most] and repaired by modality;
    label_range found; classes: counts of negative, neutral, positive by split; constant_mae of the training median on
    the test.
    """
    first = raw["train"]
    scans = {
        m: {s: cleaning.clean(raw[s].features[m], _array(target, s, m, raw[s])) for s in SPLITS} for m in first.features
    }
    side = {m: cleaning.padding_side(scans[m].values()) for m in scans}
    if first.tokens_N3L is not None:
        side["text"] = _token_side([raw[split].tokens_N3L for split in SPLITS])
    lengths, repaired = _lengths(raw, scans, side)
    label = {split: raw[split].label_N for split in SPLITS}
    every = np.concatenate(list(label.values()))
    if target is not None:
        _write_rest(target, raw, lengths)
    return {
        "sizes": {split: len(label[split]) for split in SPLITS},
        "dims": {m: first.features[m].shape[2] for m in scans},
        "steps": {m: first.steps()[m] for m in MODALITIES},
        "side": {m: side[m] for m in MODALITIES},
        "aligned": first.aligned(),
        "tokens": first.tokens_N3L is not None,
        "cleaned": {
            m: {k: sum(s.replaced[k] for s in scans[m].values()) for k in ("-inf", "inf", "nan")} for m in scans
        },
        "lengths": {m: _spread([lengths[s][m] for s in SPLITS]) for m in MODALITIES},
        "repaired": repaired,
        "label_range": [float(every.min()), float(every.max())],
        "classes": {
            s: [int(count) for count in ((y < 0).sum(), (y == 0).sum(), (y > 0).sum())] for s, y in label.items()
        },
        "constant_mae": float(np.abs(label["test"] - np.median(label["train"])).mean()),
    }


def _convert(path: Path, target: Path) -> None:
    log.info("reading %s once; the memory-mapped store is kept in %s", path, target.parent)
    facts = survey(msena.read(path), target)
    (target / "facts.json").write_text(json.dumps(facts))


def _array(target: Path | None, split: str, name: str, raw: RawSplit) -> np.ndarray | None:
    if target is None:
        return None
    return np.lib.format.open_memmap(target / f"{split}.{name}.npy", "w+", np.float32, raw.features[name].shape)


def _token_side(tokens: list[np.ndarray]) -> str:
    first, last = (sum(int((part[:, 1, step] == 0).sum()) for part in tokens) for step in (0, -1))
    return "left" if first > last else "right"


def _lengths(
    raw: Mapping[str, RawSplit], scans: Mapping[str, Mapping[str, Scan]], side: Mapping[str, str]
) -> tuple[dict[str, dict[str, np.ndarray]], dict[str, dict[str, int]]]:
    """Lengths by split and modality, and how many were repaired. An aligned file without lengths has the text's."""
    lengths: dict[str, dict[str, np.ndarray]] = {split: {} for split in SPLITS}
    repaired = {modality: {"zero": 0, "beyond": 0} for modality in MODALITIES}
    for split, modality in ((split, modality) for split in SPLITS for modality in MODALITIES):
        steps = raw[split].steps()[modality]
        if modality == "text" and raw[split].tokens_N3L is not None:
            found_N = raw[split].tokens_N3L[:, 1].sum(-1).astype(np.int64)
        elif modality == "text":
            found_N = cleaning.measured_lengths(scans["text"][split], side["text"], steps)
        else:
            found_N = raw[split].lengths.get(modality, lengths[split]["text"])
        lengths[split][modality], counts = cleaning.repaired_lengths(found_N, steps)
        for kind, count in counts.items():
            repaired[modality][kind] += count
    return lengths, repaired


def _spread(lengths: list[np.ndarray]) -> list[float]:
    every = np.concatenate(lengths)
    return [int(every.min()), float(every.mean()), int(every.max())]


def _write_rest(target: Path, raw: Mapping[str, RawSplit], lengths: Mapping[str, Mapping[str, np.ndarray]]) -> None:
    for name, split in raw.items():
        np.save(target / f"{name}.target.npy", split.label_N.astype(np.float32)[:, None])
        if split.tokens_N3L is not None:
            np.save(target / f"{name}.tokens.npy", split.tokens_N3L.astype(np.int64))
        for modality, length_N in lengths[name].items():
            np.save(target / f"{name}.lengths_{modality}.npy", length_N)
        (target / f"{name}.json").write_text(json.dumps({"ids": split.ids, "raw_text": split.raw_text}))


def _open_split(folder: Path, name: str, facts: Mapping[str, Any]) -> Split:
    strings = json.loads((folder / f"{name}.json").read_text())
    return Split(
        features={modality: mapped(folder / f"{name}.{modality}.npy") for modality in facts["dims"]},
        tokens=mapped(folder / f"{name}.tokens.npy") if facts["tokens"] else None,
        lengths={modality: mapped(folder / f"{name}.lengths_{modality}.npy") for modality in MODALITIES},
        side=facts["side"],
        target=mapped(folder / f"{name}.target.npy"),
        **strings,
    )


def mapped(file: Path) -> Tensor:
    """A tensor over a memory-mapped .npy file, copy-on-write."""
    return torch.from_numpy(np.load(file, mmap_mode="c"))
