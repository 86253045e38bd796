"""A finished seed's record (seed_*/result.json), and whether everything that the seed left is as it was written."""

from __future__ import annotations

import logging
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from powmix.runs.files import SeedFolder, file_sha256, read_columns, read_json, write_json
from powmix.runs.identity import SCHEMA

log = logging.getLogger("powmix")

FINISHED = "finished"
SEED_KEYS = ("seed", "best_epoch", "epochs", "seconds", "validation", "test", "mixing", "folder")


@dataclass(frozen=True)
class SeedResult:
    """One run: one training with one seed. Metrics are unrounded fractions."""

    seed: int
    test: Mapping[str, float]
    validation: Mapping[str, float]
    mixing: Mapping[str, float]
    best_epoch: int | None
    epochs: int | None
    seconds: float | None
    folder: Path

    def history(self) -> dict[str, list[float]]:
        """Columns of history.csv (empty where the file is absent); an unreadable cell is NaN."""
        return read_columns(SeedFolder(self.folder).history)

    def targets(self) -> list[float]:
        """The test labels that predictions.csv carries, of classes their numbers; empty for multilabel or no file."""
        return read_columns(SeedFolder(self.folder).predictions).get("target", [])


def write_seed(folder: SeedFolder, status: str, record: Mapping[str, Any], **more: Any) -> None:
    """A seed's result.json; of a finished one with size and SHA-256 of every file it leaves."""
    files = {}
    if status == FINISHED:
        files = {p.name: {"bytes": p.stat().st_size, "sha256": file_sha256(p)} for p in folder.outcome}
    write_json(folder.result, {"schema": SCHEMA, "status": status, **record, "files": files, **more})


def finished_seed(folder: Path, seed: int) -> dict[str, Any] | None:
    """The record of a seed that was trained to its end in `folder`, else None.

    A result that is damaged, or whose files are, is told in a warning and not believed.
    """
    place = SeedFolder(folder)
    content = read_json(place.result)
    if content is None or content.get("status") != FINISHED or content.get("seed") != seed:
        return None
    if found := damage(place, content):
        log.warning("seed %d: %s: it is trained again", seed, found)
        return None
    return {key: content[key] for key in SEED_KEYS}


def all_seeds(folder: Path, own: Sequence[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    """The records of every finished seed in a variant's folder, by number; `own` are at hand already.

    None is taken that is damaged, or that was measured in other metrics than `own` (of plugins that are not there now).
    """
    found = {record["seed"]: record for record in own}
    for place in map(SeedFolder, folder.glob("seed_*")):
        content = read_json(place.result)
        if content is None or content.get("status") != FINISHED or damage(place, content):
            continue
        if content["test"].keys() == own[0]["test"].keys():
            found.setdefault(content["seed"], {key: content[key] for key in SEED_KEYS})
    return [record for _, record in sorted(found.items())]


def damage(folder: SeedFolder, content: Mapping[str, Any]) -> str | None:
    """What is wrong with a finished seed on disk, in words, or None.

    Small files are hashed; weights are compared by size only, and hashed by who loads them (`check_weights`).
    """
    if not is_seed(content) or content.get("schema") != SCHEMA or not isinstance(content.get("files"), Mapping):
        return f"{folder.result} is not a result that powmix wrote"
    for path in folder.outcome:
        known = content["files"].get(path.name)
        if not path.is_file():
            return f"{path} is missing"
        if not isinstance(known, Mapping) or path.stat().st_size != known.get("bytes"):
            return f"{path} is not as long as it was written"
        if path != folder.weights and file_sha256(path) != known.get("sha256"):
            return f"{path} has changed since it was written"
    return None


def damaged_seeds(folder: Path) -> Iterator[tuple[Path, str]]:
    """Finished seeds of a run's folder that are damaged: the seed's folder, and what is wrong with it."""
    for place in map(SeedFolder, sorted(folder.glob("seed_*"))):
        if not place.result.is_file():
            continue
        content = read_json(place.result)
        if content is None:
            yield place.path, f"{place.result.name} is not valid JSON"
        elif content.get("status") == FINISHED and (found := damage(place, content)):
            yield place.path, found


def check_weights(folder: SeedFolder) -> None:
    """ValueError where a finished seed's weights are missing or are not those that were written."""
    if not folder.weights.is_file():
        raise ValueError(f"{folder.weights} is missing: the run's command trains the seed again")
    known = (read_json(folder.result) or {}).get("files", {}).get(folder.weights.name, {})
    if file_sha256(folder.weights) != known.get("sha256"):
        raise ValueError(f"{folder.weights} has changed since it was written: train the seed again")


def is_seed(entry: Mapping[str, Any]) -> bool:
    """Whether a seed's entry has the types that training gives it, and no metric is missing."""
    return (
        set(SEED_KEYS) <= entry.keys()
        and all(type(entry[key]) is int for key in ("seed", "best_epoch", "epochs"))
        and is_finite(entry["seconds"])
        and _are_numbers(entry["validation"])
        and _are_numbers(entry["test"])
        and entry["validation"].keys() == entry["test"].keys()
        and isinstance(entry["mixing"], Mapping)
    )


def _are_numbers(metrics: Any) -> bool:
    return isinstance(metrics, Mapping) and bool(metrics) and all(map(is_finite, metrics.values()))


def is_finite(value: Any) -> bool:
    """A number that is neither NaN nor infinite."""
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
