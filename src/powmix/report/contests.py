"""When a claim counts as reproduced: a list of contests, one side against another in one metric, paired by seed.

A claim is reproduced where every contest was run and every Student's interval of the paired difference lies on the
claimed side; not reproduced where a contest is significantly the other way (paired t-test at 5 %, Holm's correction
over the claim); undecided otherwise, and on fewer than MIN_VERDICT seeds, with the number of further seeds that a
paired t-test with 80 % power would need.
"""

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from powmix.metrics.columns import Metric, metric
from powmix.metrics.statistics import ALPHA, MIN_VERDICT, Comparison, compare, correct, seeds_needed
from powmix.report.published import Published, PublishedRow, statements
from powmix.report.table import Row, Table, fraction
from powmix.report.verdict import needs, show_interval

FIGURES = ("Non0_acc_2", "MAE")
"""The metrics of the paper's figures."""

REPRODUCED, NOT, UNDECIDED, NOT_RUN = "reproduced", "not reproduced", "undecided", "not run"

Seeds = Mapping[Any, float]
"""{seed: value}"""


@dataclass(frozen=True)
class Contest:
    """`side` should beat `rival` in a metric. published: the difference in print, in our fractions."""

    where: str
    metric: Metric
    side: Seeds
    rival: Seeds
    published: float | None = None


@dataclass(frozen=True)
class Finding:
    """What our runs say to one claim; `interval` belongs to the single, or to the weakest, contest named in `ours`."""

    ours: str
    interval: str
    verdict: str


def decide(contests: Sequence[Contest]) -> Finding:
    """The verdict on a claim that holds where every contest is won."""
    compared = correct([compare(c.side, c.rival, c.metric.higher_is_better) for c in contests])
    run = [(contest, c) for contest, c in zip(contests, compared) if c]
    if not run:
        return Finding("—", "—", NOT_RUN)
    won = sum(_gain(contest, c) > 0 for contest, c in run)
    sure = [_bounds(contest, c)[0] > 0 for contest, c in run]
    lost = any(_bounds(contest, c)[1] < 0 and (c.p_t_holm is None or c.p_t_holm < ALPHA) for contest, c in run)
    weakest, c = min(run, key=lambda pair: _standing(*pair))
    interval = show_interval(c, weakest.metric)
    shown = f"{weakest.metric.label} {weakest.metric.show_difference(c.difference)}"
    if len(contests) == 1:
        ours = f"{weakest.where}: {shown}"
    else:
        parts = f"{won} of {len(run)} won, {sum(sure)} surely"
        parts += f" ({len(contests) - len(run)} not run)" if len(run) < len(contests) else ""
        ours = f"{parts}; weakest: {weakest.where}, {shown}"
    if lost:
        return Finding(ours, interval, NOT)
    if all(sure) and len(run) == len(contests):
        return Finding(ours, interval, REPRODUCED)
    more = [_more(contest, c) for (contest, c), certain in zip(run, sure) if not certain]
    return Finding(ours, interval, undecided(max(more)) if more else f"{UNDECIDED} (the rest is not run)")


def undecided(more: float) -> str:
    """`inf`: our own difference does not point the claimed way, and none is printed to plan with."""
    return f"{UNDECIDED} ({needs(more)})"


def _more(contest: Contest, c: Comparison) -> float:
    """How many further seeds would decide: for the difference in print, else for ours where it points the same way."""
    difference = contest.published if contest.published is not None else c.difference
    if contest.metric.sign * difference <= 0:
        return math.inf
    return max(seeds_needed(difference, c.std or 0.0), MIN_VERDICT, c.n + 1) - c.n


def _gain(contest: Contest, c: Comparison) -> float:
    return contest.metric.sign * c.difference


def _bounds(contest: Contest, c: Comparison) -> tuple[float, float]:
    """Student's interval of the gain; everything where there are too few seeds for a verdict."""
    if c.ci is None or c.n < MIN_VERDICT:
        return -math.inf, math.inf
    low, high = sorted(contest.metric.sign * bound for bound in c.ci)
    return low, high


def _standing(contest: Contest, c: Comparison) -> float:
    """The gain in standard errors: the smallest is the weakest contest."""
    gain = _gain(contest, c)
    return gain / (c.std / math.sqrt(c.n)) if c.std else math.copysign(math.inf, gain) if gain else 0.0


# --- the runs that a contest is between -------------------------------------------------------------------------------


class Runs:
    """Our rows by what the paper calls them."""

    def __init__(self, table: Table, published: Published) -> None:
        self.rows = [row for row in table.rows if (row.record.protocol, row.record.task) == ("published", "regression")]
        self.published = published
        self.settings = statements("settings")
        self.ablations = statements("ablations")

    def row(
        self, dataset: str, model: str, mixer: str, ablation: str | None = None, part: float = 1.0, **options: Any
    ) -> Row | None:
        """The one row with the paper's mixing settings, changed by `options`; None where there is none or several."""
        tuned = self.published.tuned.get((dataset, model, mixer), {})
        wanted = {**self.settings.get(mixer, {}), **tuned, **self.ablations.get(ablation or "", {}), **options}
        names = (dataset, model, mixer, ablation, part)
        found = [
            row
            for row in self.rows
            if (r := row.record) and (r.dataset, r.model, r.mixer, r.ablation, fraction(r)) == names
            if all(r.mixing_options().get(key) == value for key, value in wanted.items())
        ]
        return found[0] if len(found) == 1 else None

    def parts(self, dataset: str, model: str) -> list[float]:
        """The parts of the training data that runs have used."""
        return sorted(
            {fraction(row.record) for row in self.rows if (row.record.dataset, row.record.model) == (dataset, model)}
        )

    def n_outs(self, dataset: str, model: str) -> list[int]:
        found = (row.record for row in self.rows if (row.record.dataset, row.record.model) == (dataset, model))
        return sorted(
            {r.mixing_options()["n_out"] for r in found if r.mixer == "powmix" and "n_out" in r.mixing_options()}
        )


def printed_rows(runs: Runs, name: str) -> dict[tuple[str, str, str, str | None], PublishedRow]:
    [found] = [table for table in runs.published.tables if table.name == name]
    return {(*row.variant, row.ablation): row for row in found.rows}


def rival_of(runs: Runs, row: Row | None, dataset: str, model: str, mixer: str) -> Row | None:
    """Another mixer's row; without mixing, the one that was trained most like `row`."""
    if mixer != "none" or row is None or row.baseline is None:
        return runs.row(dataset, model, mixer)
    return next((other for other in runs.rows if other.record is row.baseline), None)


def values_of(row: Row | None, key: str) -> Seeds:
    return row.record.values(key) if row else {}


def in_both_metrics(where: str, side: Row | None, rival: Row | None) -> Iterator[Contest]:
    """A contest in each metric of the paper's figures."""
    for key in FIGURES:
        yield Contest(where, metric(key), values_of(side, key), values_of(rival, key))
