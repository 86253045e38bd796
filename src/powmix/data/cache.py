"""The cache folder: what is in it is named by content, complete or absent, and made once however many processes ask."""

from __future__ import annotations

import hashlib
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from tempfile import mkdtemp

from filelock import FileLock


def cache_root() -> Path:
    """POWMIX_CACHE, else ~/.cache/powmix."""
    return Path(os.environ.get("POWMIX_CACHE") or Path.home() / ".cache" / "powmix").expanduser()


def build_once(folder: Path, make: Callable[[Path], None]) -> Path:
    """`folder`, made by `make(temporary folder)` and a rename unless it exists. Other processes wait for the first.

    Raises ValueError where the cache cannot be written.
    """
    if folder.is_dir():
        return folder
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        with FileLock(f"{folder}.lock"):
            for left_over in folder.parent.glob(f"{folder.name}.tmp-*"):
                shutil.rmtree(left_over, ignore_errors=True)
            if not folder.is_dir():
                _make_and_rename(folder, make)
    except OSError as error:
        raise ValueError(
            f"cache {folder.parent}: cannot write ({error}); set POWMIX_CACHE to a folder with room"
        ) from error
    return folder


def file_digest(path: Path) -> str:
    """SHA-256 of a file's content, remembered by path, size and modification time."""
    status = path.stat()
    identity = f"{path.resolve()}|{status.st_size}|{status.st_mtime_ns}"
    remembered = cache_root() / "digests" / hashlib.sha256(identity.encode()).hexdigest()[:32]
    if remembered.is_file() and len(digest := remembered.read_text()) == 64:
        return digest
    with path.open("rb") as stream:
        digest = hashlib.file_digest(stream, "sha256").hexdigest()
    try:
        remembered.parent.mkdir(parents=True, exist_ok=True)
        temporary = remembered.with_suffix(f".{os.getpid()}")
        temporary.write_text(digest)
        temporary.replace(remembered)
    except OSError as error:
        raise ValueError(
            f"cache {cache_root()}: cannot write ({error}); set POWMIX_CACHE to a folder with room"
        ) from error
    return digest


def _make_and_rename(folder: Path, make: Callable[[Path], None]) -> None:
    temporary = Path(mkdtemp(prefix=f"{folder.name}.tmp-", dir=folder.parent))
    try:
        make(temporary)
        temporary.rename(folder)
    except BaseException:
        shutil.rmtree(temporary, ignore_errors=True)
        raise
