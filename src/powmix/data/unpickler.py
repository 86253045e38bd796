"""Reads a feature pickle from strangers: arrays and plain values only, nothing of the file is ever executed.

The file may name a handful of numpy's reconstruction functions. None of them is called: stand-ins record what an array
would be (shape, dtype, bytes), check it, and build it with `numpy.frombuffer`. Everything else that a pickle can name
is refused.
"""

from __future__ import annotations

import math
import pickle
import re
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from powmix.data.position import position_in

DTYPE = re.compile(r"[<>|=]?(b1|[iu][1248]|f[248]|U\d{1,7}|S\d{1,7}|O8?|\?)")
DEPTH = 8


class FeatureFileError(ValueError):
    """A feature file that cannot be used; the message names the file, the key, what was expected and what was found."""


def read(path: Path) -> Any:
    """The plain value in the pickle at `path`: dict, list, tuple, str, bytes, numbers, None and numpy arrays.

    Raises FeatureFileError for anything else (code, foreign classes, truncation), before any of it has an effect.
    """
    try:
        with path.open("rb") as stream:
            return _Plain().of(_Unpickler(stream).load(), "")
    except _Foreign as error:
        reason = f"expected arrays and plain values only, got {error}; nothing was executed"
    except FeatureFileError as error:
        raise FeatureFileError(f"{path}: {error}") from None
    except (EOFError, pickle.UnpicklingError) as error:
        reason = f"expected a complete pickle, got one that is truncated or damaged ({error})"
    except (ValueError, TypeError, AttributeError, KeyError, IndexError) as error:
        reason = f"expected a pickle of arrays and plain values, got a damaged or hostile one ({error})"
    except (MemoryError, OverflowError, RecursionError) as error:
        reason = f"expected a pickle that fits in memory, got {type(error).__name__}"
    raise FeatureFileError(f"{path}: {position_in(path, admitted)}{reason}")


def admitted(module: str, name: str) -> bool:
    """Whether a pickle may name `module.name`; numpy 1 and 2 call the same things differently."""
    return _stand_in(module, name) is not None


class _Foreign(FeatureFileError):
    """A name that is not admitted."""


class _Unpickler(pickle.Unpickler):
    def __init__(self, stream: BinaryIO):
        super().__init__(stream, buffers=())

    def find_class(self, module: str, name: str) -> Any:
        """The stand-in for a name of numpy; nothing is ever imported."""
        stand_in = _stand_in(module, name)
        if stand_in is None:
            raise _Foreign(f"{module}.{name}")
        return stand_in

    def persistent_load(self, pid: Any) -> Any:
        raise _Foreign(f"a persistent id {pid!r:.60}")


class _Refused:
    """Takes the place of an array that could not be: `_Plain` meets it under its key and tells both."""

    __slots__ = ("reason",)

    def __init__(self, reason: str):
        self.reason = reason

    def __setstate__(self, state: Any) -> None:
        """Whatever would have been its content is of no interest."""


class _Named:
    """A name that a pickle may call; an instance, so that a pickle can neither subclass it nor change it."""

    __slots__ = ("_make",)

    def __init__(self, make: Any):
        object.__setattr__(self, "_make", make)

    def __call__(self, *arguments: Any) -> Any:
        try:
            return self._make(*arguments)
        except (ValueError, TypeError, OverflowError) as error:
            return _Refused(str(error))

    def __setattr__(self, name: str, value: Any) -> None:
        raise _Foreign(f"an assignment to {name!r}")

    def __setstate__(self, state: Any) -> None:
        raise _Foreign("a new state for a function")


class _Dtype:
    """What `numpy.dtype(spec)` with a pickled state would be, from its spec and byte order alone."""

    __slots__ = ("dtype", "refused")

    def __init__(self, spec: Any, *_: Any):
        if not isinstance(spec, str) or not DTYPE.fullmatch(spec):
            raise FeatureFileError(f"expected numbers, booleans or strings, got an array of dtype {_brief(spec)}")
        self.dtype, self.refused = np.dtype(spec), ""

    def __setstate__(self, state: Any) -> None:
        order = state[1] if isinstance(state, tuple) and len(state) > 4 else None
        if order not in ("<", ">", "|", "=") or any(part is not None for part in state[2:5]):
            self.refused = f"expected a simple dtype, got the state {_brief(state)}"
        else:
            self.dtype = self.dtype.newbyteorder(order)


class _Array:
    """An array to be: filled by its pickled state (version, shape, dtype, Fortran order, data)."""

    __slots__ = ("value",)

    def __init__(self) -> None:
        self.value: np.ndarray | _Refused = _Refused("expected an array, got one without data")

    def __setstate__(self, state: Any) -> None:
        if not isinstance(state, tuple) or len(state) != 5:
            self.value = _Refused(f"expected an array, got the state {_brief(state)}")
            return
        _, shape, dtype, fortran, data = state
        try:
            self.value = _array(data, dtype, shape, "F" if fortran else "C")
        except ValueError as error:
            self.value = _Refused(str(error))


def _reconstruct(kind: Any, *_: Any) -> _Array:
    if kind is not _NDARRAY:
        raise FeatureFileError(f"expected a numpy.ndarray, got {_brief(kind)}")
    return _Array()


def _from_buffer(data: Any, dtype: Any, shape: Any, order: Any) -> _Array:
    made = _Array()
    made.value = _array(data, dtype, shape, order)
    return made


def _scalar(dtype: Any, data: Any = None) -> Any:
    if not isinstance(dtype, _Dtype) or dtype.dtype.hasobject:
        raise FeatureFileError(f"expected a number or a string, got a scalar of dtype {_brief(dtype)}")
    return _array(data, dtype, (1,), "C")[0].item()


def _latin1(text: Any, encoding: Any = None) -> bytes:
    if not isinstance(text, str) or encoding not in ("latin1", "latin-1"):
        raise FeatureFileError(f"expected bytes in latin1, got {_brief(encoding)}")
    return text.encode("latin1")


def _array(data: Any, dtype: Any, shape: Any, order: Any) -> np.ndarray:
    """The array, after checking every part: no pickled value reaches numpy but sizes, a simple dtype and bytes."""
    if isinstance(dtype, _Refused) or getattr(dtype, "refused", ""):
        raise FeatureFileError(dtype.reason if isinstance(dtype, _Refused) else dtype.refused)
    sizes = isinstance(shape, tuple) and all(isinstance(size, int) and size >= 0 for size in shape)
    if not isinstance(dtype, _Dtype) or not sizes or order not in ("C", "F"):
        raise FeatureFileError(f"expected a dtype, a shape and an order, got {_brief((dtype, shape, order))}")
    if not dtype.dtype.hasobject and not isinstance(data, bytes | bytearray):
        raise FeatureFileError(f"expected an array's bytes, got {_brief(data)}")
    flat = _strings(data) if dtype.dtype.hasobject else np.frombuffer(data, dtype=dtype.dtype)
    if flat.size != math.prod(shape):
        raise FeatureFileError(f"expected the values of an array of shape {shape}, got {flat.size} values")
    return flat.reshape(shape, order=order)


def _strings(data: Any) -> np.ndarray:
    if not isinstance(data, list) or not all(isinstance(item, str) for item in data):
        raise FeatureFileError(f"expected an object array of strings only, got {_brief(data)}")
    strings = np.empty(len(data), object)
    strings[:] = data
    return strings


class _Plain:
    """Replaces stand-ins by arrays and refuses what is neither an array nor plain; each container is visited once."""

    def __init__(self) -> None:
        self.done: dict[int, Any] = {}

    def of(self, value: Any, key: str, depth: int = 0) -> Any:
        """The plain form of `value`, found under `key` (train/audio)."""
        if isinstance(value, dict | list | tuple):
            return self._container(value, key, depth)
        if isinstance(value, _Array):
            value = value.value
        if value is None or isinstance(value, str | bytes | bool | int | float | np.ndarray):
            return value
        reason = (
            value.reason if isinstance(value, _Refused) else f"expected arrays and plain values, got {_brief(value)}"
        )
        raise FeatureFileError(f"{key or '(top level)'}: {reason}")

    def _container(self, value: Any, key: str, depth: int) -> Any:
        if id(value) not in self.done:
            if depth > DEPTH:
                raise FeatureFileError(f"{key or '(top level)'}: expected at most {DEPTH} levels of nesting")
            if isinstance(value, dict):
                made = {
                    self.of(name, key, depth + 1): self.of(item, f"{key}/{name}".strip("/")[:80], depth + 1)
                    for name, item in value.items()
                }
            else:
                made = type(value)(self.of(item, key, depth + 1) for item in value)
            self.done[id(value)] = made
        return self.done[id(value)]


def _brief(value: Any) -> str:
    name = type(value).__name__.lstrip("_")
    return f"{name} {value!r:.60}" if isinstance(value, str | int | tuple | None) else name


def _no_call(*_: Any) -> None:
    raise FeatureFileError("expected a reconstructed array, got a call of numpy.ndarray")


_NDARRAY = _Named(_no_call)
_STAND_INS = {
    ("numpy", "ndarray"): _NDARRAY,
    ("numpy", "dtype"): _Named(_Dtype),
    ("numpy.core.multiarray", "_reconstruct"): _Named(_reconstruct),
    ("numpy.core.multiarray", "scalar"): _Named(_scalar),
    ("numpy.core.numeric", "_frombuffer"): _Named(_from_buffer),
    ("_codecs", "encode"): _Named(_latin1),
}


def _stand_in(module: str, name: str) -> _Named | None:
    return _STAND_INS.get((module.replace("numpy._core", "numpy.core"), name))
