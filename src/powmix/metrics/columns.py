"""One row per metric: its key on disk, its name in the paper, which way is better, how it is printed and computed."""

from __future__ import annotations

from collections.abc import Callable, Collection
from dataclasses import dataclass, field, replace
from typing import Any, Literal

from numpy.typing import ArrayLike

from powmix.metrics import values
from powmix.mistakes import check_one_of

Function = Callable[[Any, Any], float]


@dataclass(frozen=True)
class Metric:
    """One metric; values on disk are fractions, `scale` turns them into what is printed.

    function: of predictions and labels (metrics/values.py). shown: whether tables have a column for it.
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


LOSS = Metric("Loss", "Loss", higher_is_better=False, shown=False)
"""The mean of the run's own task loss; the training computes it."""

CONVENTIONS: dict[str, tuple[Metric, ...]] = {
    "mosi": (
        _percent("Non0_acc_2", "Acc-2", values.non_zero_accuracy),
        _percent("Non0_F1_score", "F1", values.non_zero_f1),
        Metric("MAE", "MAE", values.mean_absolute_error, higher_is_better=False),
        Metric("Corr", "Corr", values.correlation),
        _percent("Mult_acc_5", "Acc-5", values.accuracy_5),
        _percent("Mult_acc_7", "Acc-7", values.accuracy_7),
        replace(_percent("Has0_acc_2", "Acc-2 (Has0)", values.has_zero_accuracy), shown=False),
        replace(_percent("Has0_F1_score", "F1 (Has0)", values.has_zero_f1), shown=False),
        LOSS,
    ),
    "sims": (
        _percent("Mult_acc_2", "Acc-2", values.sims_accuracy_2),
        _percent("F1_score", "F1", values.sims_f1),
        Metric("MAE", "MAE", values.sims_mean_absolute_error, higher_is_better=False),
        Metric("Corr", "Corr", values.sims_correlation),
        _percent("Mult_acc_5", "Acc-5", values.sims_accuracy_5),
        _percent("Mult_acc_3", "Acc-3", values.sims_accuracy_3),
        LOSS,
    ),
    "classification": (
        _percent("Accuracy", "Acc", values.accuracy),
        _percent("Weighted_F1", "F1", values.weighted_f1),
        LOSS,
    ),
}
"""Every metric of each kind of dataset and task, in the order of the paper's Table 2; SIMS has the first four there.

Acc-2 and F1 of MOSI and MOSEI leave out neutral examples (Non0).
"""

COLUMNS = {name: tuple(m for m in rows if m.shown) for name, rows in CONVENTIONS.items()}
"""The columns of tables."""

_BY_KEY = {m.key: m for rows in CONVENTIONS.values() for m in rows}


def evaluate(convention: str, prediction: ArrayLike, target: ArrayLike) -> dict[str, float]:
    """Every metric of a convention (all but Loss) for predictions and labels of N examples.

    Regression (mosi, sims): any shape; classification: scores and one-hot or soft labels (N, C). A metric that is
    undefined is 0, with an UndefinedMetric warning: Corr where either side is constant, the Non0 metrics where every
    label is 0. A prediction that is not finite raises NonFinitePrediction.
    """
    check_one_of("metrics: convention", convention, CONVENTIONS)
    arrays = values.class_arrays if convention == "classification" else values.regression_arrays
    prediction_N, target_N = arrays(prediction, target)
    return {m.key: m.function(prediction_N, target_N) for m in CONVENTIONS[convention] if m.function}


def keys(convention: str) -> tuple[str, ...]:
    """The names of all metrics of a convention, Loss included."""
    return tuple(m.key for m in CONVENTIONS[convention])


def direction(key: str) -> Literal["minimize", "maximize"]:
    """Which way a metric is better, in Optuna's words."""
    return "maximize" if metric(key).higher_is_better else "minimize"


def metric(key: str) -> Metric:
    """The metric of that name on disk; an unknown one is printed as it is, larger being better."""
    return _BY_KEY.get(key, Metric(key, key))


MODALITIES = {"text": "Text", "audio": "Audio", "vision": "Vision", "fusion": "Fusion"}
DATASETS = {"mosi": "MOSI", "mosei": "MOSEI", "sims": "SIMS", "synthetic": "Synthetic"}


def convention(keys: Collection[str]) -> str:
    """Which set of columns a run's metrics follow, told from their names alone."""
    if "Accuracy" in keys:
        return "classification"
    return "sims" if "Mult_acc_3" in keys else "mosi"


TASKS = {"regression": ("mosi", "sims"), "classification": ("classification",)}


def objective_of(convention):
    return {"classification": "Accuracy"}.get(convention, "MAE")
