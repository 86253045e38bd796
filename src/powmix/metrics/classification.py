"""Metrics of K classes: unrounded fractions of what a model says of N examples. numpy alone.

Every function takes logits and one-hot or soft labels, (N, C) float32; the largest entry is the class. A class that
does not occur has no recall, no AUROC, and no F1 unless it is predicted: the means over classes leave it out. The
values are those of scikit-learn, which takes ten times as long, and that at the end of every epoch.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from powmix.metrics import values
from powmix.metrics.values import Floats, warn_undefined

BINS = 15
"""Of the calibration error (Guo et al. 2017)."""


def accuracy(logit_NC: Floats, target_NC: Floats) -> float:
    """Share of examples whose class is predicted."""
    return values.accuracy(logit_NC.argmax(1), target_NC.argmax(1))


def weighted_f1(logit_NC: Floats, target_NC: Floats) -> float:
    """Mean of the F1 of each class, weighted by how often the class is true."""
    return values.weighted_f1(logit_NC.argmax(1), target_NC.argmax(1))


def macro_f1(logit_NC: Floats, target_NC: Floats) -> float:
    """Plain mean of the F1 of each class that is true or predicted of some example."""
    count_CC = confusion(logit_NC, target_NC)
    size_C = count_CC.sum(0) + count_CC.sum(1)
    return float((2 * count_CC.diagonal()[size_C > 0] / size_C[size_C > 0]).mean())


def balanced_accuracy(logit_NC: Floats, target_NC: Floats) -> float:
    """Mean over classes of the share of its examples that are predicted to be of it."""
    count_CC = confusion(logit_NC, target_NC)
    true_C = count_CC.sum(1)
    return float((count_CC.diagonal()[true_C > 0] / true_C[true_C > 0]).mean())


def auroc(logit_NC: Floats, target_NC: Floats) -> float:
    """Mean over classes of the area under the ROC curve of its probability, one class against the rest.

    0 with a warning where no class has examples and counterexamples: all examples are of one class.
    """
    probability_NC, class_N = np.exp(log_softmax(logit_NC)), target_NC.argmax(1)
    areas = [area_under_roc(probability_NC[:, c], class_N == c) for c in range(logit_NC.shape[1])]
    return mean_of_defined("AUROC", areas, "every example is of one class")


def log_loss(logit_NC: Floats, target_NC: Floats) -> float:
    """Mean cross entropy of the softmax, in nats."""
    return float(-(target_NC * log_softmax(logit_NC)).sum(1).mean())


def calibration_error(logit_NC: Floats, target_NC: Floats) -> float:
    """Expected calibration error: of how far confidence and accuracy differ, over 15 bins of the same width."""
    probability_NC = np.exp(log_softmax(logit_NC))
    confidence_N = probability_NC.max(1)
    gap_N = (logit_NC.argmax(1) == target_NC.argmax(1)) - confidence_N
    bin_N = np.clip(np.ceil(confidence_N * BINS).astype(int) - 1, 0, BINS - 1)
    return float(np.abs(np.bincount(bin_N, gap_N, BINS)).sum() / len(gap_N))


def kappa(logit_NC: Floats, target_NC: Floats) -> float:
    """Cohen's kappa with quadratic weights, of classes in an order; 0 with a warning where only one class occurs."""
    count_CC = confusion(logit_NC, target_NC)
    class_C = np.arange(len(count_CC))
    weight_CC = np.square(class_C[:, None] - class_C)
    chance_CC = np.outer(count_CC.sum(1), count_CC.sum(0)) / count_CC.sum()
    if not (expected := (weight_CC * chance_CC).sum()):
        warn_undefined("Kappa", "every label and every prediction is the same class")
        return 0.0
    return float(1 - (weight_CC * count_CC).sum() / expected)


# --- what they are made of --------------------------------------------------------------------------------------------


def confusion(logit_NC: Floats, target_NC: Floats) -> NDArray:
    """How often class i was predicted to be class j, (C, C)."""
    classes = logit_NC.shape[1]
    pair_N = target_NC.argmax(1) * classes + logit_NC.argmax(1)
    return np.bincount(pair_N, minlength=classes * classes).reshape(classes, classes)


def log_softmax(logit_NC: Floats) -> NDArray:
    """In float64."""
    shifted_NC = logit_NC.astype(np.float64)
    shifted_NC -= shifted_NC.max(1, keepdims=True)
    return shifted_NC - np.log(np.exp(shifted_NC).sum(1, keepdims=True))


def area_under_roc(score_N: NDArray, true_N: NDArray) -> float:
    """The share of pairs of an example and a counterexample that the score ranks rightly, ties half; NaN without."""
    positive_P, negative_Q = score_N[true_N], np.sort(score_N[~true_N])
    if not len(positive_P) or not len(negative_Q):
        return np.nan
    below = (
        np.searchsorted(negative_Q, positive_P, "left").sum() + np.searchsorted(negative_Q, positive_P, "right").sum()
    )
    return float(below / 2 / (len(positive_P) * len(negative_Q)))


def mean_of_defined(name: str, found: list[float], reason: str) -> float:
    """The mean of those that are not NaN; 0 with a warning without any."""
    defined = [value for value in found if not np.isnan(value)]
    if not defined:
        warn_undefined(name, reason)
        return 0.0
    return float(np.mean(defined))
