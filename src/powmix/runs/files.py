"""Writes files so that they are whole or absent, whatever is killed or loses power: write, fsync, rename, fsync."""

from __future__ import annotations

import csv
import json
import math
import os
import shutil
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from tempfile import mkdtemp
from typing import Any

import numpy as np

SCHEMA = 1


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """A temporary path to write to; it takes the place of `path`, on the disk too, if nothing is raised."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        yield temporary
        sync(temporary)
        os.replace(temporary, path)
        sync(path.parent)
    finally:
        temporary.unlink(missing_ok=True)


@contextmanager
def replacing_folder(folder: Path) -> Iterator[Path]:
    """A temporary folder to fill; it takes the place of `folder`, on the disk too, if nothing is raised.

    Only one process may replace a folder at a time: for a moment between two renames there is none.
    """
    folder.parent.mkdir(parents=True, exist_ok=True)
    temporary, old = (Path(mkdtemp(prefix=f"{folder.name}.tmp-", dir=folder.parent)) for _ in range(2))
    try:
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
    """Waits until the disk has the file's content, or the folder's names."""
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
    """The file's object; None if it is not there or is not JSON."""
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    return value if isinstance(value, dict) else None


def write_history(path: Path, history: Sequence[Mapping[str, Any]]) -> None:
    """One row per epoch; the columns are all keys, in order of appearance; None is an empty cell."""
    columns = dict.fromkeys(key for row in history for key in row)
    _write_csv(path, list(columns), ([row.get(column) for column in columns] for row in history))


def write_predictions(path: Path, ids: Sequence[str], target_NC: np.ndarray, prediction_NC: np.ndarray) -> None:
    """Regression: id, target, prediction. Classification: id, target (the class), prediction_0, prediction_1, ..."""
    if prediction_NC.shape[1] == 1:
        header, target_N = ["id", "target", "prediction"], target_NC[:, 0]
    else:
        header = ["id", "target", *(f"prediction_{c}" for c in range(prediction_NC.shape[1]))]
        target_N = target_NC.argmax(1)
    _write_csv(path, header, ([i, t.item(), *p.tolist()] for i, t, p in zip(ids, target_N, prediction_NC, strict=True)))


def _write_csv(path: Path, header: Sequence[str], rows: Any) -> None:
    with replacing(path) as temporary, temporary.open("w", newline="", encoding="utf-8") as stream:
        writer = csv.writer(stream, lineterminator="\n")
        writer.writerow(header)
        writer.writerows(rows)


def _finite(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {key: _finite(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
