"""Stopping by an e-process: its formula, its errors under any stopping rule, its speed; all by simulation."""

import sys

import numpy as np
import pytest
from scipy import integrate, stats

from benchmarks import sequential as command
from benchmarks.sequential import LAWS, MOST, significant, stops
from powmix.metrics.sequential import Sequential, e_values, intervals
from powmix.metrics.statistics import seeds_needed

COMPARISONS = 2000


def ever(found_RN: np.ndarray, first: int = 3) -> float:
    """The share of comparisons in which it is found at any look from `first` seeds to MOST."""
    return float(found_RN[:, first - 1 :].any(axis=1).mean())


def null(law: str = "normal", count: int = COMPARISONS) -> np.ndarray:
    return LAWS[law](np.random.default_rng(7), count)


@pytest.mark.parametrize("effect", [0.5, 1.0])
def test_an_e_value_is_the_ratio_of_the_t_statistics_densities_averaged_over_effects(effect):
    d_N = np.random.default_rng(0).normal(0.6, 1, 12)
    for n in (2, 5, 12):
        t = stats.ttest_1samp(d_N[:n], 0).statistic
        averaged, _ = integrate.quad(
            lambda e, n=n, t=t: stats.nct.pdf(t, n - 1, e * np.sqrt(n)) * stats.norm.pdf(e, 0, effect), -6, 6, limit=200
        )
        assert e_values(d_N, effect)[n - 1] == pytest.approx(averaged / stats.t.pdf(t, n - 1), rel=1e-6)


def test_an_e_value_reaches_one_over_alpha_where_the_interval_leaves_out_zero():
    d_RN = np.random.default_rng(1).normal(0.5, 1, (200, MOST))
    low_RN, high_RN = intervals(d_RN, 1.0)
    assert (((low_RN > 0) | (high_RN < 0)) == (e_values(d_RN, 1.0) > 20)).all()
    assert np.isinf(high_RN[:, :4]).all(), "four seeds never decide"


def test_e_values_and_intervals_know_no_unit_and_move_with_the_mean():
    d_N = np.random.default_rng(2).normal(0.3, 1, 20)
    np.testing.assert_allclose(e_values(1000 * d_N, 1.0), e_values(d_N, 1.0))
    np.testing.assert_allclose(np.array(intervals(d_N + 5, 1.0)), np.array(intervals(d_N, 1.0)) + 5)
    np.testing.assert_allclose(np.array(intervals(3 * d_N, 1.0)), 3 * np.array(intervals(d_N, 1.0)))


@pytest.mark.parametrize(
    "law", ["normal", "Student's t, 3 degrees of freedom", "normal, rounded to whole standard deviations"]
)
def test_peeking_after_every_seed_decides_wrongly_less_than_one_time_in_twenty(law):
    low_RN, high_RN = intervals(null(law), 1.0)
    assert ever((low_RN > 0) | (high_RN < 0)) < 0.05
    assert ever(significant(null(law))) > 0.2, "the same looks at a t-test"


def test_skewed_differences_break_the_guarantee_as_the_docs_say():
    low_RN, high_RN = intervals(null("skewed (exponential)"), 1.0)
    assert 0.05 < ever((low_RN > 0) | (high_RN < 0)) < ever(significant(null("skewed (exponential)")))


@pytest.mark.parametrize("effect", [0.5, 1.0, 1.5])
def test_the_sequence_holds_the_true_mean_at_all_times_at_once(effect):
    low_RN, high_RN = intervals(null() + 3.0, effect)
    assert ever((low_RN > 3.0) | (high_RN < 3.0), first=1) < 0.05


@pytest.mark.parametrize(("true", "most"), [(0.5, 40), (1.0, 15), (1.5, 10)])
def test_it_costs_little_more_than_a_t_test_of_the_right_size(true, most):
    n_R, decided_R = stops(null() + true, Sequential())
    assert (decided_R == -1).mean() < 0.01
    assert (decided_R == 1).mean() > 0.75
    assert seeds_needed(true, 1.0) < n_R.mean() < most


def test_a_difference_of_the_region_is_seldom_called_none_and_none_is_called_so():
    plan = Sequential(region=1.0)
    assert (stops(null() + 1.0, plan)[1] == 0).mean() < 0.05
    assert (stops(null(), plan)[1] == 0).mean() > 0.9


def test_a_look_is_what_the_simulation_counts():
    d_RN, plan = null(count=200) + 0.7, Sequential(region=0.5)
    words = {1.0: "better", -1.0: "worse", 0.0: "same"}
    for d_N, n, decided in zip(d_RN, *stops(d_RN, plan)):
        found = plan.look(list(d_N))
        assert (found.n, found.decision) == (n, words.get(decided, "undecided"))


def test_a_decision_is_symmetric_and_is_not_undone_by_later_seeds():
    d_N = [0.9, 1.1, 1.0, 0.8, 1.2, 1.0]
    plan = Sequential()
    found = plan.look(d_N)
    assert (found.decision, plan.look(d_N, higher_is_better=False).decision) == ("better", "worse")
    assert plan.look([-d for d in d_N]).decision == "worse"
    assert plan.look([*d_N, -9.0, 5.0, -7.0]) == found
    assert found.interval[0] > 0 and found.e_value > 20


def test_it_goes_on_until_it_is_decided_or_has_as_many_seeds_as_allowed():
    plan = Sequential(most=8)
    strong, weak = [1.0, 1.1, 0.9, 1.0, 1.05, 0.95, 1.0, 1.1], [1.0, -1.0] * 4
    assert [plan.finished(strong[:n]) for n in range(1, 9)] == [False] * 4 + [True] * 4
    assert [plan.finished(weak[:n]) for n in range(1, 9)] == [False] * 7 + [True]
    assert plan.look(weak).decision == "undecided" and plan.look(weak).n == 8


def test_equal_seeds_differ_by_nothing_and_constant_differences_are_decided():
    assert Sequential().look([0.0] * 5).decision == "same"
    assert Sequential().look([0.0] * 4).decision == "undecided"
    assert Sequential().look([0.25] * 5).decision == "better"


def test_the_command_prints_the_tables_that_the_docs_show(monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", ["sequential", "--comparisons", "100"])
    command.main()
    tables = [text.splitlines() for text in capsys.readouterr().out.strip().split("\n\n")]
    assert [len(lines) - 2 for lines in tables] == [len(LAWS), 3, 3, 12, 4]
    assert all(len({line.count("|") for line in lines}) == 1 for lines in tables)
