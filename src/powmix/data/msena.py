"""Reads an M-SENA feature file (MOSI, MOSEI, SIMS; aligned or unaligned) and checks every key's type, shape and range.

A file is a dict of train, valid, test, each a dict of: text (N, Lt, Dt) dense features; text_bert (N, 3, Lt) token ids,
attention mask, token types; audio (N, La, Da); vision (N, Lv, Dv); audio_lengths, vision_lengths N integers;
regression_labels N numbers; id, raw_text N strings. A key with None counts as absent.

Shape suffixes: N examples, L time steps, D features. Features are neither converted nor copied here (cleaning.py does),
nor even read where they are large: a MOSEI file is 8.5 GB.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from powmix.data import unpickler
from powmix.data.pickled_arrays import Numbers
from powmix.data.sources import MODALITIES, SPLITS
from powmix.data.unpickler import FeatureFileError, brief
from powmix.mistakes import nearest

REQUIRED = ("audio", "vision", "regression_labels", "id")
LENGTHS = {"audio": "audio_lengths", "vision": "vision_lengths"}
MOST_TOKENS = 1_000_000
"""No vocabulary is larger (XLM-R: 250,002); a model would set aside a vector for every id."""

_SURROGATE = re.compile("[\ud800-\udfff]")


@dataclass
class RawSplit:
    """One split as the file has it, checked.

    features: (N, L, D) numbers by modality; lengths: (N,) int64, absent where the file has none; label_N float64;
    tokens_N3L integers in any number type, or None.
    """

    features: dict[str, Numbers]
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
        _check_ids(splits)
    except FeatureFileError as error:
        raise FeatureFileError(f"{path}: {error}") from None
    return splits


def _split(name: str, content: Mapping[str, Any]) -> RawSplit:
    content = {key: value for key, value in content.items() if value is not None}
    missing = [key for key in REQUIRED if key not in content]
    if "text" not in content and "text_bert" not in content:
        missing.append("text_bert (or text)")
    if missing:
        raise FeatureFileError(
            f"{name}/{missing[0]}: expected this key, got {_names(content)}{nearest(missing[0], [*content][:100])}"
        )
    label_N = _numbers(f"{name}/regression_labels", content["regression_labels"]).reshape(-1).astype(np.float64)
    size = len(label_N)
    if size == 0 or not np.isfinite(label_N).all():
        raise FeatureFileError(f"{name}/regression_labels: expected finite numbers, got {size} with NaN, inf or none")
    made = RawSplit(
        features={m: _sequence(f"{name}/{m}", content[m], size) for m in MODALITIES if m in content},
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


def _check_ids(splits: Mapping[str, RawSplit]) -> None:
    """An id names one example of the file, in text: an example of two splits would be trained on and tested."""
    owner: dict[str, str] = {}
    for name, split in splits.items():
        broken = next((one for one in split.ids if not one.isascii() and _SURROGATE.search(one)), None)
        if broken is not None:
            raise FeatureFileError(f"{name}/id: expected text, got half a character (a surrogate) in {brief(broken)}")
        taken = [one for one in split.ids if owner.setdefault(one, name) != name]
        repeated = len(split.ids) - len(set(split.ids))
        if taken:
            raise FeatureFileError(
                f"{name}/id: expected ids of its own, got {len(taken)} that {owner[taken[0]]} has too, "
                f"{brief(taken[0])} among them: examples of two splits"
            )
        if repeated:
            raise FeatureFileError(f"{name}/id: expected a different id for each example, got {repeated} repeated")


def _numbers(key: str, value: Any) -> np.ndarray:
    return np.asarray(_unread_numbers(key, value))


def _unread_numbers(key: str, value: Any) -> Numbers:
    array = _of_list(key, value) if isinstance(value, list | tuple) else value
    if not _is_numbers(array):
        dtype = f" of {array.dtype}" if isinstance(array, Numbers) else ""
        raise FeatureFileError(f"{key}: expected an array of numbers, got {_kind(value)}{dtype}")
    return array


def _of_list(key: str, value: list[Any] | tuple[Any, ...]) -> np.ndarray:
    """The array of a nested list; looked through first, since of one long string among many numpy makes long ones."""
    leaves: list[Any] = [value]
    while leaves and all(isinstance(leaf, list | tuple) for leaf in leaves):
        leaves = [item for leaf in leaves for item in leaf]
    for leaf in leaves:
        if not isinstance(leaf, list | tuple | bool | int | float) and not _is_numbers(leaf):
            raise FeatureFileError(f"{key}: expected an array of numbers, got a {_kind(value)} with {_kind(leaf)}")
    try:
        return np.asarray(value)
    except (ValueError, OverflowError):
        raise FeatureFileError(f"{key}: expected an array of numbers, got a ragged {_kind(value)}") from None


def _is_numbers(value: Any) -> bool:
    return isinstance(value, Numbers) and value.dtype.kind in "biuf"


def _sequence(key: str, value: Any, size: int) -> Numbers:
    array = _unread_numbers(key, value)
    if array.ndim != 3 or len(array) != size or 0 in array.shape:
        raise FeatureFileError(f"{key}: expected shape ({size}, steps, width), got {array.shape}")
    return array


def _tokens(key: str, value: Any, size: int) -> np.ndarray:
    array = _numbers(key, value)
    if array.ndim != 3 or array.shape[:2] != (size, 3) or array.shape[2] == 0:
        raise FeatureFileError(f"{key}: expected shape ({size}, 3, steps), got {array.shape}")
    if not _whole(array):
        raise FeatureFileError(f"{key}: expected token ids, masks and types as integers >= 0, got other numbers")
    for row, most, what in ((0, MOST_TOKENS, "token ids"), (1, 1, "an attention mask"), (2, 1, "token types")):
        if (found := array[:, row].max()) > most:
            raise FeatureFileError(f"{key}: expected {what} of 0 to {most} in row {row}, got {found:g}")
    return array


def _lengths(key: str, value: Any, size: int) -> np.ndarray:
    array = _numbers(key, value).reshape(-1)
    if len(array) != size:
        raise FeatureFileError(f"{key}: expected {size} lengths, got {len(array)}")
    if not _whole(array):
        raise FeatureFileError(f"{key}: expected integers >= 0, got other numbers")
    return np.minimum(array.astype(np.float64), 2**31).astype(np.int64)


def _whole(array: np.ndarray) -> bool:
    return bool(np.isfinite(array).all() and (array >= 0).all() and (array == np.floor(array)).all())


def _strings(key: str, value: Any, size: int) -> list[str]:
    texts = value.reshape(-1) if isinstance(value, np.ndarray) else value
    if not isinstance(texts, list | tuple | np.ndarray) or len(texts) != size:
        found = len(texts) if isinstance(texts, list | tuple | np.ndarray) else _kind(value)
        raise FeatureFileError(f"{key}: expected {size} strings, got {found}")
    texts = texts.tolist() if isinstance(texts, np.ndarray) else texts
    for text in texts:
        if not isinstance(text, str):
            raise FeatureFileError(f"{key}: expected {size} strings, got {_kind(text)}")
    return list(texts)


def _kind(value: Any) -> str:
    return f"ndarray{value.shape}" if isinstance(value, Numbers) else type(value).__name__


def _names(content: Mapping[Any, Any]) -> str:
    names = [brief(name) for name in content]
    return ", ".join(names[:20]) + (f" and {len(names) - 20} more" if len(names) > 20 else "") or "no keys"
