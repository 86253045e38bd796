"""The cache: folders of arrays that are made once, whole or absent, and checked before they are believed.

A folder holds .npy and text files and facts.json, which says of each file its bytes, dtype, shape and SHA-256, and of
itself a check value. At every opening sizes, headers and the hashes of small files are checked; all hashes once after
the machine was started anew (a power failure may leave zeros of the right size), and by `powmix-data check`. A folder
that does not fit is made again.
"""

from __future__ import annotations

import hashlib
import io
import json
import logging
import math
import os
import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from filelock import FileLock

from powmix.runs.files import replacing, replacing_folder, write_json

FACTS = "facts.json"
SMALL = 2**20
"""Bytes up to which a file's hash is checked at every opening, a millisecond each: labels, lengths, ids, tokens."""
log = logging.getLogger(__name__)


def cache_root() -> Path:
    """POWMIX_CACHE, else ~/.cache/powmix."""
    return Path(os.environ.get("POWMIX_CACHE") or Path.home() / ".cache" / "powmix").expanduser()


@dataclass(frozen=True)
class Stored:
    """A checked folder: what its maker said of it, and its files."""

    folder: Path
    facts: dict[str, Any]
    files: dict[str, dict[str, Any]]

    def array(self, name: str) -> np.ndarray:
        """The array, memory-mapped copy-on-write: processes share the page cache, a stray write stays private."""
        file = self.files[f"{name}.npy"]
        offset = file["bytes"] - np.dtype(file["dtype"]).itemsize * math.prod(file["shape"])
        return np.memmap(self.folder / f"{name}.npy", file["dtype"], "c", offset, tuple(file["shape"]))

    def text(self, name: str) -> str:
        """The text file's content."""
        return (self.folder / name).read_text(encoding="utf-8")


class Writer:
    """Fills a folder; hashes are taken of what is written, on the way."""

    def __init__(self, folder: Path):
        self.folder = folder
        self.files: dict[str, dict[str, Any]] = {}

    @contextmanager
    def array(self, name: str, dtype: Any, shape: Sequence[int]) -> Iterator[Callable[[np.ndarray], None]]:
        """A function to give the array's rows to, in order. (Through a memory map, a full disk is a Bus error.)"""
        header = _header(np.dtype(dtype), shape)
        digest = hashlib.sha256(header)
        with (self.folder / f"{name}.npy").open("xb") as stream:

            def write(rows: np.ndarray) -> None:
                data = np.ascontiguousarray(rows, dtype)
                stream.write(data)
                digest.update(data)

            stream.write(header)
            yield write
            size = stream.tell()
        assert size == len(header) + np.dtype(dtype).itemsize * math.prod(shape), f"{name}: rows are missing"
        self.files[f"{name}.npy"] = {
            "bytes": size,
            "dtype": np.dtype(dtype).str,
            "shape": [int(axis) for axis in shape],
            "sha256": digest.hexdigest(),
        }

    def whole_array(self, name: str, array: np.ndarray, dtype: Any) -> None:
        """An array that is in memory."""
        with self.array(name, dtype, array.shape) as write:
            write(array)

    def text(self, name: str, text: str) -> None:
        """A text file."""
        data = text.encode()
        (self.folder / name).write_bytes(data)
        self.files[name] = {"bytes": len(data), "sha256": hashlib.sha256(data).hexdigest()}


def build_once(folder: Path, make: Callable[[Writer], dict[str, Any]], whole: bool = False) -> Stored:
    """The folder, checked; made by `make`, which returns its facts, unless it is there and as it was written.

    whole: check every hash. However many processes ask, one makes it and the others wait. Raises ValueError where the
    cache cannot be written.
    """
    stored, _ = open_stored(folder, whole)
    if stored:
        return stored
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        with FileLock(f"{folder}.lock"):
            for left_over in folder.parent.glob(f"{folder.name}.tmp-*"):
                shutil.rmtree(left_over, ignore_errors=True)
            stored, problems = open_stored(folder, whole)
            if not stored:
                if folder.exists():
                    log.warning("%s is not as it was written (%s): making it again", folder, problems[0])
                with replacing_folder(folder) as temporary:
                    writer = Writer(temporary)
                    _write_facts(temporary, make(writer), writer.files)
                stored, problems = open_stored(folder)
    except OSError as error:
        raise ValueError(
            f"cache {folder.parent}: cannot write ({error}); set POWMIX_CACHE to a folder with room"
        ) from error
    if not stored:
        raise ValueError(f"cache {folder}: just written, and damaged ({problems[0]}); set POWMIX_CACHE elsewhere")
    return stored


def open_stored(folder: Path, whole: bool = False) -> tuple[Stored | None, list[str]]:
    """The folder if it is as it was written, else None; and what is wrong with it. whole: check every hash."""
    try:
        content = json.loads((folder / FACTS).read_text(encoding="utf-8"))
        if content["check"] != _check(content["facts"], content["files"]):
            raise ValueError
    except FileNotFoundError:
        return None, [f"{FACTS} is missing"]
    except (OSError, ValueError, KeyError, TypeError, RecursionError):
        return None, [f"{FACTS} is damaged"]
    facts, files, restarted = content["facts"], content["files"], content.get("boot") != _boot()
    problems = [_problem(folder / name, file, whole or restarted) for name, file in files.items()]
    if any(problems):
        return None, [problem for problem in problems if problem]
    if restarted:
        with suppress(OSError):
            _write_facts(folder, facts, files)
    return Stored(folder, facts, files), []


def damage(folder: Path) -> list[str]:
    """What is wrong with any file of the folder, every hash checked."""
    return open_stored(folder, whole=True)[1]


def stamp(path: Path) -> list[Any]:
    """What changes whenever a file does: path, size, inode, times of its content and of its inode in nanoseconds."""
    status = path.stat()
    return [str(path.resolve()), status.st_size, status.st_ino, status.st_mtime_ns, status.st_ctime_ns]


def file_digest(path: Path) -> str:
    """SHA-256 of a file's content, remembered by its stamp; a spoiled memory is noticed and taken anew."""
    identity = json.dumps(stamp(path))
    remembered = cache_root() / "digests" / hashlib.sha256(identity.encode()).hexdigest()[:32]
    with suppress(OSError, ValueError):
        digest, check = remembered.read_text(encoding="utf-8").split()
        if check == _check(identity, digest):
            return digest
    with path.open("rb") as stream:
        digest = hashlib.file_digest(stream, "sha256").hexdigest()
    try:
        with replacing(remembered) as temporary:
            temporary.write_text(f"{digest} {_check(identity, digest)}\n", encoding="utf-8")
    except OSError as error:
        raise ValueError(
            f"cache {cache_root()}: cannot write ({error}); set POWMIX_CACHE to a folder with room"
        ) from error
    return digest


def _header(dtype: np.dtype, shape: Sequence[int]) -> bytes:
    stream = io.BytesIO()
    described = {"descr": np.lib.format.dtype_to_descr(dtype), "fortran_order": False, "shape": tuple(shape)}
    np.lib.format.write_array_header_1_0(stream, described)
    return stream.getvalue()


def _problem(path: Path, file: Mapping[str, Any], whole: bool) -> str:
    """What is wrong with a file of a folder, or nothing."""
    try:
        with path.open("rb") as stream:
            size = os.fstat(stream.fileno()).st_size
            if size != file["bytes"]:
                return f"{path.name} has {size} bytes instead of {file['bytes']}"
            if "shape" in file:
                header = _header(np.dtype(file["dtype"]), file["shape"])
                if stream.read(len(header)) != header:
                    return f"{path.name} has another header"
                stream.seek(0)
            if (whole or size <= SMALL) and hashlib.file_digest(stream, "sha256").hexdigest() != file["sha256"]:
                return f"{path.name} has another SHA-256"
    except FileNotFoundError:
        return f"{path.name} is missing"
    except OSError as error:
        return f"{path.name} cannot be read ({error.strerror})"
    return ""


def _write_facts(folder: Path, facts: Mapping[str, Any], files: Mapping[str, Any]) -> None:
    write_json(folder / FACTS, {"facts": facts, "files": files, "check": _check(facts, files), "boot": _boot()})


def _check(*parts: Any) -> str:
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()


def _boot() -> str:
    """Which start of the machine this is; the same word for ever where the kernel does not say."""
    try:
        return Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    except OSError:
        return "unknown"
