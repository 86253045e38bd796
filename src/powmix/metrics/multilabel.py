"""Metrics of several yes-or-no labels: unrounded fractions of what a model says of N examples. numpy alone.

Every function takes logits and 0/1 labels, (N, C) float32; a label is predicted where its logit is above 0. The means
over labels leave out those without an example (for AUROC: or without a counterexample).
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from powmix.metrics.classification import area_under_roc, mean_of_defined
from powmix.metrics.values import Floats, warn_undefined


def mean_average_precision(logit_NC: Floats, target_NC: Floats) -> float:
    """Mean over labels of the average precision, sum_n (R_n - R_n-1) P_n over the thresholds; 0 with a warning."""
    found = [average_precision(logit_NC[:, c], target_NC[:, c] > 0.5) for c in range(logit_NC.shape[1])]
    return mean_of_defined("mAP", found, "no example has any label")


def auroc(logit_NC: Floats, target_NC: Floats) -> float:
    """Mean over labels of the area under the ROC curve; 0 with a warning where no label is in some examples only."""
    found = [area_under_roc(logit_NC[:, c], target_NC[:, c] > 0.5) for c in range(logit_NC.shape[1])]
    return mean_of_defined("AUROC", found, "every label is in all examples or in none")


def macro_f1(logit_NC: Floats, target_NC: Floats) -> float:
    """Plain mean of the F1 of each label that is true or predicted of some example; 0 with a warning without any."""
    hit_C, size_C = _hits(logit_NC, target_NC)
    found = [2 * hit / size if size else np.nan for hit, size in zip(hit_C, size_C)]
    return mean_of_defined("Multilabel_macro_F1", found, "no label is true or predicted of any example")


def micro_f1(logit_NC: Floats, target_NC: Floats) -> float:
    """F1 over all examples and labels together; 0 with a warning where no label is true or predicted."""
    hit_C, size_C = _hits(logit_NC, target_NC)
    if not size_C.sum():
        warn_undefined("Multilabel_micro_F1", "no label is true or predicted of any example")
        return 0.0
    return float(2 * hit_C.sum() / size_C.sum())


def exact_match(logit_NC: Floats, target_NC: Floats) -> float:
    """Share of examples of which every label is right."""
    return float(((logit_NC > 0) == (target_NC > 0.5)).all(1).mean())


def log_loss(logit_NC: Floats, target_NC: Floats) -> float:
    """Mean over examples and labels of the cross entropy of the sigmoid, in nats."""
    logit_NC = logit_NC.astype(np.float64)
    return float((np.logaddexp(0, logit_NC) - target_NC * logit_NC).mean())


def average_precision(score_N: NDArray, true_N: NDArray) -> float:
    """The mean over the examples of the precision at their own score; NaN without any."""
    positive_P, sorted_N = np.sort(score_N[true_N]), np.sort(score_N)
    if not len(positive_P):
        return np.nan
    hits_P = len(positive_P) - np.searchsorted(positive_P, positive_P, "left")
    taken_P = len(sorted_N) - np.searchsorted(sorted_N, positive_P, "left")
    return float((hits_P / taken_P).mean())


def _hits(logit_NC: Floats, target_NC: Floats) -> tuple[NDArray, NDArray]:
    """Of each label, how often it is predicted rightly, and how often it is true plus how often it is predicted."""
    predicted_NC, true_NC = logit_NC > 0, target_NC > 0.5
    return (predicted_NC & true_NC).sum(0), predicted_NC.sum(0) + true_NC.sum(0)
