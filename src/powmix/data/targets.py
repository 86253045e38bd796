"""What a target asks for: numbers, classes or several labels; no torch.

Shape suffixes: N examples, C outputs.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

if TYPE_CHECKING:
    from powmix.data.splits import Task

MOST_CLASSES = 10_000


class Target(NamedTuple):
    """As it is trained on: the label, one-hot classes or 0/1 labels (N, C) float32, and names of the classes."""

    task: Task
    values: np.ndarray
    classes: tuple[str, ...] = ()


def task_of_target(target: Any) -> Task:
    """Floats (N,) or (N, 1): regression. Whole numbers, strings or a one-hot matrix: classification. 0/1: multilabel.

    ValueError for anything else.
    """
    array = np.asarray(target)
    if array.ndim == 2 and array.shape[1] > 1:
        if array.dtype.kind not in "biuf" or not np.isin(array, (0, 1)).all():
            raise ValueError(f"target: expected (N,) values, or 0 and 1 in a matrix, got {array.shape} {array.dtype}")
        return "classification" if (array.sum(1) == 1).all() else "multilabel"
    if array.ndim not in (1, 2):
        raise ValueError(f"target: expected (N,) or (N, C), got {array.shape}")
    return "regression" if array.dtype.kind == "f" else "classification"


def prepared(target: Any, task: str = "auto", names: tuple[str, ...] = ()) -> Target:
    """The target as it is trained on, under the task that it asks for or that is said.

    names: of the classes, in the order of their numbers or columns. ValueError where the target cannot be of the task.
    """
    array, own = np.asarray(target), task_of_target(target)
    task = own if task == "auto" else task
    flat_N = array.reshape(-1) if array.ndim == 1 or array.shape[1] == 1 else None
    if array.dtype.kind == "f" and not np.isfinite(array).all():
        raise ValueError(f"target: {int((~np.isfinite(array)).sum())} values are NaN or infinite")
    if task == "regression":
        if flat_N is None or array.dtype.kind not in "biuf":
            raise ValueError(f"target: task=regression needs numbers (N,), got {array.shape} {array.dtype}")
        return Target("regression", flat_N.astype(np.float32)[:, None])
    if task == "multilabel":
        if flat_N is not None:
            raise ValueError(f"target: task=multilabel needs 0 and 1 in (N, C), got {array.shape}")
        return Target("multilabel", array.astype(np.float32), _named(names, array.shape[1]))
    if flat_N is None:
        if own != "classification":
            raise ValueError("target: task=classification needs one class an example, got several labels")
        return Target("classification", array.astype(np.float32), _named(names, array.shape[1]))
    if flat_N.dtype.kind == "f" and not (flat_N == np.round(flat_N)).all():
        raise ValueError("target: task=classification needs whole numbers or strings, got fractions")
    values, index_N = np.unique(flat_N, return_inverse=True)
    if len(values) < 2 or len(values) > min(MOST_CLASSES, max(2, len(flat_N) // 2)):
        hint = "; say task=regression if it is a quantity" if flat_N.dtype.kind != "U" else ""
        raise ValueError(f"target: {len(values)} classes in {len(flat_N)} examples cannot be learnt{hint}")
    named = _named(names, len(values)) or tuple(_name(value) for value in values)
    return Target("classification", np.eye(len(values), dtype=np.float32)[index_N], named)


def _named(names: tuple[str, ...], count: int) -> tuple[str, ...]:
    return names if len(names) == count else ()


def _name(value: Any) -> str:
    return str(int(value)) if isinstance(value, np.floating) else str(value)
