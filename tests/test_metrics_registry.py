"""Metrics that users register: computed, recorded, shown, and read without the user's code."""

import json
import subprocess
import sys

import numpy as np
import pytest
from analysis_runs import train

from powmix.metrics.columns import BY_KEY, columns, direction, evaluate, keys, metric
from powmix.metrics.registry import declare, described, register_metric
from powmix.metrics.values import UndefinedMetric
from powmix.training import Settings

pytestmark = pytest.mark.usefixtures("forgotten_metrics")


def within(prediction, target):
    return (np.abs(prediction - target) < 0.5).mean()


HOW = {"task": "regression", "label": "Within ½", "scale": 100.0, "decimals": 1}


def test_a_registered_metric_is_one_of_its_tasks():
    register_metric("Within", within, **HOW)
    for name in ("mosi", "sims", "regression"):
        assert evaluate(name, [0.1, 2, 0.5], [0, 0, 0.5])["Within"] == pytest.approx(2 / 3)
        assert keys(name)[-1] == "Within"
    assert "Within" not in keys("classification") and metric("Within").show(0.5) == "50.0"
    assert Settings(monitor="Within", objective="Within").objective == "Within"
    with pytest.raises(ValueError, match="objective must be a metric of task=classification"):
        Settings(task="classification", objective="Within")


def test_as_a_decorator_it_leaves_the_function_as_it_was():
    @register_metric("Top2_error", task="classification", higher_is_better=False)
    def top2(prediction, target):
        assert prediction.shape == target.shape == (2, 3) and prediction.dtype == target.dtype == np.float32
        best = np.argsort(-prediction, 1)[:, :2]
        return 1 - (best == target.argmax(1)[:, None]).any(1).mean()

    assert evaluate("classification", [[3, 2, 1], [1, 2, 3]], [[0, 1, 0], [1, 0, 0]])["Top2_error"] == 0.5
    assert direction("Top2_error") == "minimize"
    assert top2(np.ones((2, 3), np.float32), np.ones((2, 3), np.float32)) == 0


def test_a_function_may_write_to_what_it_gets():
    def careless(prediction, target):
        prediction -= target
        return prediction.mean()

    register_metric("Bias", careless, task="regression")
    prediction = np.array([1.0, 2.0], np.float32)
    assert evaluate("regression", prediction, [0, -1])["Bias"] == 2 and prediction.tolist() == [1, 2]


def test_what_is_not_finite_is_zero_and_said_and_what_is_no_number_is_refused():
    register_metric("Odd", lambda p, t: np.nan, task="regression")
    with pytest.warns(UndefinedMetric, match="Odd is undefined and reported as 0: it is nan"):
        assert evaluate("regression", [1, 2], [1, 3])["Odd"] == 0
    register_metric("Odd", lambda p, t: p, task="regression")
    with pytest.raises(ValueError, match="metric Odd: expected a number"):
        evaluate("regression", [1, 2], [1, 3])


def test_a_name_that_is_taken_or_wrong_is_refused():
    for name in ("MAE", "Accuracy", "Loss"):
        with pytest.raises(ValueError, match="registered already"):
            register_metric(name, within, task="regression")
    with pytest.raises(ValueError, match=r"scale must be a number > 0.*did you mean regression"):
        register_metric("Within", within, task="regresion", scale=0)
    with pytest.raises(ValueError, match="expected a function"):
        register_metric("Within", 3, task="regression")


def test_another_files_name_is_taken_and_the_same_files_is_replaced(tmp_path):
    source = "def within(p, t):\n    return {}\nregister_metric('Within', within, task='regression')\n"
    for name, value in (("one", 1), ("one", 2)):
        path = tmp_path / f"{name}.py"
        path.write_text(source.format(value))
        exec(compile(path.read_text(), path, "exec"), {"register_metric": register_metric, "__name__": name})
        assert evaluate("regression", [1, 2], [1, 3])["Within"] == value
    with pytest.raises(ValueError, match="metric 'Within' is registered already"):
        register_metric("Within", within, task="regression")


def test_a_run_tells_of_its_metrics_and_a_reader_without_the_code_shows_them_alike():
    register_metric("Within", within, **HOW)
    told = described(keys("mosi"))
    assert [one["key"] for one in told] == ["Within"] and described(["MAE"]) == []
    code = "\n".join(
        [
            "import json, sys",
            "from powmix.metrics.columns import columns, keys, metric",
            "from powmix.metrics.registry import declare",
            "declare(json.loads(sys.argv[1]))",
            "m = metric('Within')",
            "print(m.label, m.show(0.5), m.arrow, m in columns(['MAE', 'Within']), 'Within' in keys('mosi'))",
        ]
    )
    done = subprocess.run([sys.executable, "-c", code, json.dumps(told)], capture_output=True, text=True, check=True)
    assert done.stdout.split("\n")[0] == "Within ½ 50.0 ↑ True False"


def test_a_run_redefines_nothing_that_is_known_and_broken_words_are_left_alone():
    register_metric("Within", within, **HOW)
    told = {**described(["Within"])[0], "label": "other"}
    declare([told, {**told, "key": "MAE"}, {**told, "key": "New", "scale": "x"}, {"key": "Bare"}, 3])
    declare("nonsense")
    assert metric("Within").label == "Within ½" and metric("MAE").label == "MAE"
    assert "New" not in BY_KEY and "Bare" not in BY_KEY


def test_code_that_comes_after_what_a_run_told_takes_its_place():
    declare([{"key": "Within", "higher_is_better": True, "shown": True, **HOW}])
    assert "Within" not in keys("mosi") and columns(["MAE", "Within"])[-1].label == "Within ½"
    register_metric("Within", within, task="regression", label="Within")
    assert "Within" in keys("mosi") and metric("Within").label == "Within"


@pytest.mark.slow
def test_a_run_records_the_metric_and_the_report_prints_it_in_a_process_that_never_saw_the_code(tmp_path):
    register_metric("Within", within, **HOW)
    options = ("mixer=none", "seeds=[1,2]", "trainer.max_epochs=1", "objective=Within", "trainer.monitor=Within")
    folder = train(tmp_path, *options)
    result = json.loads((folder / "result.json").read_text())
    assert result["metrics"] == described(["Within"]) and result["objective_metric"] == "Within"
    assert result["direction"] == "maximize" and 0 < result["mean"]["test"]["Within"] < 1
    report = [sys.executable, "-m", "powmix.report", str(folder), "--out", str(tmp_path / "report")]
    shown = subprocess.run(report, capture_output=True, text=True, check=True).stdout
    assert "Within ½" in shown and f"{100 * result['mean']['test']['Within']:.1f}" in shown
