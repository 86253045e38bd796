"""What a seed leaves in its folder. A file is written beside its place and renamed into it: never half there."""

from __future__ import annotations

import csv
import json
import math
import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

SCHEMA = 1


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """A temporary path to write to; it takes the place of `path` if nothing is raised."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        yield temporary
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


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
