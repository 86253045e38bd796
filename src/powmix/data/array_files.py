"""Arrays from files: an .npz, a folder of .npy files, or columns (columnar.py); nothing in them is executed.

Shape suffixes: N examples.
"""

from __future__ import annotations

import json
import math
import os
import zipfile
import zlib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

import numpy as np

from powmix.data.columnar import check_size, is_columnar, read_columns

if TYPE_CHECKING:
    from powmix.data.splits import Task

MOST_ARRAYS = 1000
"""In one .npz file or folder."""
HEADERS = {(1, 0): np.lib.format.read_array_header_1_0, (2, 0): np.lib.format.read_array_header_2_0}


def read(path: str) -> dict[str, Any]:
    """The arrays of an .npz file, of the .npy and .json files of a folder, or of a table or Hugging Face datasets.

    By name. A .json file is a list of N strings. Raises ValueError, in one line, for what is no plain array.
    """
    return {name: _plain(f"{path}: {name}", value) for name, value in _open(Path(path).expanduser())}


def peek_task(path: str) -> Task | None:
    """The task that the target of such a file asks for; None where it has no usable target."""
    from powmix.data.targets import task_of_target

    try:
        found = next((value for name, value in _open(Path(path).expanduser(), "target") if name == "target"), None)
        return None if found is None else task_of_target(_plain("target", found))
    except (ValueError, OSError):
        return None  # reading it all says what is wrong


def _open(path: Path, only: str | None = None) -> Iterator[tuple[str, Any]]:
    if is_columnar(path):
        yield from read_columns(path, only).items()
        return
    if path.is_dir():
        yield from _of_folder(path, only)
        return
    try:
        with zipfile.ZipFile(path) as archive:
            members = archive.infolist()
            _check_count(path, len(members))
            check_size(path, sum(member.file_size for member in members), path.stat().st_size)
            for member in members:
                with archive.open(member) as stream:
                    _check_header(member.filename.removesuffix(".npy"), stream, member.file_size)
        with np.load(path, allow_pickle=False) as arrays:
            for name in arrays.files:
                if only is None or name == only:
                    yield name, arrays[name]
    except (zipfile.BadZipFile, zlib.error, EOFError, KeyError, OSError, RuntimeError, OverflowError) as error:
        raise ValueError(f"{path}: expected an .npz file of arrays, got {type(error).__name__}: {error}") from None
    except ValueError as error:
        raise ValueError(f"{path}: {str(error).removeprefix(f'{path}: ')}") from None


def _of_folder(path: Path, only: str | None) -> Iterator[tuple[str, Any]]:
    files = sorted(file for file in path.iterdir() if file.suffix in (".npy", ".json"))
    if not files:
        raise ValueError(f"{path}: expected .npy files (one for each modality, and target.npy), got none")
    _check_count(path, len(files))
    check_size(path, sum(file.stat().st_size for file in files), sum(map(_stored, files)))
    for file in files:
        if only is not None and file.stem != only:
            continue
        try:
            if file.suffix == ".npy":
                with file.open("rb") as stream:
                    _check_header(file.stem, stream, file.stat().st_size)
                yield file.stem, np.load(file, mmap_mode="c", allow_pickle=False)
            else:
                yield file.stem, json.loads(file.read_text("utf-8"))
        except (ValueError, OSError, EOFError, RecursionError, OverflowError) as error:
            raise ValueError(f"{file}: expected an array, got {type(error).__name__}: {error}") from None


def _check_count(path: Path, count: int) -> None:
    if count > MOST_ARRAYS:
        raise ValueError(f"{path}: expected at most {MOST_ARRAYS} arrays, got {count}")


def _stored(file: Path) -> int:
    """Bytes that a file takes on the disk; of one without holes its size."""
    with file.open("rb") as stream:
        status = os.fstat(stream.fileno())
        whole = status.st_size == 0 or os.lseek(stream.fileno(), 0, os.SEEK_HOLE) == status.st_size
    return status.st_size if whole else 512 * status.st_blocks


def _check_header(name: str, stream: IO[bytes], size: int) -> None:
    """Raises ValueError where an array's header claims more bytes than follow it, or Python objects.

    NumPy sets the memory aside before it reads.
    """
    try:
        shape, _, dtype = HEADERS[np.lib.format.read_magic(stream)](stream)
    except Exception as error:
        raise ValueError(f"{name}: no header of a plain array ({type(error).__name__})") from None
    if dtype.hasobject:
        raise ValueError(f"{name}: holds Python objects, which are not read (allow_pickle=False)")
    if any(axis >= 2**63 for axis in shape):
        raise ValueError(f"{name}: its header claims an axis longer than any array's")
    claimed, real = dtype.itemsize * math.prod(shape), size - stream.tell()
    if claimed > real or any(axis < 0 for axis in shape):
        raise ValueError(f"{name}: its header claims {claimed} bytes for {shape} {dtype}, the file has {real}")


def _plain(where: str, value: Any) -> Any:
    """Numbers and texts only; a list of JSON must be one of strings."""
    if isinstance(value, np.ndarray):
        if value.dtype.kind not in "biufUS":
            raise ValueError(f"{where}: expected numbers or strings, got dtype {value.dtype}")
        return value
    if isinstance(value, list) and all(isinstance(one, str | np.ndarray) for one in value):
        return value
    raise ValueError(
        f"{where}: expected a list of strings, got {'an object' if isinstance(value, Mapping) else value!r:.60}"
    )
