"""What a pickle may name, and what is made of it: numpy's arrays, from a checked dtype, shape and bytes.

A name in a pickle is a key of the table NUMPY; nothing is imported and nothing of numpy is called for it but
`numpy.frombuffer`, `numpy.fromfile` and `reshape`. The bytes of a large array stay in the file: a MOSEI file is 8.5 GB.
At the end `Plain` puts arrays and plain values in the place of all that was made on the way.
"""

from __future__ import annotations

import math
import re
import sys
from collections.abc import Callable
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

DTYPE = re.compile(r"[<>|=]?(b1|[iu][1248]|f[248]|U\d{1,7}|S\d{1,7}|O8?|\?)")
DEPTH = 8


class FeatureFileError(ValueError):
    """A feature file that cannot be used; the message names the file, the key, what was expected and what was found."""


class Located(FeatureFileError):
    """Says its key itself."""


def brief(value: Any) -> str:
    """A value from a stranger for an error message: short, one line, containers by their type and length alone."""
    if isinstance(value, str | bytes):
        whole = value if isinstance(value, str) and value.isprintable() else repr(value[:60])
        return whole if len(whole) <= 60 else whole[:60] + "..."
    if value is None or isinstance(value, bool | float) or (isinstance(value, int) and abs(value) < 2**64):
        return repr(value)
    name = type(value).__name__.lstrip("_")
    return f"{name} of {len(value)}" if isinstance(value, list | tuple | dict) else name


def foreign(what: str) -> FeatureFileError:
    """The error for what only code or classes need."""
    return FeatureFileError(f"expected arrays and plain values only, got {brief(what)}; nothing was executed")


class UnreadBytes:
    """`size` bytes of a file from `start` on, which are not in memory."""

    def __init__(self, path: Path, start: int, size: int):
        self.path, self.start, self.size = path, start, size

    def __len__(self) -> int:
        return self.size

    def values(self, dtype: np.dtype, first: int, count: int) -> np.ndarray:
        """`count` values (count,) from the first on. FeatureFileError where the file has become shorter."""
        try:
            found = np.fromfile(self.path, dtype, count, offset=self.start + first * dtype.itemsize)
        except OSError as error:
            raise FeatureFileError(f"{self.path}: cannot be read any more ({error.strerror})") from None
        if len(found) < count:
            raise FeatureFileError(f"{self.path}: the file was changed while it was read")
        return found

    @cached_property
    def whole(self) -> bytes:
        """All of them, read once."""
        return self.values(np.dtype(np.uint8), 0, self.size).tobytes()


class UnreadArray:
    """An array of numbers in a file, in C order: `array[rows]`, rows a slice, reads those, `numpy.asarray` all."""

    def __init__(self, data: UnreadBytes, dtype: np.dtype, shape: tuple[int, ...]):
        self._data, self.dtype, self.shape = data, dtype, shape
        self.ndim, self.size = len(shape), math.prod(shape)

    def __len__(self) -> int:
        return self.shape[0]

    def __getitem__(self, rows: slice) -> np.ndarray:
        first, end, step = rows.indices(len(self))
        assert step == 1, "rows are read in their order"
        wide = math.prod(self.shape[1:])
        return self._data.values(self.dtype, first * wide, (end - first) * wide).reshape(-1, *self.shape[1:])

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> np.ndarray:
        return np.asarray(self[:], dtype)


Numbers = np.ndarray | UnreadArray


class Function:
    """A name of numpy's that stands in a pickle of arrays, and what is done for it."""

    def __init__(self, make: Callable[..., Any]):
        self.make = make


class Dtype:
    """What `numpy.dtype(spec)` with a pickled state would be, from its spec and byte order alone."""

    def __init__(self, spec: Any, *_: Any):
        if not isinstance(spec, str) or not DTYPE.fullmatch(spec):
            raise FeatureFileError(f"expected numbers, booleans or strings, got an array of dtype {brief(spec)}")
        self.dtype = np.dtype(spec)

    def fill(self, state: Any) -> None:
        """The byte order, from (version, order, no fields, no subarray, ...)."""
        order = state[1] if isinstance(state, tuple) and len(state) > 4 else None
        if order not in ("<", ">", "|", "=") or any(part is not None for part in state[2:5]):
            raise FeatureFileError(f"expected a simple dtype, got the state {brief(state)}")
        self.dtype = self.dtype.newbyteorder(order)


class Array:
    """An array to be: filled by its pickled state."""

    def __init__(self, value: Numbers | None = None):
        self.value = value

    def fill(self, state: Any) -> None:
        """The array, from (version, shape, dtype, Fortran order, data)."""
        if not isinstance(state, tuple) or len(state) != 5:
            raise FeatureFileError(f"expected an array, got the state {brief(state)}")
        _, shape, dtype, fortran, data = state
        self.value = _array(data, dtype, shape, "F" if fortran is True else "C")


def _array(data: Any, dtype: Any, shape: Any, order: Any) -> Numbers:
    """The array, after checking every part: no pickled value reaches numpy but sizes, a simple dtype and bytes."""
    sizes = isinstance(shape, tuple) and len(shape) <= DEPTH and all(_is_size(size) for size in shape)
    if not isinstance(dtype, Dtype) or not sizes or order not in ("C", "F"):
        found = f"{brief(dtype)}, {brief(shape)}, {brief(order)}"
        raise FeatureFileError(f"expected a dtype, a shape and an order, got {found}")
    if not dtype.dtype.hasobject and not isinstance(data, bytes | UnreadBytes):
        raise FeatureFileError(f"expected an array's bytes, got {brief(data)}")
    if isinstance(data, UnreadBytes):
        if order == "C" and dtype.dtype.kind in "biuf":
            if len(data) != dtype.dtype.itemsize * math.prod(shape):
                raise FeatureFileError(f"expected the values of an array of shape {shape}, got {len(data)} bytes")
            return UnreadArray(data, dtype.dtype, shape)
        data = data.whole
    flat = _strings(data) if dtype.dtype.hasobject else np.frombuffer(data, dtype=dtype.dtype)
    if flat.size != math.prod(shape):
        raise FeatureFileError(f"expected the values of an array of shape {shape}, got {flat.size} values")
    if flat.size and flat.dtype.kind == "U" and flat.view(f"{flat.dtype.byteorder}u4").max() > sys.maxunicode:
        raise FeatureFileError("expected text, got code points that do not exist")
    return flat.reshape(shape, order=order)


def _is_size(size: Any) -> bool:
    return isinstance(size, int) and 0 <= size < 2**63


def _strings(data: Any) -> np.ndarray:
    if not isinstance(data, list) or not all(isinstance(item, str) for item in data):
        raise FeatureFileError(f"expected an object array of strings only, got {brief(data)}")
    strings = np.empty(len(data), object)
    strings[:] = data
    return strings


def _reconstruct(kind: Any, *_: Any) -> Array:
    if kind is not NDARRAY:
        raise FeatureFileError(f"expected a numpy.ndarray, got {brief(kind)}")
    return Array()


def _from_buffer(data: Any, dtype: Any, shape: Any, order: Any) -> Array:
    return Array(_array(data, dtype, shape, order))


def _scalar(dtype: Any, data: Any = None) -> Any:
    if not isinstance(dtype, Dtype) or dtype.dtype.hasobject:
        raise FeatureFileError(f"expected a number or a string, got a scalar of dtype {brief(dtype)}")
    return np.asarray(_array(data, dtype, (1,), "C"))[0].item()


def _latin1(text: Any, encoding: Any = None) -> bytes:
    if not isinstance(text, str) or encoding not in ("latin1", "latin-1"):
        raise FeatureFileError(f"expected bytes in latin1, got {brief(encoding)}")
    return text.encode("latin1")


def _no_call(*_: Any) -> None:
    raise FeatureFileError("expected a reconstructed array, got a call of numpy.ndarray")


NDARRAY = Function(_no_call)
NUMPY = {
    ("numpy", "ndarray"): NDARRAY,
    ("numpy", "dtype"): Function(Dtype),
    ("numpy.core.multiarray", "_reconstruct"): Function(_reconstruct),
    ("numpy.core.multiarray", "scalar"): Function(_scalar),
    ("numpy.core.numeric", "_frombuffer"): Function(_from_buffer),
    ("_codecs", "encode"): Function(_latin1),
}
"""What a pickle may name; numpy 1 says numpy.core, numpy 2 numpy._core."""


def function_of(module: Any, name: Any) -> Function:
    """What NUMPY has for a name. Raises FeatureFileError for every other name."""
    if not isinstance(module, str) or not isinstance(name, str):
        raise foreign("a name that is no string")
    function = NUMPY.get((module.replace("numpy._core", "numpy.core"), name))
    if function is None:
        raise foreign(f"{brief(module)}.{brief(name)}")
    return function


class Plain:
    """Replaces arrays to be by arrays and refuses what is neither an array nor plain; each container is visited once.

    most: to how many values a list may unfold, shared parts counted each time they occur.
    """

    def __init__(self, most: int) -> None:
        self.most = most
        self.done: dict[int, Any] = {}
        self.values: dict[int, int] = {}

    def of(self, value: Any, key: str, depth: int = 0) -> Any:
        """The plain form of `value`, found under `key` (train/audio)."""
        if isinstance(value, dict | list | tuple):
            return self._container(value, key, depth)
        if isinstance(value, Array) and value.value is not None:
            return value.value
        if isinstance(value, UnreadBytes):
            return value.whole
        if value is None or isinstance(value, str | bytes | bool | int | float):
            return value
        found = "an array without data" if isinstance(value, Array) else brief(value)
        raise Located(f"{key or '(top level)'}: expected arrays and plain values, got {found}")

    def _container(self, value: Any, key: str, depth: int) -> Any:
        if id(value) in self.done:
            return self.done[id(value)]
        if depth > DEPTH:
            raise Located(f"{key or '(top level)'}: expected at most {DEPTH} levels of nesting")
        if isinstance(value, dict):
            made: Any = {
                name: self.of(item, f"{key}/{brief(name)}".strip("/")[:80], depth + 1) for name, item in value.items()
            }
        else:
            made = type(value)([self.of(item, key, depth + 1) for item in value])
            self.values[id(value)] = sum(self._count(item) for item in value)
            if self.values[id(value)] > self.most:
                raise Located(f"{key}: expected a list of at most {self.most} values, got one that unfolds to more")
        self.done[id(value)] = made
        return made

    def _count(self, value: Any) -> int:
        if isinstance(value, Array) and value.value is not None:
            return 1 + value.value.size
        return 1 + self.values.get(id(value), 0)
