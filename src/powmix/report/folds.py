"""Variants of a cross-validation as one: runs that differ in `dataset.fold` alone, paired by fold and seed."""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from statistics import fmean
from typing import Any

from powmix.report import labels
from powmix.runs.records import Record
from powmix.runs.seed_records import FINISHED

FOLD = "dataset.fold"

Key = int | tuple[int, int]
"""What values are paired by: a seed; of folds, (fold, seed)."""


@dataclass(frozen=True, kw_only=True)
class Folded(Record):
    """One variant over several folds. folds: {fold: its record}. What is said of one run is the first fold's."""

    folds: Mapping[int, Record]

    def values(self, key: str, split: str = "test") -> dict[Any, float]:
        """{(fold, seed): value} of one metric."""
        return {
            (fold, seed): value for fold, one in self.folds.items() for seed, value in one.values(key, split).items()
        }

    def analysis(self, name: str) -> list[dict[str, Any]]:
        """The rows of all folds; `seed` is (fold, seed)."""
        return [{**row, "seed": (fold, row["seed"])} for fold, one in self.folds.items() for row in one.analysis(name)]


def joined(records: Sequence[Record]) -> list[Record]:
    """The records with all folds of a variant as one, in the place of the first; without folds unchanged."""
    groups: dict[Any, list[Record]] = defaultdict(list)
    for record in records:
        groups[_variant(record) if record.option("dataset.folds") else id(record)].append(record)
    return [_joined(group) if group[0].option("dataset.folds") else group[0] for group in groups.values()]


def parts(record: Record) -> list[Record]:
    """The runs that a record stands for: one per fold, or itself."""
    return list(record.folds.values()) if isinstance(record, Folded) else [record]


def keys(record: Record) -> list[Key]:
    """What the finished seeds of a record are paired by."""
    if isinstance(record, Folded):
        return [(fold, seed.seed) for fold, one in record.folds.items() for seed in one.seeds]
    return [seed.seed for seed in record.seeds]


def named(key: Key) -> str:
    """`1111`, or `fold 0: 1111`."""
    return f"fold {key[0]}: {key[1]}" if isinstance(key, tuple) else str(key)


def by_seed(values: Mapping[Key, float]) -> dict[int, float]:
    """{seed: value}, the mean over its folds."""
    found: dict[int, list[float]] = defaultdict(list)
    for key, value in values.items():
        found[key[1] if isinstance(key, tuple) else key].append(value)
    return {seed: fmean(one) for seed, one in found.items()}


def _variant(record: Record) -> tuple:
    """Everything that shapes a run but its fold."""
    names = (record.dataset, record.model, record.mixer, record.ablation, record.protocol, record.task)
    digest = record.provenance.get("dataset", {}).get("digest")
    return (*names, digest, *sorted(labels.settings(record).items()))


def _joined(group: Sequence[Record]) -> Record:
    folds: dict[int, Record] = {}
    for record in sorted(group, key=lambda one: (int(one.option(FOLD, 0)), one.signature)):
        folds.setdefault(int(record.option(FOLD, 0)), record)
    first = next(iter(folds.values()))
    said = {field.name: getattr(first, field.name) for field in fields(Record)}
    said["seeds"] = tuple(seed for one in folds.values() for seed in one.seeds)
    said["status"] = next((one.status for one in folds.values() if one.status != FINISHED), FINISHED)
    return Folded(**said, folds=folds)
