"""The field's metrics, as the M-SENA framework defines them, unrounded. numpy alone; fractions, not percent.

Shape suffixes: N examples, C classes. Everything is computed on flattened float32 arrays over a whole split.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

Convention = Literal["mosi", "sims"]
Direction = Literal["minimize", "maximize"]
Floats = NDArray[np.float32]

LABELS: dict[str, dict[str, str]] = {
    "mosi": {
        "MAE": "MAE",
        "Corr": "Corr",
        "Non0_acc_2": "Acc-2",
        "Non0_F1_score": "F1",
        "Has0_acc_2": "Acc-2 (with 0)",
        "Has0_F1_score": "F1 (with 0)",
        "Mult_acc_5": "Acc-5",
        "Mult_acc_7": "Acc-7",
        "Loss": "Loss",
    },
    "sims": {
        "MAE": "MAE",
        "Corr": "Corr",
        "Mult_acc_2": "Acc-2",
        "Mult_acc_3": "Acc-3",
        "Mult_acc_5": "Acc-5",
        "F1_score": "F1",
        "Loss": "Loss",
    },
    "classification": {"Accuracy": "Acc", "Weighted_F1": "F1 (weighted)", "Loss": "Loss"},
}
"""What each metric is called in tables, by convention; the keys are all the metrics a convention has."""

DIRECTIONS: dict[str, Direction] = {
    key: "minimize" if key in ("MAE", "Loss") else "maximize" for labels in LABELS.values() for key in labels
}
"""Which way each metric is better."""

SIMS_BINS = {
    2: (-1.01, 0.0, 1.01),
    3: (-1.01, -0.1, 0.1, 1.01),
    5: (-1.01, -0.7, -0.1, 0.1, 0.7, 1.01),
}


class NonFinitePrediction(ValueError):
    """A prediction is NaN or infinite: no metric of it means anything."""


class UndefinedMetric(UserWarning):
    """A metric is undefined for these examples and was reported as 0."""


def evaluate(convention: Convention, prediction: ArrayLike, target: ArrayLike) -> dict[str, float]:
    """Every regression metric of a convention (all but Loss) for predictions and labels of N examples, any shape.

    A metric that is undefined is 0, with an UndefinedMetric warning: Corr where either side is constant, the Non0
    metrics where every label is 0. A prediction that is not finite raises NonFinitePrediction.
    """
    if convention not in _CONVENTIONS:
        raise ValueError(f"metrics: unknown convention {convention!r}; allowed: {', '.join(_CONVENTIONS)}")
    prediction_N, target_N = _checked(prediction, target)
    return _CONVENTIONS[convention](prediction_N, target_N)


def evaluate_classes(prediction: ArrayLike, target: ArrayLike) -> dict[str, float]:
    """Accuracy and Weighted_F1 of scores (N, C) against one-hot or soft labels (N, C): the largest entry decides."""
    score_NC, target_NC = np.asarray(prediction, np.float32), np.asarray(target, np.float32)
    if score_NC.ndim != 2 or score_NC.shape != target_NC.shape:
        raise ValueError(f"classification metrics: expected two (N, C) arrays, got {score_NC.shape}, {target_NC.shape}")
    _require_finite(score_NC)
    predicted_N, true_N = score_NC.argmax(1), target_NC.argmax(1)
    return {"Accuracy": _accuracy(predicted_N, true_N), "Weighted_F1": weighted_f1(predicted_N, true_N)}


def weighted_f1(predicted_N: NDArray, true_N: NDArray) -> float:
    """Mean of the F1 of each class, weighted by how often the class is true; a class without any hit has F1 0."""
    total = 0.0
    for label in np.unique(true_N):
        predicted, true = predicted_N == label, true_N == label
        total += true.sum() * 2 * (predicted & true).sum() / (predicted.sum() + true.sum())
    return float(total / len(true_N))


def correlation(prediction_N: Floats, target_N: Floats) -> float:
    """Pearson's r in float64; 0 with a warning where either side is constant."""
    with np.errstate(all="ignore"):
        value = float(np.corrcoef(prediction_N, target_N)[0, 1]) if len(target_N) > 1 else np.nan
    if np.isfinite(value):
        return value
    constant = "prediction" if np.ptp(target_N) else "label"
    _warn(f"Corr is undefined and reported as 0: every {constant} is the same")
    return 0.0


def _mosi(prediction_N: Floats, target_N: Floats) -> dict[str, float]:
    return {
        "MAE": _mean_absolute_error(prediction_N, target_N),
        "Corr": correlation(prediction_N, target_N),
        **_non_zero(prediction_N, target_N),
        "Has0_acc_2": _accuracy(prediction_N >= 0, target_N >= 0),
        "Has0_F1_score": weighted_f1(prediction_N >= 0, target_N >= 0),
        "Mult_acc_5": _rounded_accuracy(prediction_N, target_N, 2),
        "Mult_acc_7": _rounded_accuracy(prediction_N, target_N, 3),
    }


def _non_zero(prediction_N: Floats, target_N: Floats) -> dict[str, float]:
    """Positive against negative, over the examples whose label is not 0."""
    some = target_N != 0
    if not some.any():
        _warn("Non0_acc_2 and Non0_F1_score are undefined and reported as 0: every label is 0")
        return {"Non0_acc_2": 0.0, "Non0_F1_score": 0.0}
    predicted, true = prediction_N[some] > 0, target_N[some] > 0
    return {"Non0_acc_2": _accuracy(predicted, true), "Non0_F1_score": weighted_f1(predicted, true)}


def _sims(prediction_N: Floats, target_N: Floats) -> dict[str, float]:
    prediction_N, target_N = np.clip(prediction_N, -1, 1), np.clip(target_N, -1, 1)
    binned = {
        classes: tuple(np.digitize(x, np.asarray(edges, np.float32), right=True) for x in (prediction_N, target_N))
        for classes, edges in SIMS_BINS.items()
    }
    return {
        "MAE": _mean_absolute_error(prediction_N, target_N),
        "Corr": correlation(prediction_N, target_N),
        **{f"Mult_acc_{classes}": _accuracy(*pair) for classes, pair in binned.items()},
        "F1_score": weighted_f1(*binned[2]),
    }


_CONVENTIONS: dict[str, Callable[[Floats, Floats], dict[str, float]]] = {"mosi": _mosi, "sims": _sims}


def _checked(prediction: ArrayLike, target: ArrayLike) -> tuple[Floats, Floats]:
    prediction_N, target_N = (np.asarray(x, np.float32).reshape(-1) for x in (prediction, target))
    if len(prediction_N) != len(target_N) or not len(target_N):
        raise ValueError(f"metrics: expected as many predictions as labels, got {len(prediction_N)}, {len(target_N)}")
    _require_finite(prediction_N)
    return prediction_N, target_N


def _require_finite(prediction: Floats) -> None:
    bad = int((~np.isfinite(prediction)).sum())
    if bad:
        raise NonFinitePrediction(f"{bad} of {prediction.size} predictions are NaN or infinite: the training diverged")


def _mean_absolute_error(prediction_N: Floats, target_N: Floats) -> float:
    return float(np.abs(prediction_N - target_N).mean())


def _accuracy(predicted_N: NDArray, true_N: NDArray) -> float:
    return float((predicted_N == true_N).mean())


def _rounded_accuracy(prediction_N: Floats, target_N: Floats, limit: int) -> float:
    """Share of examples that agree once clipped to [-limit, limit] and rounded, halves to even."""
    return _accuracy(*(np.rint(np.clip(x, -limit, limit)) for x in (prediction_N, target_N)))


def _warn(message: str) -> None:
    warnings.warn(message, UndefinedMetric, stacklevel=4)
