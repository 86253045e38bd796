"""Reads an M-SENA feature file (MOSI, MOSEI, SIMS; aligned or unaligned) and checks every key's type and shape.

Shape suffixes: N examples, L time steps, D features. Nothing is converted or copied here (cleaning.py does): a MOSEI
file is ten gigabytes.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from powmix.data import unpickler
from powmix.data.options import nearest
from powmix.data.schema import LENGTHS, MODALITIES, REQUIRED, SPLITS
from powmix.data.unpickler import FeatureFileError


@dataclass
class RawSplit:
    """One split as the file has it, checked.

    features: (N, L, D) numbers by modality; lengths: (N,) int64, absent where the file has none; label_N float64;
    tokens_N3L integers in any number type, or None.
    """

    features: dict[str, np.ndarray]
    tokens_N3L: np.ndarray | None
    lengths: dict[str, np.ndarray]
    label_N: np.ndarray
    ids: list[str]
    raw_text: list[str]

    def steps(self) -> dict[str, int]:
        """Padded length by modality."""
        text = {} if self.tokens_N3L is None else {"text": self.tokens_N3L.shape[2]}
        return text | {name: array.shape[1] for name, array in self.features.items()}

    def aligned(self) -> bool:
        """Whether all modalities share their steps."""
        return len(set(self.steps().values())) == 1


def read(path: Path) -> dict[str, RawSplit]:
    """The three splits of the file. Raises FeatureFileError that names the file, the key, expected and got."""
    content = unpickler.read(path)
    try:
        if not isinstance(content, dict):
            raise FeatureFileError(f"(top level): expected a dict with train, valid and test, got {_kind(content)}")
        for name in SPLITS:
            if not isinstance(content.get(name), dict):
                found = "none" if name not in content else _kind(content[name])
                raise FeatureFileError(
                    f"{name}: expected a dict of M-SENA keys, got {found}; the file has {_names(content)}"
                )
        splits = {name: _split(name, content[name]) for name in SPLITS}
        _check_equal_shapes(splits)
    except FeatureFileError as error:
        raise FeatureFileError(f"{path}: {error}") from None
    return splits


def _split(name: str, content: Mapping[str, Any]) -> RawSplit:
    missing = [key for key in REQUIRED if key not in content]
    if "text" not in content and "text_bert" not in content:
        missing.append("text_bert (or text)")
    if missing:
        guess = nearest(missing[0], map(str, content))
        raise FeatureFileError(f"{name}/{missing[0]}: expected this key, got {_names(content)}{guess}")
    label_N = _numbers(f"{name}/regression_labels", content["regression_labels"]).reshape(-1).astype(np.float64)
    size = len(label_N)
    if size == 0 or not np.isfinite(label_N).all():
        raise FeatureFileError(f"{name}/regression_labels: expected finite numbers, got {size} with NaN, inf or none")
    features = {m: _sequence(f"{name}/{m}", content[m], size) for m in MODALITIES if content.get(m) is not None}
    made = RawSplit(
        features=features,
        tokens_N3L=_tokens(f"{name}/text_bert", content["text_bert"], size) if "text_bert" in content else None,
        lengths={m: _lengths(f"{name}/{key}", content[key], size) for m, key in LENGTHS.items() if key in content},
        label_N=label_N,
        ids=_strings(f"{name}/id", content["id"], size),
        raw_text=_strings(f"{name}/raw_text", content["raw_text"], size) if "raw_text" in content else [""] * size,
    )
    _check_text_steps(name, made)
    return made


def _check_text_steps(name: str, split: RawSplit) -> None:
    if split.tokens_N3L is not None and "text" in split.features:
        dense, tokens = split.features["text"].shape[1], split.tokens_N3L.shape[2]
        if dense != tokens:
            raise FeatureFileError(f"{name}/text: expected {tokens} steps as in text_bert, got {dense}")
    without = [key for modality, key in LENGTHS.items() if modality not in split.lengths]
    if without and not split.aligned():
        steps = ", ".join(f"{modality} {count}" for modality, count in split.steps().items())
        raise FeatureFileError(
            f"{name}/{without[0]}: expected this key in an unaligned file (steps: {steps}), got none"
        )


def _check_equal_shapes(splits: Mapping[str, RawSplit]) -> None:
    """Models read steps and widths once: all splits must have them equal."""
    first = splits["train"]
    for name, split in splits.items():
        if (split.tokens_N3L is None) != (first.tokens_N3L is None) or set(split.features) != set(first.features):
            raise FeatureFileError(f"{name}: expected the same keys as in train, got {_names(split.features)}")
        for modality, array in split.features.items():
            expected = first.features[modality].shape[1:]
            if array.shape[1:] != expected:
                raise FeatureFileError(
                    f"{name}/{modality}: expected (steps, width) {expected} as in train, got {array.shape[1:]}"
                )
        if split.steps() != first.steps():
            raise FeatureFileError(
                f"{name}/text_bert: expected {first.steps()['text']} steps as in train, got {split.steps()['text']}"
            )


def _numbers(key: str, value: Any) -> np.ndarray:
    try:
        array = np.asarray(value)
    except (ValueError, OverflowError):
        raise FeatureFileError(f"{key}: expected an array of numbers, got a ragged {_kind(value)}") from None
    if array.dtype.kind not in "biuf":
        raise FeatureFileError(f"{key}: expected an array of numbers, got {_kind(value)} of {array.dtype}")
    return array


def _sequence(key: str, value: Any, size: int) -> np.ndarray:
    array = _numbers(key, value)
    if array.ndim != 3 or len(array) != size or 0 in array.shape:
        raise FeatureFileError(f"{key}: expected shape ({size}, steps, width), got {array.shape}")
    return array


def _tokens(key: str, value: Any, size: int) -> np.ndarray:
    array = _numbers(key, value)
    if array.ndim != 3 or array.shape[:2] != (size, 3) or array.shape[2] == 0:
        raise FeatureFileError(f"{key}: expected shape ({size}, 3, steps), got {array.shape}")
    if not np.isfinite(array).all() or (array < 0).any() or (array != np.floor(array)).any():
        raise FeatureFileError(f"{key}: expected token ids, masks and types as integers >= 0, got other numbers")
    if array[:, 1].max() > 1:
        raise FeatureFileError(f"{key}: expected an attention mask of 0 and 1 in row 1, got {array[:, 1].max()}")
    return array


def _lengths(key: str, value: Any, size: int) -> np.ndarray:
    array = _numbers(key, value).reshape(-1)
    if len(array) != size:
        raise FeatureFileError(f"{key}: expected {size} lengths, got {len(array)}")
    if not np.isfinite(array).all() or (array < 0).any() or (array != np.floor(array)).any():
        raise FeatureFileError(f"{key}: expected integers >= 0, got other numbers")
    return array.astype(np.int64)


def _strings(key: str, value: Any, size: int) -> list[str]:
    texts = value.reshape(-1).tolist() if isinstance(value, np.ndarray) else value
    if not isinstance(texts, list | tuple) or len(texts) != size:
        found = f"{len(texts)}" if isinstance(texts, list | tuple) else _kind(value)
        raise FeatureFileError(f"{key}: expected {size} strings, got {found}")
    if not all(isinstance(text, str) for text in texts):
        raise FeatureFileError(
            f"{key}: expected {size} strings, got {_kind(next(t for t in texts if type(t) is not str))}"
        )
    return list(texts)


def _kind(value: Any) -> str:
    return f"{type(value).__name__}{value.shape}" if isinstance(value, np.ndarray) else type(value).__name__


def _names(content: Mapping[Any, Any]) -> str:
    return ", ".join(map(str, content)) or "no keys"
