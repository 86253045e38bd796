"""One sentence per mixer: it helps, it hurts, or these seeds cannot tell it from its baseline."""

from collections import defaultdict
from statistics import fmean

from powmix.metrics.columns import Metric
from powmix.metrics.statistics import MIN_INTERVAL, Comparison
from powmix.report.table import Row, Table

ALPHA = 0.05
FEW = 6


def verdicts(table: Table) -> list[tuple[Row, str, str]]:
    """(row, kind, sentence) of every row that has a baseline; kind is helps | unclear | worse | hurts | unknown."""
    found = []
    for section in table.sections:
        for block in section.blocks:
            place = f"{section.title}, {block.title}"
            found += [(row, *_verdict(row, table, place)) for row in block.rows if not row.is_baseline]
    return found


def summaries(table: Table) -> list[str]:
    """One sentence per mixer; of more than FEW variants of one, that which is best on validation speaks for all."""
    groups: dict[tuple[str, str, str | None], list[tuple[Row, str]]] = defaultdict(list)
    for row, _, sentence in verdicts(table):
        groups[(row.place, row.record.mixer, row.record.ablation)].append((row, sentence))
    found = []
    for members in groups.values():
        if len(members) <= FEW:
            found += [sentence for _, sentence in members]
            continue
        _, sentence = max(members, key=lambda member: _validation(member[0], table.main))
        found.append(f"{sentence} (The best on validation of {len(members)} variants of this mixer.)")
    return found


def _validation(row: Row, m: Metric) -> float:
    values = list(row.record.values(m.key, "validation").values())
    return m.sign * fmean(values) if values else float("-inf")


def _verdict(row: Row, table: Table, place: str) -> tuple[str, str]:
    m, cell = table.main, row.cells.get(table.main.key)
    subject = f"{row.label} ({place})"
    if row.baseline is None:
        return "unknown", f"{subject}: no baseline (mixer=none) to compare with."
    if cell is None or cell.comparison is None:
        return "unknown", f"{subject}: no seed in common with its baseline, so nothing can be said."
    kind, judgement = judge(cell.comparison, m, table.tests)
    return kind, f"{subject}: {evidence(cell.comparison, m)}. {judgement}"


def evidence(c: Comparison, m: Metric) -> str:
    wins = f"{c.wins:g} of {c.n} seed{'s' * (c.n != 1)}"
    interval = f", 95% CI {show_interval(c, m)}" if c.ci else ""
    return f"test {m.label} {m.show_difference(c.difference)} against no mixing{interval}, better on {wins}"


def show_interval(c: Comparison, m: Metric) -> str:
    return f"[{m.show_difference(c.ci[0])}, {m.show_difference(c.ci[1])}]" if c.ci else "—"


def judge(c: Comparison, m: Metric, tests: int, family: str = "the table's") -> tuple[str, str]:
    """What the paired comparison allows to say, in words."""
    gain = m.sign * c.difference
    if c.n < MIN_INTERVAL or c.ci is None:
        return "unknown", f"Too few paired seeds to tell ({c.n}; at least {MIN_INTERVAL})."
    low, high = sorted(m.sign * bound for bound in c.ci)
    if low == high == 0:
        return "unclear", "It equals the baseline on every seed."
    if low > 0 or high < 0:
        kind, verb = ("helps", "help") if low > 0 else ("hurts", "hurt")
        if c.p_t_holm is not None and c.p_t_holm >= ALPHA:
            return "unclear", (
                f"It seems to {verb}, but not surely: after Holm's correction over {family} {tests} tests "
                f"p = {c.p_t_holm:.2g}."
            )
        return kind, f"It {kind}."
    if gain > 0:
        return "unclear", "Better on average, but the interval includes 0: no help is shown."
    return "worse", "It does not help." if gain < 0 else "It makes no difference on average."
