"""When a claim counts as reproduced: a list of contests, one side against another in one metric, paired by seed.

A claim is reproduced where every contest was run and every Student's interval of the paired difference lies on the
claimed side; not reproduced where a contest is significantly the other way (paired t-test at 5 %, Holm's correction
over the claim); undecided otherwise, with the number of further seeds that a paired t-test with 80 % power would need.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from powmix.metrics.columns import Metric
from powmix.report.significance import Comparison, compare, correct, seeds_needed
from powmix.report.verdict import ALPHA, show_interval

REPRODUCED, NOT, UNDECIDED, NOT_RUN = "reproduced", "not reproduced", "undecided", "not run"

Seeds = Mapping[int, float]
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
    return f"{UNDECIDED} (needs {'a great many' if math.isinf(more) else f'about {more:.0f}'} more seeds)"


def _more(contest: Contest, c: Comparison) -> float:
    """How many further seeds would decide: for the difference in print, else for ours where it points the same way."""
    difference = contest.published if contest.published is not None else c.difference
    if contest.metric.sign * difference <= 0:
        return math.inf
    return max(1, seeds_needed(difference, c.std) - c.n) if c.std is not None else max(1, 3 - c.n)


def _gain(contest: Contest, c: Comparison) -> float:
    return contest.metric.sign * c.difference


def _bounds(contest: Contest, c: Comparison) -> tuple[float, float]:
    """Student's interval of the gain; everything where there are too few seeds for one."""
    if c.ci is None:
        return -math.inf, math.inf
    low, high = sorted(contest.metric.sign * bound for bound in c.ci)
    return low, high


def _standing(contest: Contest, c: Comparison) -> float:
    """The gain in standard errors: the smallest is the weakest contest."""
    gain = _gain(contest, c)
    return gain / (c.std / math.sqrt(c.n)) if c.std else math.copysign(math.inf, gain) if gain else 0.0
