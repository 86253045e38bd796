"""The metrics of classes, numbers and labels equal those of scikit-learn and SciPy, and small cases by hand."""

import subprocess
import sys
import warnings

import numpy as np
import pytest
from scipy import special, stats
from sklearn import metrics as sk

from powmix.metrics.columns import CONVENTIONS, TASKS, columns, convention, evaluate, keys, metric, objective_of
from powmix.metrics.values import NonFinitePrediction, UndefinedMetric


def classes(k: int, seed: int = 0, size: int = 300):
    """Logits (some of them tied), one-hot labels, and what scikit-learn wants: probabilities, true, predicted."""
    rng = np.random.default_rng(seed)
    logit, true = rng.normal(size=(size, k)).round(1).astype(np.float32), rng.integers(0, k, size)
    logit[np.arange(size), true] += 0.5
    return logit, np.eye(k)[true], special.softmax(logit.astype(float), 1), true, logit.argmax(1)


@pytest.mark.parametrize("k", [2, 3, 10])
def test_metrics_of_classes_equal_scikit_learns(k):
    logit, target, probability, true, predicted = classes(k)
    area = (
        sk.roc_auc_score(true, probability[:, 1])
        if k == 2
        else sk.roc_auc_score(true, probability, multi_class="ovr", average="macro")
    )
    assert evaluate("classification", logit, target) == pytest.approx(
        {
            "Accuracy": sk.accuracy_score(true, predicted),
            "Weighted_F1": sk.f1_score(true, predicted, average="weighted"),
            "Macro_F1": sk.f1_score(true, predicted, average="macro"),
            "Balanced_accuracy": sk.balanced_accuracy_score(true, predicted),
            "AUROC": area,
            "Log_loss": sk.log_loss(true, probability),
            "ECE": calibration_error(probability, true),
            "Kappa": sk.cohen_kappa_score(true, predicted, weights="quadratic", labels=range(k)),
        },
        rel=1e-9,
    )


def calibration_error(probability, true):
    """Guo et al. (2017), equation 3, bin by bin."""
    confidence, hit = probability.max(1), probability.argmax(1) == true
    total = 0.0
    for low in range(15):
        inside = (confidence > low / 15) & (confidence <= (low + 1) / 15)
        if inside.any():
            total += inside.sum() * abs(hit[inside].mean() - confidence[inside].mean())
    return total / len(true)


def test_ece_of_four_examples_by_hand():
    sure, unsure = np.log([0.9, 0.1]), np.log([0.6, 0.4])
    found = evaluate("classification", [sure, sure, unsure, unsure], np.eye(2)[[0, 1, 0, 0]])
    assert found["ECE"] == pytest.approx(0.5 * (0.9 - 0.5) + 0.5 * (1 - 0.6))


def test_soft_labels_count_as_their_largest_class_but_in_the_log_loss():
    logit, target, probability = classes(3)[:3]
    soft = 0.7 * target + 0.1
    hard, found = evaluate("classification", logit, target), evaluate("classification", logit, soft)
    assert {k: v for k, v in found.items() if k != "Log_loss"} == {k: v for k, v in hard.items() if k != "Log_loss"}
    assert found["Log_loss"] == pytest.approx(-(soft * np.log(probability)).sum(1).mean())


def test_a_class_that_does_not_occur_is_left_out_of_the_means():
    logit, target, probability, true, predicted = classes(4)
    some = true != 2
    found = evaluate("classification", logit[some], target[some])
    present = [sk.roc_auc_score(true[some] == c, probability[some, c]) for c in (0, 1, 3)]
    assert found["AUROC"] == pytest.approx(np.mean(present))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        assert found["Balanced_accuracy"] == pytest.approx(sk.balanced_accuracy_score(true[some], predicted[some]))
    assert found["Macro_F1"] == pytest.approx(sk.f1_score(true[some], predicted[some], average="macro"))


def test_one_class_alone_has_no_auroc_and_no_kappa_and_says_so():
    with pytest.warns(UndefinedMetric) as told:
        found = evaluate("classification", [[2.0, 1.0], [3.0, 0.0]], [[1, 0], [1, 0]])
    assert (found["AUROC"], found["Kappa"], found["Accuracy"], found["Macro_F1"]) == (0, 0, 1, 1)
    assert sorted(str(one.message).split()[0] for one in told) == ["AUROC", "Kappa"]


@pytest.mark.filterwarnings("ignore:AUROC is undefined")
def test_large_logits_overflow_nowhere():
    found = evaluate("classification", [[1e4, 0.0], [0.0, 1e4]], [[1, 0], [1, 0]])
    assert found["Log_loss"] == pytest.approx(5e3) and found["ECE"] == pytest.approx(0.5)
    assert evaluate("multilabel", [[1e4, -1e4]], [[0, 1]])["Multilabel_log_loss"] == pytest.approx(1e4)


def test_metrics_of_numbers_equal_scikit_learns_and_scipys():
    rng = np.random.default_rng(1)
    y = rng.normal(5, 2, 200).round(1).astype(np.float32)
    x = (0.6 * y + rng.normal(0, 1, 200) + 1).round(1).astype(np.float32)
    covariance = np.cov(x.astype(float), y.astype(float), bias=True)
    mean = (x.astype(float).mean() - y.astype(float).mean()) ** 2
    assert evaluate("regression", x[:, None], y[:, None]) == pytest.approx(
        {
            "MAE": sk.mean_absolute_error(y, x),
            "RMSE": sk.root_mean_squared_error(y.astype(float), x.astype(float)),
            "R2": sk.r2_score(y.astype(float), x.astype(float)),
            "Corr": stats.pearsonr(x.astype(float), y.astype(float)).statistic,
            "Spearman": stats.spearmanr(x, y).statistic,
            "CCC": 2 * covariance[0, 1] / (covariance[0, 0] + covariance[1, 1] + mean),
        },
        rel=1e-6,
    )


def test_three_numbers_by_hand():
    found = evaluate("regression", [1, 2, 3], [2, 2, 5])
    assert found["RMSE"] == pytest.approx((5 / 3) ** 0.5) and found["R2"] == pytest.approx(1 - 5 / 6)
    assert found["CCC"] == pytest.approx(2 * 1 / (2 / 3 + 2 + 1)) and found["Spearman"] == pytest.approx(3**0.5 / 2)


@pytest.mark.filterwarnings("ignore:Corr is undefined")
def test_constants_have_no_r2_and_no_correlations_and_say_so():
    with pytest.warns(UndefinedMetric) as told:
        found = evaluate("regression", [3, 3], [3, 3])
    assert {str(one.message).split()[0] for one in told} == {"R2", "Corr", "Spearman", "CCC"}
    assert set(found.values()) == {0}
    with pytest.warns(UndefinedMetric, match="Spearman .* every prediction is the same"):
        assert evaluate("regression", [3, 3], [1, 2])["CCC"] == 0


def labels(seed: int = 0, size: int = 300, k: int = 5):
    rng = np.random.default_rng(seed)
    target = (rng.random((size, k)) < np.linspace(0.1, 0.6, k)).astype(np.float32)
    return (rng.normal(size=(size, k)) + target - 0.5).round(1).astype(np.float32), target


def test_metrics_of_labels_equal_scikit_learns():
    logit, target = labels()
    predicted = logit > 0
    assert evaluate("multilabel", logit, target) == pytest.approx(
        {
            "mAP": sk.average_precision_score(target, logit, average="macro"),
            "AUROC": sk.roc_auc_score(target, logit, average="macro"),
            "Multilabel_macro_F1": sk.f1_score(target, predicted, average="macro"),
            "Multilabel_micro_F1": sk.f1_score(target, predicted, average="micro"),
            "Exact_match": sk.accuracy_score(target, predicted),
            "Multilabel_log_loss": np.mean(
                [sk.log_loss(target[:, c], special.expit(logit[:, c].astype(float))) for c in range(5)]
            ),
        },
        rel=1e-9,
    )


def test_average_precision_of_four_examples_by_hand():
    found = evaluate("multilabel", [[4.0], [3.0], [2.0], [1.0]], [[1], [0], [1], [0]])
    assert found["mAP"] == pytest.approx((1 + 2 / 3) / 2) and found["AUROC"] == pytest.approx(3 / 4)


def test_a_label_without_examples_is_left_out_and_labels_without_any_are_told():
    logit, target = labels()
    target[:, 1] = 0
    rest = [0, 2, 3, 4]
    found = evaluate("multilabel", logit, target)
    assert found["mAP"] == pytest.approx(sk.average_precision_score(target[:, rest], logit[:, rest]))
    assert found["AUROC"] == pytest.approx(sk.roc_auc_score(target[:, rest], logit[:, rest]))
    with pytest.warns(UndefinedMetric) as told:
        found = evaluate("multilabel", -np.ones((3, 2)), np.zeros((3, 2)))
    names = {"mAP", "AUROC", "Multilabel_macro_F1", "Multilabel_micro_F1"}
    assert {str(one.message).split()[0] for one in told} == names
    assert {found[name] for name in names} == {0} and found["Exact_match"] == 1


@pytest.mark.parametrize("name", ["classification", "multilabel"])
def test_wrong_shapes_and_predictions_that_are_not_finite_are_refused(name):
    with pytest.raises(ValueError, match=r"\(4, 3\), \(4, 2\)"):
        evaluate(name, np.ones((4, 3)), np.ones((4, 2)))
    with pytest.raises(NonFinitePrediction, match="1 of 4 predictions"):
        evaluate(name, [[1, np.nan], [0, 1]], [[1, 0], [0, 1]])


def test_a_convention_is_told_from_the_names_of_its_metrics():
    assert {name: convention(keys(name)) for name in CONVENTIONS} == {name: name for name in CONVENTIONS}
    assert sorted(name for names in TASKS.values() for name in names) == sorted(CONVENTIONS)


def test_every_task_has_an_objective_and_a_few_columns():
    objectives = {name: objective_of(name) for name in CONVENTIONS}
    assert objectives == {
        **dict.fromkeys(("mosi", "sims", "regression"), "MAE"),
        "classification": "Accuracy",
        "multilabel": "mAP",
    }
    assert all(objectives[name] in keys(name) for name in CONVENTIONS)
    assert [m.label for m in columns(keys("classification"))] == ["Acc", "F1", "Macro F1", "AUROC"]
    assert [m.label for m in columns(keys("multilabel"))] == ["mAP", "Micro F1", "Macro F1", "AUROC"]
    assert [m.label for m in columns(keys("regression"))] == ["MAE", "RMSE", "R²", "Corr"]
    assert [m.label for m in columns(("Accuracy", "Weighted_F1", "Loss"))] == ["Acc", "F1"]


def test_one_name_means_one_thing():
    rows = [m for found in CONVENTIONS.values() for m in found]
    assert all(m == metric(m.key) for m in rows)


def test_the_names_of_metrics_cost_no_scikit_learn_and_no_torch():
    code = "import sys, powmix.metrics.columns, powmix.metrics.losses, powmix.metrics.registry; print(*sys.modules)"
    shown = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert not {"torch", "sklearn", "scipy"} & set(shown.stdout.split())
