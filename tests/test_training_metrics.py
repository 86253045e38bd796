"""Metrics are the field's, to the last rounding rule, and never NaN in silence."""

import json
import math
import subprocess
import sys
import warnings

import numpy as np
import oracle_files
import pytest

from powmix.metrics.columns import CONVENTIONS, direction, evaluate, keys, metric
from powmix.metrics.values import NonFinitePrediction, UndefinedMetric


@pytest.fixture(scope="module")
def cases():
    return json.loads((oracle_files.FOLDER / "metrics_cases.json").read_text())["cases"]


@pytest.mark.parametrize("convention", ["mosi", "sims"])
def test_every_metric_equals_the_reference_frameworks(cases, convention):
    compared = 0
    for case in cases:
        expected = case[convention]
        if "error" in expected or case["kind"] == "nan_pred":
            continue
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UndefinedMetric)
            found = evaluate(convention, case["y_pred"], case["y_true"])
        assert found.keys() == expected.keys()
        for name, value in expected.items():
            assert round(found[name], 4) == (value or 0.0), (case["id"], name)
            compared += 1
    assert compared > 150


@pytest.mark.parametrize("convention", ["mosi", "sims"])
def test_a_nan_prediction_is_an_error(cases, convention):
    case = next(case for case in cases if case["kind"] == "nan_pred")
    with pytest.raises(NonFinitePrediction, match="1 of 4 predictions"):
        evaluate(convention, np.array(case["y_pred"], float), case["y_true"])


def test_a_constant_prediction_has_correlation_zero_and_says_so():
    with pytest.warns(UndefinedMetric, match="every prediction is the same"):
        assert evaluate("mosi", [0.3] * 4, [1, 2, -1, 0])["Corr"] == 0
    with pytest.warns(UndefinedMetric, match="every label is the same"):
        assert evaluate("sims", [0.3, 0.1], [1, 1])["Corr"] == 0


@pytest.mark.filterwarnings("ignore:Corr is undefined")
def test_labels_that_are_all_zero_make_non0_zero_with_a_warning():
    with pytest.warns(UndefinedMetric, match="Non0"):
        found = evaluate("mosi", [0.3, -0.2], [0, 0])
    assert found["Non0_acc_2"] == found["Non0_F1_score"] == 0
    assert found["Has0_acc_2"] == 0.5


def test_seven_classes_round_halves_to_even():
    assert evaluate("mosi", [0.5, 1.5, 2.5, -3.4], [0, 2, 2, -3])["Mult_acc_7"] == 1


def test_classification_scores_by_the_largest_entry():
    found = evaluate("classification", [[2, 1, 0], [0, 3, 1], [5, 0, 0]], [[1, 0, 0], [0, 1, 0], [0, 0, 1]])
    assert found["Accuracy"] == pytest.approx(2 / 3)
    assert found["Weighted_F1"] == pytest.approx((2 / 3 + 1 + 0) / 3)


def test_every_metric_has_a_direction_and_a_label():
    names = {key for convention in CONVENTIONS for key in keys(convention)}
    assert {name for name in names if direction(name) == "minimize"} == {
        *("MAE", "RMSE", "Loss", "Log_loss", "ECE", "Multilabel_log_loss")
    }
    assert metric("Non0_acc_2").label == metric("Mult_acc_2").label == "Acc-2"
    assert set(evaluate("mosi", [1, -1], [1, -2])) | {"Loss"} == set(keys("mosi"))


def test_values_are_plain_unrounded_floats():
    found = evaluate("mosi", [1 / 3, -1, 0.1], [1, -2, 0.4])
    assert all(type(value) is float and math.isfinite(value) for value in found.values())
    assert found["MAE"] != round(found["MAE"], 4)


def test_metrics_and_settings_import_no_torch():
    code = (
        "import sys, powmix.metrics.columns, powmix.training as t; t.Settings, t.Pruned; print('torch' in sys.modules)"
    )
    shown = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert shown.stdout.strip() == "False"
