"""Mixers over tasks: effects in one unit, what tasks say of each other, and the grid that a sweep runs on each task."""

import json

import numpy as np
import pytest
from report_runs import SEEDS, write_run, write_sweep

from powmix.metrics.meta_analysis import shrunken
from powmix.report import atlas
from powmix.report.building import build
from powmix.report.comparison import compare, markdown
from powmix.report.figures import forest
from powmix.runs import collection
from powmix.tracking.sweep_summary import summarise

CLASSES = ("Accuracy", "Weighted_F1", "Loss")


def accuracies(mean: float, steps=(0, 0, 0, 0, 0)) -> dict[int, dict[str, float]]:
    """{seed: metrics}; the spread of both sides is the same, so that pairs differ by `steps` alone."""
    noise = np.random.default_rng(0).normal(0, 0.02, len(SEEDS))
    return {
        seed: {"Accuracy": value, "Weighted_F1": value, "Loss": 1 - value}
        for seed, value in zip(SEEDS, (mean + noise + steps).tolist())
    }


GAINS = {20: 0.04, 50: 0.02, 100: 0.01, 200: 0.0, 400: -0.01}
STEPS = np.array([-0.01, -0.005, 0, 0.005, 0.01])


@pytest.fixture
def found(tmp_path):
    """mfeat with five numbers of training examples, PowMix gaining less with more; and htad without a baseline."""
    for examples, gain in GAINS.items():
        config = {"dataset.train_examples": examples}
        for mixer, scores in {"none": accuracies(0.8), "powmix": accuracies(0.8, gain + STEPS)}.items():
            own = {"dataset": "mfeat", "model": "late_fusion", "keys": CLASSES, "scores": scores, "config": config}
            path = write_run(tmp_path, mixer, **own) / "result.json"
            result = json.loads(path.read_text())
            result["provenance"]["dataset"]["sizes"] = [examples, 20, 20]
            path.write_text(json.dumps(result))
    write_run(tmp_path, "powmix", dataset="htad", model="late_fusion", keys=CLASSES, scores=accuracies(0.9))
    return collection.read([tmp_path])


def test_an_effect_is_counted_in_per_cent_of_the_baselines_error(found):
    tasks = atlas.tasks(build(found.records))
    assert sorted(task.title for task in tasks) == sorted(f"Mfeat, {n} examples" for n in GAINS)
    by_title = {task.title: task for task in tasks}
    first = by_title["Mfeat, 20 examples"]
    error = 1 - first.score
    assert first.effects["powmix"].gain == pytest.approx(100 * 0.04 / error)
    assert first.effects["powmix"].error == pytest.approx(100 * STEPS.std(ddof=1) / 5**0.5 / error)
    low, high = first.effects["powmix"].interval
    assert low < first.effects["powmix"].gain < high
    assert by_title["Mfeat, 400 examples"].effects["powmix"].gain < 0


def test_for_errors_a_smaller_value_is_a_gain(tmp_path):
    errors = {"none": 0.8, "powmix": 0.7}
    for mixer, mean in errors.items():
        write_run(tmp_path, mixer, errors={s: mean + 0.01 * (i % 2) * (mixer == "powmix") for i, s in enumerate(SEEDS)})
    [task] = atlas.tasks(build(collection.read([tmp_path]).records))
    assert task.effects["powmix"].gain == pytest.approx(100 * (0.8 - 0.704) / 0.8)


def test_tasks_together_are_the_meta_analysis_of_their_effects(found):
    table = build(found.records)
    tasks = atlas.tasks(table)
    effects = [task.effects["powmix"] for task in tasks]
    over = shrunken([one.gain for one in effects], [one.error for one in effects])
    assert atlas.together(tasks, "powmix") == over
    first, second = atlas.sentences(table)
    assert first.startswith("PowMix over 5 tasks: better on 3, worse on 1, interval over 0 on 1")
    assert f"mean effect on such tasks {over.overall:+.1f} % of the error" in first
    assert first in compare(found, table)
    assert (
        second == "What goes with PowMix's effects (Spearman over 5 tasks): training examples -1.00 (not significant)."
    )


def test_the_page_has_a_row_per_task_and_the_picture_a_row_per_task_and_one_for_all(found):
    table = build(found.records)
    text = markdown("atlas", found, table)
    assert text.count("| Mfeat, ") == 5 and "## Over tasks" in text
    figure = forest.of_tasks(table)
    assert [label.get_text() for label in figure.axes[0].get_yticklabels()][-1] == "all tasks"
    assert len(figure.axes[0].get_yticks()) == 6


def test_trackers_keep_the_same_picture_of_a_sweep_over_tasks(found, tmp_path, monkeypatch):
    drawn = []
    monkeypatch.setattr(forest, "draw", lambda effects, *_: drawn.append(effects) or forest.Figure())
    sweep = write_sweep(tmp_path, "atlas", [record.folder for record in found.records])
    assert "forest" in summarise(sweep).pictures
    [effects] = drawn
    assert list(effects) == ["powmix"] and len(effects["powmix"]) == len(GAINS)


def test_two_tasks_are_too_few_to_speak_of_tasks(tmp_path):
    for examples in (20, 50):
        for mixer in ("none", "powmix"):
            config = {"dataset.train_examples": examples}
            write_run(
                tmp_path,
                mixer,
                dataset="mfeat",
                model="late_fusion",
                keys=CLASSES,
                scores=accuracies(0.8),
                config=config,
            )
    table = build(collection.read([tmp_path]).records)
    assert atlas.sentences(table) == [] and atlas.markdown(table) == "" and forest.of_tasks(table) is None


def test_a_variant_that_was_trained_otherwise_is_no_part_of_a_task(tmp_path):
    write_run(tmp_path, "none", dataset="mfeat", model="late_fusion", keys=CLASSES, scores=accuracies(0.8))
    changed = {"trainer.max_epochs": 7}
    write_run(
        tmp_path, "powmix", dataset="mfeat", model="late_fusion", keys=CLASSES, scores=accuracies(0.9), config=changed
    )
    assert atlas.tasks(build(collection.read([tmp_path]).records)) == []


def test_the_grid_is_run_on_each_task():
    from hydra.core.override_parser.overrides_parser import OverridesParser

    from powmix.command.sweeping import ComparisonSweeper

    tasks = {
        "a": {"dataset": "mfeat", "dataset.train_examples": 40},
        "b": {"dataset": "arrays", "dataset.path": "a b'.npz"},
        "left out": None,
    }
    sweeper = ComparisonSweeper(None, None, [], tasks)
    overrides = OverridesParser.create().parse_overrides(["mixer=none,powmix", "trainer.max_epochs=3"])
    [jobs] = sweeper.split_arguments(overrides, None)
    assert jobs == [
        [*task, f"mixer={mixer}", "trainer.max_epochs=3"]
        for task in (["dataset=mfeat", "dataset.train_examples=40"], ["dataset=arrays", r"dataset.path='a b\'.npz'"])
        for mixer in ("none", "powmix")
    ]
