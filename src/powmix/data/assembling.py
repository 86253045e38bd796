"""Arrays by name -> a whole dataset: anyone's modalities, however many and of whatever kind. splitting.py divides it.

The arrays form, a mapping:
    NAME            (N, D) vectors; (N, L, D) sequences, or N arrays (L_i, D), or NAME.rows (sum of L_i, D) with
                    NAME.lengths (N,); (N, C, H, W) images
    text            N strings, also under the name raw_text (beside dense features called `text`): they are tokenised
                    for models with a text encoder (tokenising.py)
    target          (N,) floats, whole numbers or strings, or (N, C) of 0 and 1 (targets.py)
    split           (N,) train, valid, test, or 0, 1, 2
    group           (N,) names or numbers: who or what must not stand on both sides of a split
    id              (N,) different names
    classes         (C,) names of the classes
    note            a string that makes one doubt the data: it is told when they are read

Shape suffixes: N examples, L steps, D features, C outputs.
"""

from __future__ import annotations

import hashlib
import logging
import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from powmix.data.splits import Kind
from powmix.data.targets import Target, prepared
from powmix.mistakes import nearest

RESERVED = ("target", "split", "group", "id", "classes", "note")
ROWS, LENGTHS = ".rows", ".lengths"
TEXT = "text"
RAW_TEXT = (TEXT, "raw_text")
WORDS = {"train": 0, "training": 0, "valid": 1, "val": 1, "validation": 1, "dev": 1, "test": 2, "testing": 2}
PADDED, MOST_PADDING = 2**27, 50
"""How many times their own bytes sequences may take once padded to the longest, beyond so many bytes."""
MOST_ORDINARY = 20
"""Classes: floats of more values than these are a quantity."""
KINDS: dict[int, Kind] = {2: "vector", 3: "sequence", 4: "image"}

log = logging.getLogger("powmix")


class Modalities(NamedTuple):
    """features: padded on the right; lengths: of the sequences; texts: N strings, or None; unused: what is neither."""

    features: dict[str, Tensor]
    lengths: dict[str, Tensor]
    texts: list[str] | None
    unused: list[str]


@dataclass(frozen=True)
class Whole:
    """A dataset before it is split. features: padded on the right; lengths: of the sequences; given: 0, 1, 2 or None.

    texts: N strings, or None. tokens (N, 3, L), or dense features `text`, are made of them where a model needs them.
    """

    name: str
    features: dict[str, Tensor]
    lengths: dict[str, Tensor]
    kinds: dict[str, Kind]
    target: Target
    ids: list[str]
    groups: list[str] | None
    given: np.ndarray | None
    texts: list[str] | None
    digest: str
    notes: dict[str, object] = field(default_factory=dict)
    tokens: Tensor | None = None


def assemble(name: str, arrays: Mapping[str, Any], task: str = "auto", max_steps: int | None = None) -> Whole:
    """A whole dataset of arrays by name (above). max_steps: sequences are cut to so many.

    Keys that are no modality of N examples are named in a warning. Raises ValueError, by the key's name, for what
    cannot be used: no target, no modality, other sizes, values that are not finite, wrong splits, ids that come twice.
    """
    where = f"dataset {name}"
    if "target" not in arrays:
        raise ValueError(f"{where}: no `target` among {', '.join(arrays)}{nearest('target', arrays)}")
    try:
        target = prepared(arrays["target"], task, tuple(map(str, arrays.get("classes", ()))))
    except ValueError as error:
        raise ValueError(f"{where}: {error}") from None
    size = len(target.values)
    if size < 3:
        raise ValueError(f"{where}: expected at least 3 examples, got {size}")
    features, lengths, texts, unused = modalities(where, arrays, size, max_steps)
    if unused:
        log.warning("%s: not used, since they are no modality of %d examples: %s", where, size, "; ".join(unused))
    if not features and texts is None:
        raise ValueError(f"{where}: no modality among {', '.join(arrays)}: expected an array of {size} examples")
    if task == "auto" and _may_be_classes(arrays["target"]):
        advice = "task=classification for classes"
        log.warning("%s: target has whole numbers, kept as floats: read as regression; %s", where, advice)
    for key, value in features.items():
        if value.ndim == 4 and value.shape[3] in (1, 3) and value.shape[1] > 4:
            told = f"{_shape(arrays[key])} is read as images of {value.shape[1]} channels: they are (N, C, H, W)"
            log.warning("%s: %s %s", where, key, told)
    note = arrays.get("note")
    if note is not None:
        log.warning("%s: %s", where, note)
    return Whole(
        name,
        features,
        lengths,
        {key: "sequence" if key in lengths else KINDS[value.ndim] for key, value in features.items()},
        target,
        _ids(where, arrays.get("id"), size),
        _names(where, "group", arrays.get("group"), size),
        parts_of(where, arrays.get("split"), size),
        texts,
        _digest(features, lengths, target, texts),
    )


def modalities(where: str, arrays: Mapping[str, Any], size: int, max_steps: int | None = None) -> Modalities:
    """The modalities of `size` examples among arrays by name. where: what every error begins with.

    ValueError, by name, for a modality that cannot be used: values that are not finite, widths or lengths that do not
    fit.
    """
    features: dict[str, Tensor] = {}
    lengths: dict[str, Tensor] = {}
    texts, unused = None, []
    for key in dict.fromkeys(key.removesuffix(ROWS).removesuffix(LENGTHS) for key in arrays):
        if key in RESERVED:
            continue
        if key not in arrays:
            features[key], lengths[key] = _ragged_rows(f"{where}: {key}", arrays, key, size, max_steps)
        elif _is_text(arrays[key]):
            if key not in RAW_TEXT or len(arrays[key]) != size or texts is not None:
                unused.append(f"{key} ({len(arrays[key])} strings; a text of {size} examples is called `text`)")
            else:
                texts = _strings(arrays[key])
        elif (found := _modality(f"{where}: {key}", arrays[key], size, max_steps)) is None:
            advice = f", as a vector ({size}, 1)" if np.shape(arrays[key]) == (size,) else ""
            unused.append(f"{key} {_shape(arrays[key])}{advice}")
        else:
            features[key] = found[0]
            if found[1] is not None:
                lengths[key] = found[1]
    return Modalities(features, lengths, texts, unused)


# --- reading one key --------------------------------------------------------------------------------------------------


def _modality(where: str, value: Any, size: int, max_steps: int | None) -> tuple[Tensor, Tensor | None] | None:
    """A modality and, of a sequence, its lengths; None for what has not `size` examples."""
    if isinstance(value, list | tuple) or (isinstance(value, np.ndarray) and value.dtype == object):
        if len(value) != size:
            return None
        steps = [np.asarray(one) for one in value]
        if all(one.ndim == 2 for one in steps):
            return _padded(where, steps, max_steps)
        if shapes := sorted({one.shape for one in steps})[1:]:
            raise ValueError(
                f"{where}: expected arrays (steps, D), or all of one shape, got {steps[0].shape} and {shapes[0]}"
            )
        value = steps
    array = np.asarray(value)
    if array.ndim == 0 or len(array) != size or array.ndim > 4:
        return None
    if array.dtype.kind not in "biuf":
        raise ValueError(f"{where}: expected numbers, got dtype {array.dtype}")
    if array.ndim == 1:
        return None
    if 0 in array.shape:
        raise ValueError(f"{where}: expected no empty axis, got {array.shape}")
    if array.ndim == 3:
        array = array[:, :max_steps]
    tensor = _finite(where, array)
    return tensor, torch.full((size,), array.shape[1]) if array.ndim == 3 else None


def _ragged_rows(
    where: str, arrays: Mapping[str, Any], key: str, size: int, max_steps: int | None
) -> tuple[Tensor, Tensor]:
    absent = [name for name in (key + ROWS, key + LENGTHS) if name not in arrays]
    if absent:
        raise ValueError(f"{where}: a sequence needs {key}{ROWS} and {key}{LENGTHS}, there is no {absent[0]}")
    rows, lengths_N = np.asarray(arrays[key + ROWS]), np.asarray(arrays[key + LENGTHS])
    if rows.ndim != 2 or lengths_N.shape != (size,) or lengths_N.dtype.kind not in "iu" or lengths_N.min() < 1:
        raise ValueError(
            f"{where}: expected rows (steps, D) and lengths ({size},) of whole numbers >= 1, got {rows.shape} and "
            f"{lengths_N.shape} {lengths_N.dtype}"
        )
    if lengths_N.sum() != len(rows):
        raise ValueError(f"{where}: the lengths add up to {lengths_N.sum()} steps, there are {len(rows)} rows")
    return _padded(where, np.split(rows, lengths_N.cumsum()[:-1]), max_steps)


def _padded(where: str, steps: Sequence[np.ndarray], max_steps: int | None) -> tuple[Tensor, Tensor]:
    widths = sorted({one.shape[1] for one in steps})
    if len(widths) > 1 or widths == [0]:
        raise ValueError(f"{where}: expected (steps, D) of one width, got widths {widths[:5]}")
    if any(len(one) == 0 for one in steps):
        raise ValueError(f"{where}: {sum(len(one) == 0 for one in steps)} sequences are empty")
    lengths = [min(len(one), max_steps or len(one)) for one in steps]
    shape = (len(steps), max(lengths), widths[0])
    if 4 * math.prod(shape) > max(PADDED, MOST_PADDING * 4 * sum(lengths) * widths[0]):
        raise ValueError(
            f"{where}: padded to the longest of {shape[1]} steps, where the mean has {sum(lengths) / len(steps):.0f}, "
            f"they take {4 * math.prod(shape)} bytes: dataset.max_steps=N cuts the longest"
        )
    out = np.zeros(shape, np.float32)
    for row, (one, length) in enumerate(zip(steps, lengths)):
        out[row, :length] = one[:length]
    return _finite(where, out), torch.tensor(lengths)


def _finite(where: str, array: np.ndarray) -> Tensor:
    tensor = torch.from_numpy(np.require(array, np.float32, ("C", "W")))
    bad = int((~tensor.isfinite()).sum())
    if bad:
        raise ValueError(f"{where}: {bad} of {tensor.numel()} values are NaN, infinite or beyond float32")
    return tensor


def _is_text(value: Any) -> bool:
    if isinstance(value, np.ndarray):
        return value.dtype.kind in "US"
    return isinstance(value, list | tuple) and bool(value) and all(isinstance(one, str) for one in value)


def _strings(value: Any) -> list[str]:
    """As Unicode that can be written: bytes are UTF-8, and halves of characters become question marks."""
    texts = [one.decode("utf-8", "replace") if isinstance(one, bytes) else str(one) for one in value]
    return [one.encode("utf-8", "replace").decode() for one in texts]


def _may_be_classes(target: Any) -> bool:
    """Whether floats are a few whole numbers, each more than once, as class numbers are that NumPy made floats."""
    array = np.asarray(target)
    if array.ndim != 1 or array.dtype.kind != "f" or not np.isfinite(array).all() or (array != np.round(array)).any():
        return False
    return 1 < len(np.unique(array)) <= min(MOST_ORDINARY, len(array) // 2)


def _shape(value: Any) -> str:
    return (
        str(np.shape(value))
        if isinstance(value, np.ndarray)
        else f"of {len(value)}"
        if hasattr(value, "__len__")
        else ""
    )


def _names(where: str, key: str, value: Any, size: int) -> list[str] | None:
    if value is None:
        return None
    if len(value) != size:
        raise ValueError(f"{where}: {key}: expected {size} names, got {len(value)}")
    return [one.decode() if isinstance(one, bytes) else str(one) for one in np.asarray(value).tolist()]


def _ids(where: str, value: Any, size: int) -> list[str]:
    names = _names(where, "id", value, size) or [str(row) for row in range(size)]
    if twice := [name for name, count in Counter(names).items() if count > 1]:
        raise ValueError(f"{where}: id: {len(twice)} names come more than once, such as {twice[0]!r}")
    return names


def parts_of(where: str, value: Any, size: int) -> np.ndarray | None:
    """The part of each example that `split` gives it: 0 training, 1 validation, 2 test; None without `split`."""
    names = _names(where, "split", value, size)
    if names is None:
        return None
    numbers = {"0": 0, "1": 1, "2": 2}
    wrong = sorted({name for name in names if name.lower() not in WORDS and name not in numbers})
    if wrong:
        raise ValueError(f"{where}: split: expected train, valid, test or 0, 1, 2, got {', '.join(wrong[:5])}")
    return np.array([WORDS.get(name.lower(), numbers.get(name)) for name in names])


def _digest(
    features: Mapping[str, Tensor], lengths: Mapping[str, Tensor], target: Target, texts: Sequence[str] | None
) -> str:
    digest = hashlib.sha256()
    for name in sorted(features):
        digest.update(f"{name}{tuple(features[name].shape)}".encode())
        digest.update(features[name].numpy())
        digest.update(lengths[name].numpy() if name in lengths else b"")
    digest.update(np.ascontiguousarray(target.values))
    digest.update("\0".join(texts or ()).encode())
    return digest.hexdigest()
