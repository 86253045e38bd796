"""Cross-validation: runs that differ in their fold alone are one variant, paired by fold and seed."""

import pytest
import report_runs as fabricate

from powmix.command.sweeping import look
from powmix.metrics.statistics import student_interval
from powmix.report.__main__ import main
from powmix.report.building import build
from powmix.runs import collection
from powmix.runs.records import write_job, write_sweep

FOLDS, SEEDS = (0, 1, 2), (1, 2)


def write(root, mixer: str, gain: float = 0.0, folds=FOLDS, seeds=SEEDS, luck: float = 0.0):
    """Runs of a mixer on every fold; folds differ by much, pairs by `gain` and, up and down by seed, by `luck`."""
    runs = []
    for fold in folds:
        found = {seed: 0.8 + 0.1 * fold + 0.01 * seed - gain - 0.001 * gain * fold * seed for seed in seeds}
        found = {seed: error + luck * (-1) ** seed for seed, error in found.items()}
        config = {"dataset.folds": 3, "dataset.fold": fold}
        told = ("dataset.folds=3", f"dataset.fold={fold}")
        keys = ("MAE", "RMSE", "R2", "Corr", "Loss")
        runs.append(fabricate.write_run(root, mixer, found, "maec", "late_fusion", keys, config=config, overrides=told))
    return runs


def test_folds_are_one_row_with_the_mean_over_folds_and_seeds(tmp_path):
    write(tmp_path, "none")
    write(tmp_path, "powmix", 0.05)
    table = build(collection.read([tmp_path]).records)
    baseline, powmix = table.rows
    assert [row.label for row in table.rows] == ["no mixing", "PowMix"] and powmix.count == "6 (3 folds)"
    assert baseline.cells["MAE"].summary.mean == pytest.approx(0.8 + 0.1 + 0.015)
    gaps = [-0.05 - 0.00005 * fold * seed for fold in FOLDS for seed in SEEDS]
    comparison = powmix.cells["MAE"].comparison
    assert comparison.n == 6 and comparison.ci == pytest.approx(student_interval(gaps))
    assert not powmix.uneven and powmix.notes == ()
    [note] = table.notes
    assert "mean over 3 folds and their seeds, paired by fold and seed" in note


def test_a_fold_that_one_side_lacks_is_left_out_of_the_differences(tmp_path):
    write(tmp_path, "none", folds=(0, 2))
    write(tmp_path, "powmix", 0.05)
    row = build(collection.read([tmp_path]).records).rows[1]
    assert row.cells["MAE"].comparison.n == 4
    assert row.notes == ("compared on the 4 seed(s) that its baseline has too",)


def test_runs_without_folds_are_left_as_they_are(tmp_path):
    for fold in (0, 1):
        fabricate.write_run(tmp_path, "powmix", dataset="maec", config={"dataset.fold": fold})
    assert len(build(collection.read([tmp_path]).records).rows) == 2


def test_the_page_and_the_tables_hold_every_fold(tmp_path):
    write(tmp_path, "none")
    runs = write(tmp_path, "powmix", 0.05)
    assert main([str(tmp_path), "--out", str(tmp_path / "out"), "--figures", "comparison"]) == 0
    page, csv = ((tmp_path / "out" / name).read_text() for name in ("report.html", "table.csv"))
    assert all(run.name in page and run.name in csv for run in runs)
    assert "fold 2: 1" in page and "0/1 0/2 1/1 1/2 2/1 2/2" in csv


def test_seeds_are_added_to_every_fold_of_what_is_undecided(tmp_path):
    from omegaconf import OmegaConf

    folder = tmp_path / "sweeps/one"
    seeds = range(1111, 1117)
    for number, run in enumerate([*write(tmp_path, "none", seeds=seeds), *write(tmp_path, "powmix", seeds=seeds)]):
        write_job(folder / str(number), number=number, overrides=[], status="finished", run=f"../../runs/{run.name}")
    write_sweep(folder, name="one")
    until = OmegaConf.create({"seeds": 20, "effect": 1.0, "split": "test"})
    assert look(folder, until, 6) == set(), "equal on every seed is decided"
    write(tmp_path, "powmix", seeds=seeds, luck=0.05)
    assert look(folder, until, 6) == {0, 1, 2, 3, 4, 5}
