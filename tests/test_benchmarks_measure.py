"""What a benchmark's figure means."""

import json
from functools import partial

import pytest
import torch

from benchmarks.measure import Range, Worker, alone, built, compare, interleave


def test_the_ratio_is_the_median_of_the_pairs_own_ratios():
    figure = compare("x", ours=[1.0, 2.0, 4.0], reference=[3.0, 2.0, 20.0], unit="s", threads=1)
    assert (figure.ours, figure.reference) == (Range(1.0, 2.0, 4.0), Range(2.0, 3.0, 20.0))
    assert figure.ratio == Range(1.0, 3.0, 5.0)
    line = json.loads(figure.line())
    assert line["ratio"] == {"min": 1.0, "median": 3.0, "max": 5.0}
    assert line["machine"]["torch"] == torch.__version__


def test_what_is_compared_with_nothing_has_no_ratio():
    figure = alone("x", [3.0, 1.0], "s", threads=1, floor=0.5)
    assert (figure.ours, figure.ratio, figure.repeats, figure.notes) == (Range(1.0, 2.0, 3.0), None, 2, {"floor": 0.5})


def holding(megabytes):
    """Work that holds so much memory for a moment."""
    return lambda: torch.ones(megabytes, 2**18).sum()


@pytest.mark.slow
def test_each_side_has_a_peak_of_its_own():
    small, large = built([Worker(partial(holding, size), threads=1, clock="cpu") for size in (1, 300)])
    grown = [worker.measure()[1] - worker.before for worker in (small, large)]
    assert grown[0] < 50e6 and grown[1] == pytest.approx(300 * 2**20, rel=0.15)
    assert [len(side) for side in interleave(small, large, repeats=2)] == [2, 2]
    small.close(), large.close()
