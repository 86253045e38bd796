"""Tuned against tuned: for each task a table of every way, with its defaults and tuned, from rows on disk."""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from statistics import fmean
from typing import Any

from powmix.metrics.columns import Metric, metric
from powmix.metrics.statistics import compare, correct, summarise
from powmix.report.verdict import SHARE, judge, show_interval
from powmix.runs import collection


def tables(
    folder: Path,
    found: Mapping[str, Mapping[str, Mapping[str, Any]]],
    baseline: str,
    trials: int,
    tuning_seeds: int,
    seeds: Sequence[int],
) -> str:
    """The results of `powmix-tuned` in Markdown.

    folder: its outputs, rows under sweeps/TASK-WAY-default and -tuned. found: {task: {way: what its search found}}.
    Differences are paired by seed, with Student's 95 % interval; verdicts are corrected by Holm over a task's table.
    """
    lines = [
        f"{trials} trials of {tuning_seeds} seeds for each search, {len(seeds)} fresh seeds for each row "
        "(mean ± std); differences are paired by seed, with Student's 95 % interval, and every verdict is corrected by "
        f"Holm over its table. The searches saw the validation split alone; {baseline} is tuned as the others are."
    ]
    for task, ways in found.items():
        lines += ["", f"### {task}", "", *_table(folder, task, ways, baseline, seeds)]
    return "\n".join(lines) + "\n"


def _table(
    folder: Path, task: str, ways: Mapping[str, Mapping[str, Any]], baseline: str, seeds: Sequence[int]
) -> Iterator[str]:
    m, names = metric(next(iter(ways.values()))["objective"]), list(ways)
    scores = {
        (way, kind): _scores(folder / "sweeps" / f"{task}-{way}-{kind}", m.key, seeds)
        for way in ways
        for kind in ("default", "tuned")
    }
    worth = [compare(scores[way, "tuned"], scores[way, "default"], m.higher_is_better) for way in names]
    base = scores[baseline, "tuned"]
    against = [None if way == baseline else compare(scores[way, "tuned"], base, m.higher_is_better) for way in names]
    judged = correct([*worth, *against])
    tests = sum(one is not None and one.p_t is not None for one in judged)
    yield f"| way | found | {m.label} {m.arrow} default | tuned | tuned − default | tuned − {baseline} | verdict |"
    yield "| --- | --- | ---: | ---: | ---: | ---: | --- |"
    for i, way in enumerate(names):
        values = ", ".join(f"{key.rpartition('.')[2]} {_rounded(value)}" for key, value in ways[way]["values"].items())
        cells = [way, values, *(_spread(scores[way, kind], m) for kind in ("default", "tuned"))]
        for one in (judged[i], judged[len(names) + i]):
            cells.append(f"{m.show_difference(one.difference)} {show_interval(one, m)}" if one else "")
        other = judged[len(names) + i]
        verdict = judge(other, m, tests, SHARE if m.scale == 100 else None)[0] if other else ""
        yield f"| {' | '.join([*cells, verdict])} |"


def _scores(sweep: Path, key: str, seeds: Sequence[int]) -> dict[Any, float]:
    """{seed: test score} of the one row of a sweep."""
    (record,) = collection.read([sweep]).records
    return {seed: value for seed, value in record.values(key).items() if seed in seeds}


def _spread(scores: Mapping[Any, float], m: Metric) -> str:
    return f"{m.show(fmean(scores.values()))} ± {m.show(summarise(list(scores.values())).std or 0.0)}"


def _rounded(value: Any) -> str:
    return f"{value:.3g}" if isinstance(value, float) else str(value)
