"""The tables of benchmarks/README.md are those of figures.json, and say what is missing or missed."""

import json

import pytest

from benchmarks import table
from benchmarks.measure import alone, compare


def entry(key, *figures):
    return {key: {"command": table.ROWS[key].command, "lines": [json.loads(figure.line()) for figure in figures]}}


def row_of(page, key):
    return next(line for line in page if f"`{key}`" in line)


def test_the_readmes_tables_are_what_the_figures_say():
    text = table.PAGE.read_text("utf-8")
    assert table.page(text, table.figures()) == text, "python -m benchmarks.table writes them anew"


def test_every_figure_that_is_kept_was_taken_by_its_rows_own_command():
    assert json.loads(table.FIGURES.read_text("utf-8")).keys() <= table.ROWS.keys()
    for key, taken in table.figures().items():
        assert taken["command"].startswith(f"benchmarks.{table.ROWS[key].command} ".rstrip()), key


def test_a_row_says_its_ratio_its_spread_and_whether_it_reaches_what_is_wanted():
    found = compare("epoch/x", [2.0, 2.0, 2.0], [8.0, 6.0, 7.0], "cpu seconds per epoch", threads=1)
    written = row_of(table.work_table(entry("mult_aligned", found)), "mult_aligned")
    assert "| 3.5 (3 to 4) | 2 s | 7 (6 to 8) s | 3 | >= 3: reached |" in written
    found = compare("epoch/x", [4.0], [8.0], "cpu seconds per epoch", threads=1)
    assert ">= 3: missed" in row_of(table.work_table(entry("mult_aligned", found)), "mult_aligned")


def test_a_row_of_time_beside_training_must_stay_below_what_is_wanted():
    found = alone("search/x", [90.0, 110.0, 250.0], "wall milliseconds per trial", threads=1)
    assert "| 110 (90 to 250) ms |" in (written := row_of(table.work_table(entry("sweeper", found)), "sweeper"))
    assert "<= 200: reached" in written


def test_memory_is_said_in_gigabytes():
    found = compare("memory/x", [0.5e9], [2e9], "peak bytes", threads=1)
    assert "| 4 | 0.5 GB | 2 GB | 1 |" in row_of(table.work_table(entry("mult_memory", found)), "mult_memory")


def test_a_row_that_was_not_taken_says_so():
    assert "not taken" in row_of(table.work_table({}), "tfn_aligned")


def test_a_page_without_a_tables_markers_is_refused():
    with pytest.raises(AssertionError, match="one pair of markers for circumstances"):
        table.page("# Benchmarks", {})


def test_a_command_that_fails_says_what_it_said():
    with pytest.raises(RuntimeError, match="invalid int value: 'none'"):
        table.take(table.Row("", "sequential --comparisons none"), "cpu")
