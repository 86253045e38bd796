"""Over tasks: the estimate against cases worked by hand, published ones, and by simulated coverage."""

import numpy as np
import pytest

from powmix.metrics.meta_analysis import shrunken

BCG = [
    -0.8893,
    -1.5854,
    -1.3481,
    -1.4416,
    -0.2175,
    -0.7861,
    -1.6209,
    0.0120,
    -0.4694,
    -1.3713,
    -0.3394,
    0.4459,
    -0.0173,
]
BCG_VARIANCES = [0.3256, 0.1946, 0.4154, 0.02, 0.0512, 0.0069, 0.223, 0.004, 0.0564, 0.073, 0.0124, 0.5325, 0.0714]


def test_with_equal_errors_tau_is_what_the_spread_of_the_effects_leaves():
    found = shrunken([1.0, 3.0, 5.0, 7.0], [1.0] * 4)
    assert found.overall == pytest.approx(4.0)
    assert found.tau**2 == pytest.approx(20 / 3 - 1, rel=1e-5), "the effects' variance less the errors'"
    half = 3.182446 * np.sqrt(20 / 3 / 4)
    assert found.interval == pytest.approx((4 - half, 4 + half), rel=1e-5)


def test_the_bcg_trials_come_out_as_published():
    """13 trials of the BCG vaccine (Colditz et al. 1994), log risk ratios; estimates as R's metafor documents them."""
    found = shrunken(BCG, np.sqrt(BCG_VARIANCES))
    assert found.tau**2 == pytest.approx(0.3132, abs=1e-4)
    assert found.overall == pytest.approx(-0.7145, abs=1e-4)
    assert found.interval == pytest.approx((-1.1084, -0.3206), abs=2e-4)


def test_a_task_is_drawn_towards_the_others_the_more_the_less_is_known_of_it():
    found = shrunken([0.0, 0.0, 0.1, 2.0, 2.0], [0.1, 0.1, 0.1, 0.1, 2.0])
    precise, vague = found.means[3], found.means[4]
    assert found.overall < vague < precise < 2.0
    assert found.intervals[4][1] - found.intervals[4][0] < 2 * 1.96 * 2.0, "the others narrow what is known of it"


def test_effects_that_agree_leave_no_difference_between_tasks():
    found = shrunken([0.5, 0.5, 0.5], [1.0, 1.0, 2.0])
    assert (found.tau, found.overall) == (0.0, 0.5)
    assert found.means == pytest.approx((0.5, 0.5, 0.5))
    assert found.interval[1] - 0.5 == pytest.approx(4.302653 / np.sqrt(2.25))


def test_units_and_order_do_not_matter():
    effects, errors = [0.1, 0.5, -0.2, 0.9], [0.1, 0.3, 0.2, 0.4]
    found = shrunken(effects, errors)
    scaled = shrunken([100 * e for e in reversed(effects)], [100 * e for e in reversed(errors)])
    assert scaled.means == pytest.approx([100 * m for m in reversed(found.means)], rel=1e-5)
    assert (scaled.tau, scaled.overall) == pytest.approx((100 * found.tau, 100 * found.overall), rel=1e-5)


@pytest.mark.parametrize("tau", [0.0, 1.0, 3.0])
def test_intervals_hold_the_truth_nineteen_times_of_twenty_and_shrinking_is_closer_to_it(tau):
    rng, count, tasks = np.random.default_rng(3), 300, 8
    overall, inside, shrunk_error, raw_error = 0, 0, 0.0, 0.0
    for _ in range(count):
        error_T = rng.uniform(0.3, 2, tasks)
        true_T = 0.5 + tau * rng.normal(size=tasks)
        y_T = true_T + error_T * rng.normal(size=tasks)
        found = shrunken(y_T, error_T)
        low_T, high_T = np.array(found.intervals).T
        overall += found.interval[0] < 0.5 < found.interval[1]
        inside += ((low_T < true_T) & (true_T < high_T)).mean()
        shrunk_error += float(((np.array(found.means) - true_T) ** 2).mean())
        raw_error += float(((y_T - true_T) ** 2).mean())
    assert overall / count > 0.92 and inside / count > 0.92
    assert shrunk_error < raw_error


@pytest.mark.parametrize(
    ("effects", "errors"), [([1.0, 2.0], [1.0, 1.0]), ([1.0, 2.0, 3.0], [1.0, 1.0]), ([1.0, 2.0, 3.0], [1.0, 0.0, 1.0])]
)
def test_too_few_tasks_and_errors_of_nothing_are_refused(effects, errors):
    with pytest.raises(ValueError, match="shrunken"):
        shrunken(effects, errors)
