"""Which source of randomness limits a comparison, by runs whose seeds vary one source at a time."""

import numpy as np
import pytest
from report_runs import write_run
from scipy.stats import chi2

from powmix.report import variance
from powmix.report.building import build
from powmix.report.comparison import compare
from powmix.report.figures import variance_sources
from powmix.runs import collection

SEEDS = range(1111, 1123)


def table_of(tmp_path, moves):
    """moves: {source, None for everything: (how far both sides move with a seed, how far PowMix moves beside that)}."""
    folders = []
    for number, (source, (together, apart)) in enumerate(moves.items()):
        rng = np.random.default_rng(number)
        common, own = rng.normal(size=(2, len(SEEDS)))
        for mixer in ("none", "powmix"):
            errors = 0.8 + together * common + (apart * own if mixer == "powmix" else 0)
            varied = {"vary": source and [source]}
            folder = write_run(tmp_path, mixer=mixer, errors=dict(zip(SEEDS, errors.tolist())), config=varied)
            folders.append(folder)
    return collection.read(folders), build(collection.read(folders).records, "MAE")


def test_what_moves_both_sides_alike_does_not_limit_their_comparison(tmp_path):
    found, table = table_of(tmp_path, {None: (0.1, 0.03), "split": (0.1, 0.001), "init": (0.02, 0.03)})
    [study] = variance.studies(table)
    by_name = {source.name: source for source in study.sources}
    assert list(by_name) == ["everything", "split", "init"]
    assert by_name["split"].baseline.std > 2 * by_name["init"].baseline.std
    assert [source.name for source in study.alone()] == ["init", "split"]
    [sentence] = variance.sentences(table)
    assert "The widest is initial weights: 100% of the sum" in sentence and "not told apart" not in sentence
    told = compare(found, table)
    assert sentence in told
    assert told.count("against no mixing, 95% CI") == 1  # a verdict where seeds varied everything, and nowhere else


def test_sources_that_are_close_are_not_told_apart(tmp_path):
    _, table = table_of(tmp_path, {"split": (0.1, 0.03), "init": (0.02, 0.03)})
    assert "not told apart from" in variance.sentences(table)[0]


def test_a_source_that_changes_nothing_has_no_spread_and_is_drawn(tmp_path):
    _, table = table_of(tmp_path, {"split": (0.0, 0.0), "init": (0.0, 0.0)})
    assert "none of the sources that were varied changes anything" in variance.sentences(table)[0]
    assert len(variance_sources.draw(table).axes) == 2


def test_the_interval_of_a_standard_deviation_is_that_of_chi_square():
    values = [0.1, 0.5, 0.2, 0.9, 0.4]
    found = variance.spread(values)
    assert found.std == pytest.approx(np.std(values, ddof=1))
    bounds = [found.std * (4 / chi2.ppf(p, 4)) ** 0.5 for p in (0.975, 0.025)]
    assert found.interval == pytest.approx(bounds)


def test_each_task_is_told_of_in_its_own_metric(tmp_path):
    keys = ("Accuracy", "Weighted_F1", "Loss")
    rng = np.random.default_rng(0)
    for source in ("split", "init"):
        for mixer in ("none", "powmix"):
            errors = dict(zip(SEEDS, (0.8 + 0.05 * rng.normal(size=len(SEEDS))).tolist()))
            scores = {seed: dict.fromkeys(keys, value) for seed, value in errors.items()}
            write_run(tmp_path, mixer, errors=errors, config={"vary": [source]})
            own = {"dataset": "mfeat", "model": "late_fusion", "keys": keys}
            write_run(tmp_path, mixer, scores=scores, config={"vary": [source]}, **own)
    table = build(collection.read([tmp_path]).records)
    assert {study.metric.key for study in variance.studies(table)} == {"MAE", "Accuracy"}
    assert sorted("test MAE" in text for text in variance.sentences(table)) == [False, True]
    figure = variance_sources.draw(table)
    assert {axes.get_xlabel() for axes in figure.axes} >= {"std of test MAE over seeds", "std of test Acc over seeds"}


def test_ordinary_runs_are_no_study_of_variance(tmp_path):
    _, table = table_of(tmp_path, {None: (0.1, 0.03)})
    assert variance.studies(table) == [] and variance_sources.draw(table) is None
