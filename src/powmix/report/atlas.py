"""Mixers over tasks (sweeps=atlas): each task's paired effect, what tasks say of each other, and what goes with it.

A task is a baseline (mixer=none) and the variants that were trained as it was. Tasks have metrics of their own, so an
effect is counted in per cent of the baseline's error: 1 - accuracy, the mean absolute error. Positive is better.
"""

import math
from collections import Counter, defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from statistics import fmean
from typing import cast

from powmix.data.registry import TITLES as DATASETS
from powmix.metrics.columns import Metric, metric
from powmix.metrics.meta_analysis import Shrunken, shrunken
from powmix.metrics.statistics import Interval, compare
from powmix.mixing.registry import TITLES as MIXERS
from powmix.models.registry import TITLES as MODELS
from powmix.report import labels
from powmix.report.table import Row, Table
from powmix.runs.records import Record

UNIT = "% of the error without mixing"
LEAST = 3
"""Tasks; of fewer nothing is said over tasks."""
CRITICAL = {5: 1.0, 6: 0.886, 7: 0.786, 8: 0.738, 9: 0.7, 10: 0.648, 11: 0.618, 12: 0.587, 13: 0.56, 14: 0.538}
"""Spearman's correlation of n pairs beyond which it is significant (two-sided, 5 %; Zar 1972)."""


@dataclass(frozen=True)
class Effect:
    """A mixer's mean paired gain on one task over n seeds, better being positive; error: the standard error."""

    gain: float
    interval: Interval
    error: float
    n: int


@dataclass(frozen=True)
class Task:
    """A baseline and what each mixer does to its error.

    metric: the task's own, of its runs' objective. gap: the part of the validation loss that the training loss at the
    best epoch lacks, a mean over the baseline's seeds; None where histories are gone. examples: of training.
    """

    title: str
    baseline: Record
    metric: Metric
    effects: dict[str, Effect]
    gap: float | None
    examples: int | None
    modalities: int | None
    classes: int | None

    @property
    def score(self) -> float:
        """The baseline's mean on test."""
        return fmean(self.baseline.values(self.metric.key).values())

    @property
    def examples_per_class(self) -> float | None:
        return self.examples / self.classes if self.examples and self.classes else None


PREDICTORS: dict[str, Callable[[Task], float | None]] = {
    "gap between training and validation loss": lambda task: task.gap,
    "number of modalities": lambda task: task.modalities,
    "training examples": lambda task: task.examples,
    "training examples a class": lambda task: task.examples_per_class,
}
"""What might go with an effect, by its name. (The error without mixing would by itself: effects are divided by it.)"""


def tasks(table: Table) -> list[Task]:
    """The tasks of a table in its order: every baseline with what was trained as it was, but for mixing."""
    found: dict[str, list[Row]] = defaultdict(list)
    for row in table.rows:
        if row.baseline is not None and not labels.differences(row.record, row.baseline):
            found[row.baseline.signature].append(row)
    bases = [cast(Record, rows[0].baseline) for rows in found.values()]
    titles = _titles(bases)
    made = [_task(title, base, rows) for title, base, rows in zip(titles, bases, found.values())]
    return [task for task in made if task.effects]


def mixers(found: Sequence[Task]) -> list[str]:
    """The mixers that tasks have, in the order of tables."""
    have = {mixer for task in found for mixer in task.effects}
    return [name for name in MIXERS if name in have] + sorted(have - set(MIXERS))


def together(found: Sequence[Task], mixer: str) -> Shrunken | None:
    """What the tasks that have a mixer say of it together; None under LEAST, or where an effect has no spread."""
    effects = [task.effects[mixer] for task in found if mixer in task.effects]
    if len(effects) < LEAST or any(one.error == 0 for one in effects):
        return None
    return shrunken([one.gain for one in effects], [one.error for one in effects])


def sentences(table: Table) -> list[str]:
    """One for each mixer over the tasks, and what goes with its effects; none under LEAST tasks."""
    found = tasks(table)
    return [text for mixer in mixers(found) for text in _sentences(found, mixer)] if len(found) >= LEAST else []


def markdown(table: Table) -> str:
    """The tasks and every mixer's effect on them as a Markdown table; nothing under LEAST tasks."""
    found = tasks(table)
    if len(found) < LEAST:
        return ""
    names = mixers(found)
    head = ["Task", "M", "train", "gap", "metric", "no mixing", *(MIXERS.get(name, name) for name in names)]
    lines = [head, ["---"] + ["---:"] * (len(head) - 1)]
    for task in found:
        cells = [task.title, _number(task.modalities), _number(task.examples), _percent(task.gap)]
        cells += [task.metric.label, task.metric.show(task.score)]
        lines.append([*cells, *(_cell(task.effects.get(name)) for name in names)])
    rows = "\n".join(f"| {' | '.join(line)} |" for line in lines)
    note = (
        f"Effects in {UNIT}, paired by seed, with Student's 95 % interval; positive is better. M: modalities; train: "
        "training examples; gap: what of the validation loss the training loss lacks, without mixing."
    )
    return f"## Over tasks\n\n{rows}\n\n{note}\n\n" + "".join(f"- {text}\n" for text in sentences(table))


def _task(title: str, base: Record, rows: Sequence[Row]) -> Task:
    m = metric(base.objective_metric)
    effects: dict[str, Effect] = {}
    best: dict[str, float] = {}
    for row in rows:  # of several variants of a mixer, that which is best on validation
        validation = list(row.record.values(m.key, "validation").values())
        reached = m.sign * fmean(validation) if validation else -math.inf
        name = row.record.mixer
        if not row.record.ablation and reached > best.get(name, -math.inf) and (effect := _effect(row, base, m)):
            effects[name], best[name] = effect, reached
    facts = base.provenance.get("dataset") or {}
    sizes, modalities = facts.get("sizes"), facts.get("modalities")
    examples, modalities = sizes and int(sizes[0]), modalities and len(modalities)
    return Task(title, base, m, effects, _gap(base), examples, modalities, facts.get("classes"))


def _effect(row: Row, base: Record, m: Metric) -> Effect | None:
    ours, theirs = row.record.values(m.key), base.values(m.key)
    found = compare(ours, theirs, m.higher_is_better)
    error = _error(fmean(theirs.values()), m) if theirs else 0
    if found is None or found.ci is None or found.std is None or error <= 0:
        return None
    unit = m.sign * 100 / error
    low, high = sorted(bound * unit for bound in found.ci)
    return Effect(found.difference * unit, (low, high), found.std * abs(unit) / math.sqrt(found.n), found.n)


def _error(score: float, m: Metric) -> float:
    return 1 - score if m.higher_is_better else score


def _gap(base: Record) -> float | None:
    found = []
    for seed in base.seeds:
        history = seed.history()
        train, valid = history.get("train_loss", []), history.get("validation_Loss", [])
        at = (seed.best_epoch or 0) - 1
        if 0 <= at < min(len(train), len(valid)) and valid[at] > 0:
            found.append(1 - train[at] / valid[at])
    return fmean(found) if found else None


def _titles(bases: Sequence[Record]) -> list[str]:
    """Each task's dataset, then what tells it from the others of that dataset: options of the data, the model."""
    names = [DATASETS.get(base.dataset, base.dataset) for base in bases]
    titles = []
    for i, base in enumerate(bases):
        alike = [other for other, name in zip(bases, names) if name == names[i]]
        contexts = [labels.context(one) for one in alike]
        own = labels.context(base)
        differing = [k for k in own if k.startswith("dataset.") and len({one.get(k) for one in contexts}) > 1]
        parts = [f"{own[key]} examples" if key == "dataset.train_examples" else _option(key, own) for key in differing]
        if len({one.model for one in alike}) > 1:
            parts.append(MODELS.get(base.model, base.model))
        titles.append(", ".join([names[i], *parts]))
    repeated = Counter(titles)
    return [f"{t} ({base.signature[:6]})" if repeated[t] > 1 else t for t, base in zip(titles, bases)]


def _option(key: str, own: dict[str, str]) -> str:
    return f"{key.removeprefix('dataset.')}={own[key]}"


def _sentences(found: Sequence[Task], mixer: str) -> list[str]:
    having = [task for task in found if mixer in task.effects]
    over, label = together(found, mixer), MIXERS.get(mixer, mixer)
    better = sum(task.effects[mixer].interval[0] > 0 for task in having)
    worse = sum(task.effects[mixer].interval[1] < 0 for task in having)
    open_ = len(having) - better - worse
    opening = f"{label} over {len(having)} tasks: better on {better}, worse on {worse}, interval over 0 on {open_}"
    if over is None:
        return [f"{opening}."]
    verdict = "above" if over.interval[0] > 0 else "below" if over.interval[1] < 0 else "not told from"
    low, high = over.interval
    numbers = f"{over.overall:+.1f} {UNIT}, 95% CI [{low:+.1f}, {high:+.1f}]".replace("-", "−")
    said = [
        f"{opening}; mean effect on such tasks {numbers}, {verdict} 0; true effects differ between tasks with std "
        f"{over.tau:.1f}."
    ]
    if correlations := _correlations(having, mixer):
        said.append(f"What goes with {label}'s effects (Spearman over {len(having)} tasks): {correlations}.")
    return said


def _correlations(having: Sequence[Task], mixer: str) -> str:
    from scipy.stats import spearmanr

    parts = []
    for name, value_of in PREDICTORS.items():
        pairs = [(value, task.effects[mixer].gain) for task in having if (value := value_of(task)) is not None]
        if len(pairs) < min(CRITICAL) or len({value for value, _ in pairs}) < 3:
            continue
        found = float(spearmanr(*zip(*pairs)).statistic)
        needed = CRITICAL.get(len(pairs))
        is_found = needed is not None and abs(found) >= needed
        parts.append(f"{name} {found:+.2f}{'' if is_found else ' (not significant)'}")
    return "; ".join(parts)


def _cell(effect: Effect | None) -> str:
    if effect is None:
        return ""
    low, high = effect.interval
    text = f"{effect.gain:+.1f} [{low:+.1f}, {high:+.1f}]".replace("-", "−")
    return f"**{text}**" if low > 0 or high < 0 else text


def _number(value: int | None) -> str:
    return "" if value is None else str(value)


def _percent(value: float | None) -> str:
    return "" if value is None else f"{value:.0%}"
