"""Which source of randomness limits a comparison: runs whose seeds vary one source at a time (`vary`, sweeps=variance).

With `vary=[split]` seeds differ in the split alone, and the spread of scores over seeds is what splits do; the spread
of differences, paired by seed, is what limits the comparison.
"""

import json
import math
import re
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from powmix.metrics.columns import Metric
from powmix.metrics.statistics import LEVEL, Interval
from powmix.report.table import Row, Table
from powmix.runs.records import Record

EVERYTHING = "everything"
SOURCES = {
    EVERYTHING: "everything",
    "split": "the split",
    "init": "initial weights",
    "shuffle": "the order of batches",
    "dropout": "dropout",
    "mixing": "mixing",
}
"""What seeds vary, by the names of the option `vary`, and in words."""


@dataclass(frozen=True)
class Spread:
    """The standard deviation of n values (ddof 1), and its 95 % interval for normal values (chi square)."""

    n: int
    std: float
    interval: Interval


@dataclass(frozen=True)
class Source:
    """What one source does, in a metric's own values: to the scores of both sides and to their paired difference."""

    name: str
    baseline: Spread
    variant: Spread
    difference: Spread


@dataclass(frozen=True)
class Study:
    """A mixer against no mixing on one task, in the task's metric, its sources in SOURCES' order."""

    place: str
    record: Record
    label: str
    metric: Metric
    sources: tuple[Source, ...]

    def alone(self) -> list[Source]:
        """The sources that vary by themselves, the widest difference first."""
        return sorted((one for one in self.sources if one.name != EVERYTHING), key=lambda one: -one.difference.std)


def spread(values: Sequence[float]) -> Spread:
    """Of three values or more."""
    from scipy.special import chdtri

    std, df = float(np.std(values, ddof=1)), len(values) - 1
    low, high = (std * math.sqrt(df / chdtri(df, (1 + side * LEVEL) / 2)) for side in (-1, 1))
    return Spread(len(values), std, (low, high))


def studies(table: Table) -> list[Study]:
    """Every comparison of the table whose seeds were varied by two sources or more, one at a time."""
    found: dict[tuple[str, str], dict[str, tuple[Row, Source]]] = defaultdict(dict)
    for row in table.rows:
        if row.baseline and (source := _source(row, row.main)):
            found[(row.place, _settings(row.record))][source.name] = row, source
    made = []
    for (place, _), by_name in found.items():
        rows = [row for row, _ in by_name.values()]
        sources = tuple(by_name[name][1] for name in SOURCES if name in by_name)
        study = Study(place, rows[0].record, _label(rows), rows[0].main, sources)
        if len(study.alone()) > 1:
            made.append(study)
    return made


def sentences(table: Table) -> list[str]:
    """One for each study: the widest source, its share, and whether it can be told from the next."""
    return [_sentence(study, study.metric) for study in studies(table)]


def _sentence(study: Study, m: Metric) -> str:
    first, second, *_ = study.alone()
    total = sum(one.difference.std**2 for one in study.alone())
    opening = f"What limits {study.label} against no mixing ({study.place})"
    if not total:
        return f"{opening}: none of the sources that were varied changes anything."
    numbers = ", ".join(f"{SOURCES[one.name]} {m.show(one.difference.std)}" for one in study.sources)
    judgement = f"{first.difference.std**2 / total:.0%} of the sum of the single variances"
    if first.difference.interval[0] <= second.difference.interval[1]:
        judgement += f", not told apart from {SOURCES[second.name]} with {first.difference.n} seeds"
    widest = f"The widest is {SOURCES[first.name]}: {judgement}"
    return f"{opening}: paired differences in test {m.label} have, by what varies, a std of {numbers}. {widest}."


def _source(row: Row, m: Metric) -> Source | None:
    """What a row's seeds varied, if it is one source or everything, its baseline's too, and it has three seeds."""
    if row.baseline is None:
        return None
    varied = [record.option("vary") for record in (row.record, row.baseline)]
    if varied[0] != varied[1] or (varied[0] is not None and len(varied[0]) != 1):
        return None
    ours, theirs = (record.values(m.key) for record in (row.record, row.baseline))
    seeds = sorted(ours.keys() & theirs.keys())
    if len(seeds) < 3:
        return None
    name = EVERYTHING if varied[0] is None else varied[0][0]
    x, y = [ours[seed] for seed in seeds], [theirs[seed] for seed in seeds]
    return Source(name, spread(y), spread(x), spread([a - b for a, b in zip(x, y)]))


def _settings(record: Record) -> str:
    """All that decides a run but its seeds and what they vary."""
    left_out = ("vary", "seeds", "sweep", "sweeps", "outputs", "threads", "workers", "tracker", "trial")
    return json.dumps({k: v for k, v in record.config.items() if k not in left_out}, sort_keys=True, default=str)


def _label(rows: Sequence[Row]) -> str:
    """What the rows' labels share, less what was varied: `PowMix (p_mix=0.5)`."""
    return re.sub(r"(, )?vary=(\[\w+\]|null)", "", min((row.label for row in rows), key=len)).replace(" ()", "")
