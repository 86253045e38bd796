"""One row per metric: its key on disk, its name in the paper, which way is better, how it is printed and computed."""

from __future__ import annotations

from collections.abc import Callable, Collection
from dataclasses import dataclass, field, replace
from typing import Any, Literal

from numpy.typing import ArrayLike

from powmix.metrics import classification, multilabel, values
from powmix.mistakes import check_one_of

Function = Callable[[Any, Any], float]


@dataclass(frozen=True)
class Metric:
    """One metric; values on disk are fractions, `scale` turns them into what is printed.

    function: of predictions and labels; None of a run that another process has trained (metrics/registry.py). shown:
    whether tables have a column for it.
    """

    key: str
    label: str
    function: Function | None = field(default=None, compare=False, repr=False)
    higher_is_better: bool = True
    scale: float = 1.0
    decimals: int = 3
    shown: bool = True

    @property
    def arrow(self) -> str:
        return "↑" if self.higher_is_better else "↓"

    @property
    def sign(self) -> int:
        """+1 where larger is better, -1 where smaller is."""
        return 1 if self.higher_is_better else -1

    def show(self, value: float) -> str:
        return f"{value * self.scale:.{self.decimals}f}"

    def show_difference(self, value: float) -> str:
        """Signed, with a true minus; zero alone has no sign, so that +0.000 is known to be above it."""
        if value == 0:
            return self.show(0.0)
        return f"{value * self.scale:+.{self.decimals}f}".replace("-", "−")

    def rounded(self, value: float) -> float:
        """The value as a reader sees it: what `best` and `worse than the baseline` are decided on."""
        return round(value * self.scale, self.decimals)


def _percent(key: str, label: str, function: Function) -> Metric:
    return Metric(key, label, function, scale=100.0, decimals=2)


def _error(key: str, label: str, function: Function) -> Metric:
    return Metric(key, label, function, higher_is_better=False)


def _hidden(metric: Metric) -> Metric:
    return replace(metric, shown=False)


LOSS = Metric("Loss", "Loss", higher_is_better=False, shown=False)
"""The mean of the run's own task loss; the training computes it."""

CONVENTIONS: dict[str, tuple[Metric, ...]] = {
    "mosi": (
        _percent("Non0_acc_2", "Acc-2", values.non_zero_accuracy),
        _percent("Non0_F1_score", "F1", values.non_zero_f1),
        _error("MAE", "MAE", values.mean_absolute_error),
        Metric("Corr", "Corr", values.correlation),
        _percent("Mult_acc_5", "Acc-5", values.accuracy_5),
        _percent("Mult_acc_7", "Acc-7", values.accuracy_7),
        _hidden(_percent("Has0_acc_2", "Acc-2 (Has0)", values.has_zero_accuracy)),
        _hidden(_percent("Has0_F1_score", "F1 (Has0)", values.has_zero_f1)),
        LOSS,
    ),
    "sims": (
        _percent("Mult_acc_2", "Acc-2", values.sims_accuracy_2),
        _percent("F1_score", "F1", values.sims_f1),
        _error("MAE", "MAE", values.sims_mean_absolute_error),
        Metric("Corr", "Corr", values.sims_correlation),
        _percent("Mult_acc_5", "Acc-5", values.sims_accuracy_5),
        _percent("Mult_acc_3", "Acc-3", values.sims_accuracy_3),
        LOSS,
    ),
    "regression": (
        _error("MAE", "MAE", values.mean_absolute_error),
        _error("RMSE", "RMSE", values.root_mean_squared_error),
        Metric("R2", "R²", values.r2),
        Metric("Corr", "Corr", values.correlation),
        _hidden(Metric("Spearman", "Spearman", values.spearman)),
        _hidden(Metric("CCC", "CCC", values.concordance)),
        LOSS,
    ),
    "classification": (
        _percent("Accuracy", "Acc", classification.accuracy),
        _percent("Weighted_F1", "F1", classification.weighted_f1),
        _percent("Macro_F1", "Macro F1", classification.macro_f1),
        _percent("AUROC", "AUROC", classification.auroc),
        _hidden(_percent("Balanced_accuracy", "Balanced acc", classification.balanced_accuracy)),
        _hidden(_error("Log_loss", "Log loss", classification.log_loss)),
        _hidden(_error("ECE", "ECE", classification.calibration_error)),
        _hidden(Metric("Kappa", "Kappa", classification.kappa)),
        LOSS,
    ),
    "multilabel": (
        _percent("mAP", "mAP", multilabel.mean_average_precision),
        _percent("Multilabel_micro_F1", "Micro F1", multilabel.micro_f1),
        _percent("Multilabel_macro_F1", "Macro F1", multilabel.macro_f1),
        _percent("AUROC", "AUROC", multilabel.auroc),
        _hidden(_percent("Exact_match", "Exact match", multilabel.exact_match)),
        _hidden(_error("Multilabel_log_loss", "Log loss", multilabel.log_loss)),
        LOSS,
    ),
}
"""Every metric of each kind of dataset and task; of mosi and sims in the order of the paper's Table 2, SIMS having the
first four there. Acc-2 and F1 of MOSI and MOSEI leave out neutral examples (Non0).
"""

TASKS = {
    "regression": ("mosi", "sims", "regression"),
    "classification": ("classification",),
    "multilabel": ("multilabel",),
}
"""The tasks, each with the conventions of metrics that its datasets may have."""

BY_KEY = {m.key: m for rows in CONVENTIONS.values() for m in rows}


def evaluate(convention: str, prediction: ArrayLike, target: ArrayLike) -> dict[str, float]:
    """Every metric of a convention (all but Loss) for predictions and labels of N examples.

    Regression (mosi, sims, regression): any shape; classification: logits and one-hot or soft labels (N, C);
    multilabel: logits and 0/1 labels (N, C). A metric that is undefined is 0, with an UndefinedMetric warning: Corr
    where either side is constant, the Non0 metrics where every label is 0. A prediction that is not finite raises
    NonFinitePrediction.
    """
    check_one_of("metrics: convention", convention, CONVENTIONS)
    arrays = values.regression_arrays if convention in TASKS["regression"] else values.score_arrays
    prediction, target = arrays(prediction, target)
    return {m.key: m.function(prediction, target) for m in CONVENTIONS[convention] if m.function}


def keys(convention: str) -> tuple[str, ...]:
    """The names of all metrics of a convention that this process can compute, Loss included."""
    return tuple(m.key for m in CONVENTIONS[convention] if m.function or m is LOSS)


def direction(key: str) -> Literal["minimize", "maximize"]:
    """Which way a metric is better, in Optuna's words."""
    return "maximize" if metric(key).higher_is_better else "minimize"


def metric(key: str) -> Metric:
    """The metric of that name on disk; an unknown one is printed as it is, larger being better."""
    return BY_KEY.get(key, Metric(key, key))


MODALITIES = {"text": "Text", "audio": "Audio", "vision": "Vision", "fusion": "Fusion"}


def convention(keys: Collection[str]) -> str:
    """Which set of metrics a run's metrics follow, told from their names alone."""
    marks = {"Accuracy": "classification", "mAP": "multilabel", "Mult_acc_3": "sims", "RMSE": "regression"}
    return next((name for key, name in marks.items() if key in keys), "mosi")


def columns(keys: Collection[str]) -> tuple[Metric, ...]:
    """The columns of tables for runs that have these metrics: the convention's, as far as some run has them."""
    return tuple(m for m in CONVENTIONS[convention(keys)] if m.shown and m.key in keys)


def objective_of(convention: str) -> str:
    """The validation metric that a search optimises where none is named."""
    return {"classification": "Accuracy", "multilabel": "mAP"}.get(convention, "MAE")
