"""Metrics that users register, and how a run tells of its own to who reads it without the user's code."""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping
from functools import wraps
from types import SimpleNamespace
from typing import Any

from powmix.metrics.columns import BY_KEY, CONVENTIONS, TASKS, Function, Metric
from powmix.metrics.values import warn_undefined
from powmix.mistakes import SWITCH, TEXT, Rule, broken, choice, count, is_number, refuse, taken

RULES = {
    "key": TEXT,
    "task": choice(*TASKS),
    "label": TEXT,
    "higher_is_better": SWITCH,
    "scale": Rule(lambda value: is_number(value) and value > 0, "a number > 0"),
    "decimals": count(0),
    "shown": SWITCH,
}
TOLD = tuple(name for name in RULES if name != "task")
_tasks: dict[str, str] = {}
"""The task of each registered metric, and of those that only a run has told of: these have no function."""


def register_metric(
    name: str,
    function: Function | None = None,
    *,
    task: str,
    label: str | None = None,
    higher_is_better: bool = True,
    scale: float = 1.0,
    decimals: int = 3,
    shown: bool = True,
) -> Any:
    """Makes a metric known under a name for the datasets of a task; a call with the function, or a decorator of it.

    It is computed and recorded with the task's own metrics, and may be the objective or the monitor. function:
    (prediction, target) -> float, of a whole split. Regression: both (N,) float32. Classification: logits and one-hot
    or soft labels, (N, C) float32. Multilabel: logits and 0/1 labels, (N, C) float32. What is not finite counts as 0,
    with an UndefinedMetric warning. label, scale, decimals: how a table prints it; shown: whether tables have a column
    for it. ValueError for a name that is taken; the same file may register its function anew.
    """

    def decorate(function: Function) -> Function:
        how: dict[str, Any] = {
            "label": label or name,
            "higher_is_better": higher_is_better,
            "scale": scale,
            "decimals": decimals,
        }
        known = BY_KEY.get(name)
        if name in _tasks and known is not None and known.function is None:
            known = None  # a run has told of it, and here it comes
        own = known and SimpleNamespace(kind=getattr(known.function, "__wrapped__", None))
        wrong: list[str] = []
        if not callable(function):
            wrong.append(f"expected a function of prediction and target, got {function!r}")
        refuse([*wrong, *broken(RULES, {**how, "task": task, "shown": shown})], f"metric {name}")
        refuse(taken("metric", name, function, own))
        _add(task, Metric(name, function=_guarded(name, function), shown=shown, **how))
        return function

    return decorate if function is None else decorate(function)


def described(keys: Collection[str]) -> list[dict[str, Any]]:
    """What a run's result says of the registered metrics among its own: everything but the function."""
    rows = [(task, BY_KEY[key]) for key, task in _tasks.items() if key in keys]
    return [{"task": task, **{name: getattr(row, name) for name in TOLD}} for task, row in rows]


def declare(told: Any) -> None:
    """Makes metrics known that a run's result describes; what is known with its function, or broken, is left alone."""
    for one in told if isinstance(told, list) else ():
        if not isinstance(one, Mapping) or not {"task", *TOLD} <= one.keys() or broken(RULES, one):
            continue
        known = BY_KEY.get(one["key"])
        if known is None or (one["key"] in _tasks and known.function is None):
            _add(one["task"], Metric(**{name: one[name] for name in TOLD}))


def _add(task: str, row: Metric) -> None:
    """The metric as the last of its task's, in the place of what had its name."""
    for convention, rows in CONVENTIONS.items():
        kept = tuple(m for m in rows if m.key != row.key)
        CONVENTIONS[convention] = (*kept, row) if convention in TASKS[task] else kept
    BY_KEY[row.key], _tasks[row.key] = row, task


def _guarded(name: str, function: Function) -> Function:
    """The function on arrays of its own, so that it may write to them, and its result as a finite float."""

    @wraps(function)
    def measured(prediction: Any, target: Any) -> float:
        value = function(prediction.copy(), target.copy())
        try:
            number = float(value)
        except (TypeError, ValueError):
            raise ValueError(f"metric {name}: expected a number, got {value!r}") from None
        if math.isfinite(number):
            return number
        warn_undefined(name, f"it is {number}")
        return 0.0

    return measured
