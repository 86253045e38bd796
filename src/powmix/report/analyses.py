"""What analyses left beside runs, by seed, and what it allows to say; the figures draw from the same numbers.

A run's folder holds `analysis/<name>.json`: {"schema": 1, "name": <name>, "rows": [{...}, ...]}. Metric values carry
the keys of the run's test metrics, as fractions; `p` is a fraction; every row names its `seed`.

- unimodal: {seed, target: "text" | "audio" | "vision" | "fusion", <metrics>}; `fusion` is the whole model f_F.
- noise: {seed, repetition, kind: "aligned" | "independent", p, <metrics>}; p = 0 equals the run's test metrics.
- dominance: {seed, repetition, kind: "drop" | "mean", p, <metrics>}; p = 0 equals the run's test metrics.
- regularity: {seed, <quantity>: value, ...}, for instance label_spread, effective_number, gradient_alignment.
"""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean

from powmix.metrics.columns import Metric
from powmix.metrics.statistics import Comparison, compare, correct
from powmix.report.folds import Key
from powmix.report.table import Row, Table
from powmix.report.verdict import judge, region, show_interval
from powmix.runs.records import Record

KINDS = {"noise": ("aligned", "independent"), "dominance": ("drop", "mean")}
HEADS = ("text", "audio", "vision")
CALIBRATION = Metric("calibration_error", "calibration error", higher_is_better=False)


@dataclass(frozen=True)
class Question:
    """What one number by seed stands for the whole analysis; `metric` is None where it is the table's own."""

    subject: str
    metric: Metric | None = None


QUESTIONS = {
    "unimodal": Question("Unimodal heads, averaged"),
    "noise": Question("Frames lost, averaged over p > 0"),
    "dominance": Question("Text lost, averaged over p > 0"),
    "regularity": Question("Regularity", CALIBRATION),
}


def analysed(table: Table, name: str) -> dict[str, list[Row]]:
    """{"data, model": rows whose runs carry that analysis}."""
    found = {
        f"{section.title}, {block.title}": [row for row in block.rows if row.record.analysis(name)]
        for section in table.sections
        for block in section.blocks
    }
    return {title: rows for title, rows in found.items() if rows}


def by_seed(record: Record, name: str, key: str, **where: str) -> dict[Key, float]:
    """{seed: value} of the rows that are as `where` says."""
    rows = record.analysis(name)
    return {r["seed"]: float(r[key]) for r in rows if key in r and all(r.get(k) == v for k, v in where.items())}


def curve(rows: Sequence[Mapping], key: str, kinds: Sequence[str]) -> dict[Key, dict[float, float]]:
    """{seed: {p: value}}: repetitions averaged within a kind, then the kinds (of those that p has) averaged."""
    cells: dict[tuple[Key, float, str], list[float]] = defaultdict(list)
    for row in rows:
        if key in row and row.get("kind", kinds[0]) in kinds:
            cells[(row["seed"], float(row["p"]), row.get("kind", kinds[0]))].append(float(row[key]))
    by_kind: dict[tuple[Key, float], list[float]] = defaultdict(list)
    for (seed, p, _), values in cells.items():
        by_kind[(seed, p)].append(fmean(values))
    found: dict[Key, dict[float, float]] = defaultdict(dict)
    for (seed, p), values in sorted(by_kind.items()):
        found[seed][p] = fmean(values)
    return found


def sentences(table: Table) -> list[str]:
    """One for each analysis of a model: every mixer against no mixing, paired by seed, Holm's over the sentence."""
    return [
        sentence
        for name in QUESTIONS
        for title, rows in analysed(table, name).items()
        if (sentence := _sentence(name, title, rows, QUESTIONS[name].metric or rows[0].main, table))
    ]


def answer(record: Record, name: str, m: Metric) -> dict[Key, float]:
    """{seed: the number that stands for the analysis}: a mean over heads, or over the probabilities above 0."""
    if name in KINDS:
        curves = curve(record.analysis(name), m.key, KINDS[name])
        damaged = {seed: [value for p, value in by_p.items() if p > 0] for seed, by_p in curves.items()}
        return {seed: fmean(values) for seed, values in damaged.items() if values}
    if name == "unimodal":
        heads = [found for head in HEADS if (found := by_seed(record, name, m.key, target=head))]
        seeds = set.intersection(*map(set, heads)) if heads else set()
        return {seed: fmean(head[seed] for head in heads) for seed in sorted(seeds)}
    return by_seed(record, name, m.key)


def _sentence(name: str, title: str, rows: Sequence[Row], m: Metric, table: Table) -> str:
    pairs = [
        (row, compare(answer(row.record, name, m), answer(row.baseline, name, m), m.higher_is_better))
        for row in rows
        if row.baseline
    ]
    compared = correct([comparison for _, comparison in pairs])
    tests = sum(c is not None and c.p_t is not None for c in compared)
    parts = [_against(row, c, m, tests, table) for (row, _), c in zip(pairs, compared) if c]
    label = m.label if QUESTIONS[name].metric else f"test {m.label}"
    return f"{QUESTIONS[name].subject} ({title}), {label} against no mixing: {'; '.join(parts)}." if parts else ""


def _against(row: Row, c: Comparison, m: Metric, tests: int, table: Table) -> str:
    interval = f" {show_interval(c, m)}" if c.ci else ""
    told = f"{row.label} {m.show_difference(c.difference)}{interval}"
    if row.record.signature in table.sequential:
        return told  # its seeds were not chosen beforehand, as these verdicts need
    judgement = judge(c, m, tests, region(m, row, table), "this analysis'")[1].rstrip(".")
    return f"{told}, {judgement[0].lower()}{judgement[1:]}"
