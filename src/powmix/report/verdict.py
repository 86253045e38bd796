"""One sentence per mixer: better, worse, no difference larger than R, or undecided; docs/verdicts.md says how.

Where seeds were added until it was decided, the sequential verdict is the only one.
"""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import fmean
from typing import Any

from powmix.metrics.columns import Metric, convention, metric
from powmix.metrics.statistics import ALPHA, MIN_VERDICT, Comparison, seeds_needed, seeds_to_equate
from powmix.report.table import NO_BASELINE, Row, Table
from powmix.runs.files import read_json

SEQUENTIAL = (
    "Seeds were added until it was decided: the verdicts hold for that, Student's intervals, p-values and Holm's "
    "correction do not."
)
FEW = 6
MOST = 1000
"""More seeds than that are called `more than 1,000`."""

SHARE = 0.01
REGIONS = {
    "mosi": {"MAE": 0.02, "Corr": 0.02},  # labels in -3..3
    "sims": {"MAE": 0.007, "Corr": 0.02},  # labels in -1..1
}
"""R by a dataset's convention: differences up to R do not matter. SHARE: of every accuracy and F1, one point of 100.

MAE: a three-hundredth of the labels' range. A metric without R has no verdict of equality, save of equal values.
"""


def verdicts(table: Table) -> list[tuple[Row, str, str]]:
    """(row, kind, sentence) of every row with mixing; kind: better | worse | same | undecided | unknown."""
    found = []
    for section in table.sections:
        for block in section.blocks:
            place = f"{section.title}, {block.title}"
            found += [(row, *_verdict(row, table, place)) for row in block.rows if not row.is_baseline]
    return found


def summaries(table: Table) -> list[str]:
    """One sentence per mixer; of more than FEW variants of one, that which is best on validation speaks for all.

    None where seeds varied one source of randomness alone.
    """
    groups: dict[tuple[str, str, str | None], list[tuple[Row, str]]] = defaultdict(list)
    for row, _, sentence in verdicts(table):
        if NO_BASELINE in row.notes:
            continue  # the table's notes say so once
        if len(row.record.option("vary") or ()) == 1:
            continue  # it speaks of one split, one initialisation, ...: report/variance.py says what it is for
        groups[(row.place, row.record.mixer, row.record.ablation)].append((row, sentence))
    found = []
    for members in groups.values():
        if len(members) <= FEW:
            found += [sentence for _, sentence in members]
            continue
        _, sentence = max(members, key=lambda member: _validation(member[0], member[0].main))
        found.append(f"{sentence} (The best on validation of {len(members)} variants of this mixer.)")
    return found


def _validation(row: Row, m: Metric) -> float:
    values = list(row.record.values(m.key, "validation").values())
    return m.sign * fmean(values) if values else float("-inf")


def region(m: Metric, row: Row, table: Table) -> float | None:
    """R of a metric, in the units of its values: as asked for (`Table.regions`), else the default, or None."""
    if m.key in table.regions:
        return table.regions[m.key]
    return SHARE if m.scale == 100 else REGIONS.get(convention(row.record.seeds[0].test), {}).get(m.key)


def _verdict(row: Row, table: Table, place: str) -> tuple[str, str]:
    m, cell = row.main, row.cells.get(row.main.key)
    subject = f"{row.label} ({place})"
    if row.baseline is None:
        return "unknown", f"{subject}: {NO_BASELINE}."
    if row.record.signature in table.sequential:
        kind, judgement = _sequential(table.sequential[row.record.signature])
        return kind, f"{subject}: {judgement}"
    if cell is None or cell.comparison is None:
        return "unknown", f"{subject}: no seed in common with its baseline, so nothing can be said."
    kind, judgement = judge(cell.comparison, m, table.tests, region(m, row, table))
    return kind, f"{subject}: {evidence(cell.comparison, m)}. {judgement}"


def looks(sweeps: Sequence[Path]) -> dict[str, dict[str, Any]]:
    """{signature: a run's last look} of the sweeps that added seeds until it was decided."""
    found: dict[str, dict[str, Any]] = {}
    for folder in sweeps:
        until = (read_json(folder / "sweep.json") or {}).get("until") or {}
        shared = {key: until.get(key) for key in ("split", "metric", "most")}
        found |= {look["run"]: {**shared, **look} for look in until.get("looks", ())}
    return found


def _sequential(look: Mapping[str, Any]) -> tuple[str, str]:
    """The verdict of a confidence sequence that was looked at after every seed (metrics/sequential.py)."""
    m, kind = metric(look["metric"]), look["decision"]
    words = {"same": "no difference that matters", "undecided": f"undecided with {look['n']} of {look['most']} seeds"}
    said = words.get(kind, f"it is {kind}") + ("" if kind == "undecided" else f", decided after {look['n']} seeds")
    low, high = look["interval"]
    bounds = "any bounds" if None in (low, high) else f"[{m.show_difference(low)}, {m.show_difference(high)}]"
    return kind, (
        f"{said}; {look['split']} {m.label} against no mixing, at all times at once within {bounds}, e-value "
        f"{look['e_value']:.3g}."
    )


def evidence(c: Comparison, m: Metric) -> str:
    wins = f"{c.wins:g} of {c.n} seed{'s' * (c.n != 1)}"
    interval = f", 95% CI {show_interval(c, m)}" if c.ci else ""
    return f"test {m.label} {m.show_difference(c.difference)} against no mixing{interval}, better on {wins}"


def show_interval(c: Comparison, m: Metric) -> str:
    return f"[{m.show_difference(c.ci[0])}, {m.show_difference(c.ci[1])}]" if c.ci else "—"


def judge(c: Comparison, m: Metric, tests: int, r: float | None, family: str = "the table's") -> tuple[str, str]:
    """What the paired comparison allows to say: (kind, a sentence).

    tests: how many Holm's correction is over. r: differences up to it do not matter, in the units of the values.
    """
    if c.n < MIN_VERDICT or c.ci is None:
        return "undecided", f"Undecided: {needs(further(c, tests, r))} (no verdict on fewer than {MIN_VERDICT})."
    if c.ci == (0.0, 0.0):
        return "same", "It equals the baseline on every seed."
    low, high = sorted(m.sign * bound for bound in c.ci)
    apart, within = low > 0 or high < 0, r if r is not None and c.within(r) else None
    if apart and (c.p_t_holm is None or c.p_t_holm < ALPHA):
        kind = "better" if low > 0 else "worse"
        return kind, f"It is {kind}, by less than {m.show(within)}." if within is not None else f"It is {kind}."
    if within is not None:
        return "same", f"No difference larger than {m.show(within)} (the 90% CI lies within it)."
    after = f" (p = {c.p_t_holm:.2g} after Holm's correction over {family} {tests} tests)" if apart else ""
    return "undecided", f"Undecided: {needs(further(c, tests, r))}{after}."


def further(c: Comparison, tests: int, r: float | None) -> float:
    """How many more seeds a verdict takes with 80 % power, if the difference and its std are as observed.

    The lesser of two numbers: with which the difference is found at the level that Holm's correction leaves the
    smallest of `tests` p-values, and with which it is shown to be smaller than r.
    """
    if not c.std:  # one seed, or equal differences: only their number is missing
        return MIN_VERDICT - c.n
    apart = seeds_needed(c.difference, c.std, ALPHA / max(tests, 1))
    equal = seeds_to_equate(c.difference, c.std, r) if r is not None else apart
    return max(min(apart, equal), MIN_VERDICT, c.n + 1) - c.n


def needs(more: float) -> str:
    """`needs about 12 more seeds`, or `needs more than 1,000 more seeds`."""
    if more > MOST:
        return f"needs more than {MOST:,} more seeds"
    return f"needs about {more:.0f} more seed{'s' * (more != 1)}"
