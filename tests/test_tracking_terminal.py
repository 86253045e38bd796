"""What the terminal says of work that was done before, and of a search at its end."""

import io
import json
import logging
import os
import re
import sys

import pytest
from report_runs import errors, write_run

from powmix.command.sweep_progress import SweepProgress, time_left
from powmix.runs.identity import sweep_tag
from powmix.runs.records import write_job, write_sweep
from powmix.tracking.bars import ProgressBars, QuietLines
from powmix.tracking.sweep_summary import summarise
from powmix.tracking.trial_table import write_trials

RECORD = {"validation": {"MAE": 0.5}, "test": {"MAE": 0.6}, "epochs": 3, "best_epoch": 2, "seconds": 1.0}


@pytest.fixture
def search(tmp_path):
    """A search of three trials over p_mix, the second the best, and a fourth that failed."""
    folder = tmp_path / "sweeps" / "search"
    write_sweep(folder, name="search", search=True)
    for number, (p_mix, mean) in enumerate(((0.3, 0.9), (0.58123456, 0.7), (0.9, 0.8), (0.1, None))):
        told = ["seeds=5", f"mixer.p_mix={p_mix}"]
        run = mean and write_run(tmp_path, "powmix", errors(mean), config={"mixer.p_mix": p_mix}, overrides=tuple(told))
        where = run and os.path.relpath(run, folder)
        write_job(
            folder / str(number), number=number, overrides=told, status="finished" if run else "failed", run=where
        )
    return folder


def test_a_search_ends_in_its_trials_by_validation_and_shows_no_test_metric(search):
    head, first, second, third, unfinished, failed, last = write_trials(search).splitlines()
    assert head.split() == ["trial", "validation", "MAE", "std", "seeds", "mixer.p_mix"]
    assert [line.split()[0] for line in (first, second, third)] == ["1", "2", "0"]
    assert first.split()[-1] == "0.5812" and float(first.split()[1]) == pytest.approx(0.7, abs=0.05)
    assert unfinished == "Not finished (1):" and failed.startswith("- search job 3: seeds=5 mixer.p_mix=0.1: failed")
    assert last.startswith("The best trial's test metrics, on demand: powmix-report ")
    assert "0.58123456" in (search / "trials.csv").read_text()


def test_trackers_keep_of_a_search_its_trials_alone(search):
    kept = summarise(search)
    assert kept.columns[:2] == ("trial", "validation MAE") and [row[0] for row in kept.rows] == [1, 2, 0]
    assert not kept.pictures and not kept.sentences


def test_a_seed_of_an_earlier_command_is_said_to_be_finished_already(caplog):
    lines = QuietLines("a/b/c", "MAE")
    with caplog.at_level(logging.INFO, "powmix"):
        lines.on_seed_end(7, RECORD)
        lines.on_seed_start(8, 3)
        lines.on_seed_end(8, RECORD)
    assert caplog.messages[0].startswith("a/b/c seed 7: already finished: MAE validation 0.500")
    assert caplog.messages[1].startswith("a/b/c seed 8: MAE validation 0.500")


def test_seeds_in_workers_have_one_bar_that_counts_them():
    bars = ProgressBars("a/b/c", "MAE")
    bars.on_workers_start([7, 8])
    bars.on_seed_end(7, RECORD)
    [bar] = bars.progress.tasks
    assert (bar.completed, bar.total) == (1, 2) and not bar.finished
    bars.on_seed_end(8, RECORD)
    assert bar.finished
    bars.close("finished")
    assert not bars.progress.tasks


def test_a_job_whose_seeds_were_finished_before_its_sweep_is_said_to_be_finished_already(tmp_path, caplog):
    run = write_run(tmp_path, "none", {1111: 0.8})
    (run / "seed_1111").mkdir()
    (run / "seed_1111/result.json").write_text('{"status": "finished"}')
    os.utime(run / "seed_1111/result.json", (1, 1))
    folder = tmp_path / "sweeps/one"
    with caplog.at_level(logging.INFO, "powmix"), SweepProgress(folder, ["mixer=none"], [[1111]]):
        write_job(folder / "0", number=0, overrides=[], status="finished", run=os.path.relpath(run, folder))
    assert caplog.messages[-1].startswith("mixer=none: already finished: validation MAE 0.800, 1 seed")


class Terminal(io.StringIO):
    def isatty(self):
        return True

    def shown(self) -> list[str]:
        """What stood on it, a line each, without colours."""
        return re.sub(r"\x1b\[[\d;?]*[A-Za-z]", "", self.getvalue()).replace("\r", "\n").splitlines()


def watched(monkeypatch) -> Terminal:
    """A terminal before which someone sits; called in the test, for pytest sets stderr anew after fixtures."""
    made = Terminal()
    for name, value in {"TERM": "xterm", "COLUMNS": "120"}.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(sys, "stderr", made)
    return made


def finish(run, seed):
    (run / f"seed_{seed}").mkdir()
    (run / f"seed_{seed}/result.json").write_text(json.dumps({"status": "finished"}))


def test_one_bar_counts_the_variants_that_ended_and_the_seeds_of_all_and_says_the_time_left(tmp_path, monkeypatch):
    terminal = watched(monkeypatch)
    none, powmix = (write_run(tmp_path, mixer, {1: 0.8, 2: 0.9}) for mixer in ("none", "powmix"))
    folder = tmp_path / "sweeps/two"

    def job(number, run, status):
        write_job(folder / str(number), number=number, overrides=[], status=status, run=os.path.relpath(run, folder))

    with SweepProgress(folder, ["mixer=none", "mixer=powmix"], [[1, 2], [1, 2]]):
        job(0, none, "running")
        finish(none, 1)
        job(1, powmix, "running")
        finish(none, 2)
        job(0, none, "finished")
        finish(powmix, 1)
    last = [line for line in terminal.shown() if "seeds" in line and "variants" in line][-1]
    assert "1 of 2 variants" in last and "3/4 seeds" in last
    assert re.search(r"\d:\d\d:\d\d left", last)
    assert any(line.startswith("mixer=none: validation MAE 0.850") for line in terminal.shown())


def test_the_time_left_is_the_pace_of_the_seeds_that_were_finished_times_those_that_are_not():
    assert time_left([], began=1000.0, now=1050.0, count=4) is None
    assert time_left([1060.0], began=1000.0, now=1060.0, count=3) == 180.0
    assert time_left([1060.0, 1100.0], began=1000.0, now=1100.0, count=2) == 100.0
    assert time_left([1060.0, 1100.0], began=1000.0, now=1130.0, count=2) == 70.0  # while the next one is on its way
    assert time_left([1060.0], began=1000.0, now=9999.0, count=1) == 0.0
    assert time_left([1600.0, 2200.0], began=1000.0, now=2200.0, count=1) == 600.0  # seeds of ten minutes


def test_seeds_of_an_earlier_command_count_as_done_but_not_for_the_pace(tmp_path, monkeypatch):
    terminal = watched(monkeypatch)
    run = write_run(tmp_path, "none", {1: 0.8, 2: 0.9})
    for seed in (1, 2):
        finish(run, seed)
        os.utime(run / f"seed_{seed}/result.json", (1, 1))
    folder = tmp_path / "sweeps/one"
    with SweepProgress(folder, ["mixer=none"], [[1, 2, 3]]):
        write_job(folder / "0", number=0, overrides=[], status="running", run=os.path.relpath(run, folder))
    last = [line for line in terminal.shown() if "variants" in line][-1]
    assert "0 of 1 variants" in last and "2/3 seeds" in last and "left" not in last


def test_a_long_sweeps_tag_is_as_long_as_trackers_take_and_its_own():
    first, second = sweep_tag("x" * 80), sweep_tag("x" * 79 + "y")
    assert len(first) == len(second) == 64 and first != second
    assert sweep_tag("table3") == "table3"
