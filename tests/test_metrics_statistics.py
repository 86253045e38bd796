"""Statistics over seeds, against scipy and cases worked by hand."""

import numpy as np
import pytest
from scipy import stats

from powmix.metrics import statistics


def test_summary_uses_ddof_1_and_has_no_spread_for_one_seed():
    found = statistics.summarise([1.0, 2.0, 3.0, 6.0])
    assert (found.n, found.mean) == (4, 3.0)
    assert found.std == pytest.approx(np.sqrt(14 / 3))
    assert found.ci is not None and found.ci[0] < 3.0 < found.ci[1]
    alone = statistics.summarise([0.5])
    assert alone.std is None and alone.ci is None
    with pytest.raises(ValueError, match="no values"):
        statistics.summarise([])


def test_bootstrap_interval_is_scipys_and_repeats():
    values = [0.81, 0.83, 0.79, 0.86, 0.84]
    low, high = statistics.bootstrap_interval(values)
    assert (low, high) == statistics.bootstrap_interval(values)
    rng = np.random.default_rng(0)
    means = np.sort(rng.choice(values, (20_000, 5)).mean(axis=1))
    assert low == pytest.approx(means[500], abs=0.003)
    assert high == pytest.approx(means[19_500], abs=0.003)
    assert statistics.bootstrap_interval([0.5, 0.5, 0.5]) == (0.5, 0.5)
    assert statistics.bootstrap_interval([0.5, 0.6]) is None


def test_comparison_pairs_by_seed_and_ignores_seeds_of_one_side():
    variant = {1: 0.80, 2: 0.90, 3: 0.70, 9: 0.10}
    baseline = {1: 0.85, 2: 0.91, 3: 0.76, 7: 5.0}
    found = statistics.compare(variant, baseline, higher_is_better=False)
    d_N = np.array([-0.05, -0.01, -0.06])
    assert found.n == 3
    assert found.difference == pytest.approx(d_N.mean())
    expected = stats.t.interval(0.95, 2, d_N.mean(), stats.sem(d_N))
    assert found.ci == pytest.approx(expected)
    assert found.p_t == pytest.approx(stats.ttest_rel([0.80, 0.90, 0.70], [0.85, 0.91, 0.76]).pvalue)
    assert found.wins == 3
    assert statistics.compare({1: 0.5}, {2: 0.5}, True) is None


def test_interval_excludes_zero_exactly_where_the_t_test_is_significant():
    rng = np.random.default_rng(5)
    for _ in range(50):
        d_N = rng.normal(0.5, 1.0, 6)
        low, high = statistics.student_interval(d_N)
        assert (low > 0 or high < 0) == (statistics.paired_t(d_N) < 0.05)


def test_wilcoxon_agrees_with_scipy_and_needs_six_pairs():
    d_N = [0.1, 0.2, 0.3, -0.05, 0.4, 0.5]
    assert statistics.wilcoxon(d_N) == pytest.approx(stats.wilcoxon(d_N).pvalue)
    assert statistics.wilcoxon([0.1, 0.2, 0.3, 0.4, 0.5, 0.6]) == pytest.approx(2 / 2**6)
    assert statistics.wilcoxon(d_N[:5]) is None
    assert statistics.wilcoxon([0.0] * 6) == 1.0


def test_too_few_seeds_are_said_instead_of_a_p_value():
    one = statistics.compare({1: 0.8}, {1: 0.9}, False)
    assert one.p_t is None and one.p_wilcoxon is None and one.ci is None
    assert one.reason == "1 paired seed: too few for an interval or a test (at least 3)"
    five = statistics.compare(dict(enumerate(range(5))), dict(enumerate([0, 0, 0, 0, 1])), True)
    assert five.p_t is not None and five.p_wilcoxon is None
    assert "0.0625" in five.reason
    assert statistics.too_few(6) is None


def test_identical_runs_differ_by_nothing_and_a_constant_difference_has_no_t_test():
    same = statistics.compare({1: 0.5, 2: 0.6, 3: 0.7}, {1: 0.5, 2: 0.6, 3: 0.7}, True)
    assert (same.difference, same.ci, same.p_t, same.wins, same.probability) == (0.0, (0.0, 0.0), 1.0, 1.5, 0.5)
    assert statistics.paired_t([0.25, 0.25, 0.25]) is None


def test_probability_of_improvement_is_mann_whitneys_u():
    x, y = [0.7, 0.8, 0.9], [0.75, 0.8]
    expected = stats.mannwhitneyu(x, y).statistic / 6
    assert statistics.probability_of_improvement(x, y, higher_is_better=True) == pytest.approx(expected)
    assert statistics.probability_of_improvement(x, y, higher_is_better=False) == pytest.approx(1 - expected)


def test_holm_by_hand_untested_cells_do_not_count():
    assert statistics.holm([0.01, None, 0.04, 0.03]) == [
        pytest.approx(0.03),
        None,
        pytest.approx(0.06),
        pytest.approx(0.06),
    ]
    assert statistics.holm([0.9, 0.8]) == [1.0, 1.0]
    assert statistics.holm([None]) == [None]


def test_the_mean_is_shown_to_lie_within_a_region_where_both_one_sided_tests_are_significant():
    rng = np.random.default_rng(1)
    answers = set()
    for _ in range(40):
        d_N = rng.normal(0.02, 0.1, 12)
        found = statistics.compare(dict(enumerate(d_N)), dict.fromkeys(range(12), 0.0), True)
        above = stats.ttest_1samp(d_N, -0.08, alternative="greater").pvalue
        below = stats.ttest_1samp(d_N, 0.08, alternative="less").pvalue
        assert found.within(0.08) == (max(above, below) < 0.05)
        answers.add(found.within(0.08))
    assert answers == {True, False}
    assert not statistics.compare({1: 0.5}, {1: 0.5}, True).within(1.0)


@pytest.mark.parametrize(("difference", "region"), [(0.0, 1.0), (0.4, 1.0), (-0.4, 1.0)])
def test_the_seeds_that_show_equality_do_so_in_four_of_five_simulated_comparisons(difference, region):
    n = statistics.seeds_to_equate(difference, 1.0, region)
    d_RN = np.random.default_rng(2).normal(difference, 1.0, (20_000, n))
    for count, bar in ((n, 0.79), (n - 1, 0.0)):
        x_RN = d_RN[:, :count]
        half_R = stats.t.ppf(0.95, count - 1) * x_RN.std(axis=1, ddof=1) / np.sqrt(count)
        shown = float((np.abs(x_RN.mean(axis=1)) + half_R < region).mean())
        assert bar < shown < 0.9
    assert shown < 0.81, "one seed fewer has less than the power asked for"
    assert statistics.seeds_to_equate(1.0, 1.0, 1.0) == float("inf")


def test_a_stricter_level_needs_more_seeds():
    assert statistics.seeds_needed(0.5, 1.0) == 34
    assert statistics.seeds_needed(0.5, 1.0, 0.05 / 18) > 50
