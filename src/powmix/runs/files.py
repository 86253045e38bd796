"""Files of a run: where they lie, and how they are written so that neither a kill nor a power cut loses them.

A file is written beside its place, synced, renamed into its place, and the folder is synced: what is told to be on disk
is on disk, whole.
"""

from __future__ import annotations

import csv
import hashlib
import json
import logging
import math
import os
import shutil
import socket
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import mkdtemp
from typing import TYPE_CHECKING, Any

from filelock import FileLock, Timeout

if TYPE_CHECKING:
    import numpy as np

log = logging.getLogger("powmix")


@dataclass(frozen=True)
class SeedFolder:
    """The files of one seed. checkpoint stands until the seed is finished, the others from then on."""

    path: Path

    def __post_init__(self) -> None:
        object.__setattr__(self, "path", Path(self.path))

    @property
    def result(self) -> Path:
        return self.path / "result.json"

    @property
    def history(self) -> Path:
        return self.path / "history.csv"

    @property
    def weights(self) -> Path:
        return self.path / "weights.safetensors"

    @property
    def predictions(self) -> Path:
        return self.path / "predictions.csv"

    @property
    def checkpoint(self) -> Path:
        return self.path / "checkpoint.pt"

    @property
    def outcome(self) -> tuple[Path, ...]:
        """What a finished seed leaves beside its result."""
        return self.history, self.weights, self.predictions

    def clear(self) -> None:
        """Removes all of them."""
        for path in (self.checkpoint, *self.outcome, self.result):
            path.unlink(missing_ok=True)


@contextmanager
def alone_in(folder: Path) -> Iterator[None]:
    """Holds a folder: a second process that wants the same run says so, waits, and then finds it finished."""
    folder.mkdir(parents=True, exist_ok=True)
    lock, holder = FileLock(folder / ".lock"), folder / ".holder"
    try:
        lock.acquire(timeout=0)
    except Timeout:
        whose = holder.read_text("utf-8") if holder.is_file() else "another process"
        log.info("%s: %s works here: waiting for it", folder, whose)
        lock.acquire()
    try:
        with naming(holder):
            holder.write_text(f"process {os.getpid()} on {socket.gethostname()}", "utf-8")
        remove_leftovers(folder)
        yield
    finally:
        holder.unlink(missing_ok=True)
        lock.release()


def remove_leftovers(folder: Path) -> None:
    """Removes temporary files that killed processes left; the caller holds the folder.

    A finished seed's checkpoint goes, too: the process was killed between its result and the checkpoint's removal.
    """
    for path in [*folder.glob(".*.tmp"), *folder.glob("seed_*/.*.tmp")]:
        path.unlink(missing_ok=True)
    for path in folder.glob("seed_*/checkpoint.pt"):
        if (read_json(path.with_name("result.json")) or {}).get("status") == "finished":
            path.unlink(missing_ok=True)


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """A temporary path to write to; once written it is synced and takes the place of `path`, if nothing is raised."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        with naming(path):
            yield temporary
            sync(temporary)
            os.replace(temporary, path)
            sync(path.parent)
    finally:
        temporary.unlink(missing_ok=True)


@contextmanager
def naming(path: Path) -> Iterator[None]:
    """An OSError inside says which file it is about: the system names none where a write or a sync fails."""
    try:
        yield
    except OSError as error:
        if error.filename or not error.errno:
            raise
        raise OSError(error.errno, error.strerror, str(path)) from error


@contextmanager
def replacing_folder(folder: Path) -> Iterator[Path]:
    """A temporary folder to fill; its files are synced and it takes the place of `folder`, if nothing is raised.

    Only one process may replace a folder at a time: for a moment between two renames there is none.
    """
    folder.parent.mkdir(parents=True, exist_ok=True)
    temporary, old = (Path(mkdtemp(prefix=f"{folder.name}.tmp-", dir=folder.parent)) for _ in range(2))
    try:
        with naming(folder):
            yield temporary
        for inside in sorted(temporary.rglob("*"), reverse=True):
            sync(inside)
        sync(temporary)
        if folder.exists():
            os.replace(folder, old)
        os.replace(temporary, folder)
        sync(folder.parent)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
        shutil.rmtree(old, ignore_errors=True)


def sync(path: Path) -> None:
    """Waits until a file's content, or a folder's list of names, is on the disk itself."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def write_json(path: Path, value: Mapping[str, Any]) -> None:
    """As JSON, numbers that are not finite as null."""
    with replacing(path) as temporary:
        temporary.write_text(json.dumps(_finite(value), indent=1, allow_nan=False) + "\n", encoding="utf-8")


def read_json(path: Path) -> dict[str, Any] | None:
    """The file's object; None if it is not there, cannot be read or is not a JSON object."""
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        return None
    return value if isinstance(value, dict) else None


def write_history(path: Path, history: Sequence[Mapping[str, Any]]) -> None:
    """One row per epoch; the columns are all keys, in order of appearance; None is an empty cell."""
    columns = dict.fromkeys(key for row in history for key in row)
    _write_csv(path, list(columns), ([row.get(column) for column in columns] for row in history))


def write_predictions(
    path: Path, ids: Sequence[str], target_NC: np.ndarray, prediction_NC: np.ndarray, task: str
) -> None:
    """One row per example, with the columns that its task has.

    Regression: id, target, prediction. Classification: id, target (the class), prediction_0, prediction_1, ..., logits.
    Several numbers or labels: id, target_0, target_1, ..., prediction_0, prediction_1, ...
    """
    outputs = range(prediction_NC.shape[1])
    targets, predictions = ["target"], [f"prediction_{c}" for c in outputs]
    if task == "classification":
        target_NC = target_NC.argmax(1)[:, None]
    elif task == "multilabel" or len(outputs) > 1:
        targets = [f"target_{c}" for c in outputs]
    else:
        predictions = ["prediction"]
    rows = zip(ids, target_NC.tolist(), prediction_NC.tolist(), strict=True)
    _write_csv(path, ["id", *targets, *predictions], ([i, *t, *p] for i, t, p in rows))


def read_columns(path: Path) -> dict[str, list[float]]:
    """The columns of a CSV file but `id`, as numbers; empty where the file is absent, NaN where a cell is no number."""
    if not path.is_file():
        return {}
    with path.open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    return {key: [_number(row.get(key)) for row in rows] for key in (rows[0] if rows else {}) if key and key != "id"}


def file_sha256(path: Path) -> str:
    """The SHA-256 of a file's bytes, in hexadecimal."""
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def _write_csv(path: Path, header: Sequence[str], rows: Any) -> None:
    with replacing(path) as temporary, temporary.open("w", newline="", encoding="utf-8") as stream:
        writer = csv.writer(stream, lineterminator="\n")
        writer.writerow(header)
        writer.writerows(rows)


def _number(text: str | None) -> float:
    try:
        return float(text) if text is not None else float("nan")
    except ValueError:
        return float("nan")


def _finite(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {key: _finite(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
