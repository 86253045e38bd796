"""Metrics of regression as functions, those of sentiment as the M-SENA framework defines them: unrounded. numpy alone.

Shape suffixes: N examples, C classes or labels. Predictions and labels are (N,) float32; `accuracy` and `weighted_f1`
take the predicted and the true class (N,).
"""

from __future__ import annotations

import warnings

import numpy as np
from numpy.typing import ArrayLike, NDArray

Floats = NDArray[np.float32]

SIMS_BINS = {
    2: (-1.01, 0.0, 1.01),
    3: (-1.01, -0.1, 0.1, 1.01),
    5: (-1.01, -0.7, -0.1, 0.1, 0.7, 1.01),
}


class NonFinitePrediction(ValueError):
    """A prediction is NaN or infinite: no metric of it means anything."""


class UndefinedMetric(UserWarning):
    """A metric is undefined for these examples and was reported as 0."""


def mean_absolute_error(prediction_N: Floats, target_N: Floats) -> float:
    """The mean of |prediction - label|."""
    return float(np.abs(prediction_N - target_N).mean())


def correlation(prediction_N: Floats, target_N: Floats) -> float:
    """Pearson's r in float64; 0 with a warning where either side is constant."""
    with np.errstate(all="ignore"):
        value = float(np.corrcoef(prediction_N, target_N)[0, 1]) if len(target_N) > 1 else np.nan
    if np.isfinite(value):
        return value
    _warn_constant("Corr", target_N)
    return 0.0


def root_mean_squared_error(prediction_N: Floats, target_N: Floats) -> float:
    """The root of the mean of (prediction - label)^2."""
    return float(np.sqrt(np.square(prediction_N.astype(np.float64) - target_N).mean()))


def r2(prediction_N: Floats, target_N: Floats) -> float:
    """1 - squared error / squared deviation from the labels' mean; 0 with a warning where every label is the same."""
    target_N = target_N.astype(np.float64)
    if not np.ptp(target_N):
        warn_undefined("R2", "every label is the same")
        return 0.0
    return float(1 - np.square(prediction_N - target_N).sum() / np.square(target_N - target_N.mean()).sum())


def spearman(prediction_N: Floats, target_N: Floats) -> float:
    """Pearson's r of the ranks, ties sharing theirs; 0 with a warning where either side is constant."""
    if np.ptp(prediction_N) and np.ptp(target_N):
        return float(np.corrcoef(_ranks(prediction_N), _ranks(target_N))[0, 1])
    _warn_constant("Spearman", target_N)
    return 0.0


def concordance(prediction_N: Floats, target_N: Floats) -> float:
    """Lin's concordance correlation coefficient: 2 cov / (var + var + (mean - mean)^2).

    0 with a warning where every prediction and every label is one number.
    """
    x_N, y_N = prediction_N.astype(np.float64), target_N.astype(np.float64)
    spread = x_N.var() + y_N.var() + (x_N.mean() - y_N.mean()) ** 2
    if not spread:
        warn_undefined("CCC", "every prediction and every label is the same")
        return 0.0
    return float(2 * ((x_N - x_N.mean()) * (y_N - y_N.mean())).mean() / spread)


def accuracy(predicted_N: NDArray, true_N: NDArray) -> float:
    """Share of examples on which both agree."""
    return float((predicted_N == true_N).mean())


def weighted_f1(predicted_N: NDArray, true_N: NDArray) -> float:
    """Mean of the F1 of each class, weighted by how often the class is true; a class without any hit has F1 0."""
    total = 0.0
    for label in np.unique(true_N):
        predicted, true = predicted_N == label, true_N == label
        total += true.sum() * 2 * (predicted & true).sum() / (predicted.sum() + true.sum())
    return float(total / len(true_N))


def non_zero_accuracy(prediction_N: Floats, target_N: Floats) -> float:
    """Accuracy of positive against negative over the examples whose label is not 0; 0 with a warning without any."""
    some = target_N != 0
    if not some.any():
        warn_undefined("Non0_acc_2", "every label is 0")
        return 0.0
    return accuracy(prediction_N[some] > 0, target_N[some] > 0)


def non_zero_f1(prediction_N: Floats, target_N: Floats) -> float:
    """Weighted F1 of positive against negative over the examples whose label is not 0; 0 with a warning without any."""
    some = target_N != 0
    if not some.any():
        warn_undefined("Non0_F1_score", "every label is 0")
        return 0.0
    return weighted_f1(prediction_N[some] > 0, target_N[some] > 0)


def has_zero_accuracy(prediction_N: Floats, target_N: Floats) -> float:
    """Accuracy of negative against not negative, over all examples."""
    return accuracy(prediction_N >= 0, target_N >= 0)


def has_zero_f1(prediction_N: Floats, target_N: Floats) -> float:
    """Weighted F1 of negative against not negative, over all examples."""
    return weighted_f1(prediction_N >= 0, target_N >= 0)


def accuracy_5(prediction_N: Floats, target_N: Floats) -> float:
    """Accuracy of five classes: clipped to [-2, 2] and rounded, halves to even."""
    return accuracy(*(np.rint(np.clip(x, -2, 2)) for x in (prediction_N, target_N)))


def accuracy_7(prediction_N: Floats, target_N: Floats) -> float:
    """Accuracy of seven classes: clipped to [-3, 3] and rounded, halves to even."""
    return accuracy(*(np.rint(np.clip(x, -3, 3)) for x in (prediction_N, target_N)))


def sims_mean_absolute_error(prediction_N: Floats, target_N: Floats) -> float:
    """As `mean_absolute_error`, clipped to SIMS' labels [-1, 1]."""
    return mean_absolute_error(_clipped(prediction_N), _clipped(target_N))


def sims_correlation(prediction_N: Floats, target_N: Floats) -> float:
    """As `correlation`, clipped to SIMS' labels [-1, 1]."""
    return correlation(_clipped(prediction_N), _clipped(target_N))


def sims_accuracy_2(prediction_N: Floats, target_N: Floats) -> float:
    """Accuracy of two classes of [-1, 1]; 0 counts as negative, as in M-SENA."""
    return accuracy(*_binned(2, prediction_N, target_N))


def sims_accuracy_3(prediction_N: Floats, target_N: Floats) -> float:
    """Accuracy of three classes of [-1, 1]."""
    return accuracy(*_binned(3, prediction_N, target_N))


def sims_accuracy_5(prediction_N: Floats, target_N: Floats) -> float:
    """Accuracy of five classes of [-1, 1]."""
    return accuracy(*_binned(5, prediction_N, target_N))


def sims_f1(prediction_N: Floats, target_N: Floats) -> float:
    """Weighted F1 of the two classes of `sims_accuracy_2`."""
    return weighted_f1(*_binned(2, prediction_N, target_N))


def regression_arrays(prediction: ArrayLike, target: ArrayLike) -> tuple[Floats, Floats]:
    """Both flattened to (N,) float32. ValueError unless as many, and at least one; NonFinitePrediction."""
    prediction_N, target_N = (np.asarray(x, np.float32).reshape(-1) for x in (prediction, target))
    if len(prediction_N) != len(target_N) or not len(target_N):
        raise ValueError(f"metrics: expected as many predictions as labels, got {len(prediction_N)}, {len(target_N)}")
    _require_finite(prediction_N)
    return prediction_N, target_N


def score_arrays(prediction: ArrayLike, target: ArrayLike) -> tuple[Floats, Floats]:
    """Logits and labels (N, C) as float32. ValueError unless they are two such arrays of at least one example."""
    score_NC, target_NC = np.asarray(prediction, np.float32), np.asarray(target, np.float32)
    if score_NC.ndim != 2 or score_NC.shape != target_NC.shape or not score_NC.size:
        raise ValueError(
            f"metrics: expected two (N, C) arrays of logits and labels, got {score_NC.shape}, {target_NC.shape}"
        )
    _require_finite(score_NC)
    return score_NC, target_NC


def warn_undefined(name: str, reason: str) -> None:
    """Says that a metric is undefined and why; who calls reports 0."""
    warnings.warn(f"{name} is undefined and reported as 0: {reason}", UndefinedMetric, stacklevel=4)


def _clipped(x_N: Floats) -> Floats:
    return np.clip(x_N, -1, 1)


def _binned(classes: int, *values: Floats) -> list[NDArray]:
    edges = np.asarray(SIMS_BINS[classes], np.float32)
    return [np.digitize(_clipped(x_N), edges, right=True) for x_N in values]


def _require_finite(prediction: Floats) -> None:
    bad = int((~np.isfinite(prediction)).sum())
    if bad:
        raise NonFinitePrediction(f"{bad} of {prediction.size} predictions are NaN or infinite: the training diverged")


def _warn_constant(name: str, target_N: Floats) -> None:
    warn_undefined(name, f"every {'prediction' if np.ptp(target_N) else 'label'} is the same")


def _ranks(x_N: Floats) -> NDArray:
    sorted_N = np.sort(x_N)
    return np.searchsorted(sorted_N, x_N, "left") + np.searchsorted(sorted_N, x_N, "right")
