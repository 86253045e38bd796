"""Searches as users run them: processes that are killed, interrupted, continued, and that share one study."""

import os
import signal
import time
from pathlib import Path

import commands
import optuna
import pytest
from commands import Command
from optuna.trial import TrialState

from powmix.search.storage import load_study
from powmix.search.trials import status_of

APP = Path(__file__).with_name("search_app.py")
SPACE = "x=interval(0.0,1.0)"


def start(folder: Path, *overrides: str) -> Command:
    return commands.start(folder, APP, SPACE, *overrides, HYDRA_FULL_ERROR="0")


def run(folder: Path, *overrides: str, expect: int = 0) -> str:
    return commands.run(folder, APP, SPACE, *overrides, expect=expect, HYDRA_FULL_ERROR="0")


def trials(folder: Path, storage: str | None = None) -> list[optuna.trial.FrozenTrial]:
    return load_study(storage or str(folder / "sweep" / "study.journal"), "sweep").get_trials()


def wait_for(condition, process: Command | None = None) -> None:
    deadline = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < deadline, "waited 60 s in vain"
        assert process is None or process.poll() is None, process.communicate()[0]
        time.sleep(0.02)


def lines(folder: Path, name: str) -> dict[int, list[str]]:
    """For each trial folder the lines its jobs wrote into the file `name`."""
    return {int(path.parent.name): path.read_text().splitlines() for path in (folder / "sweep").glob(f"*/{name}")}


def pids(folder: Path) -> set[int]:
    """The processes in which jobs were started."""
    return {int(start.split()[0]) for starts in lines(folder, "started").values() for start in starts}


def assert_each_once(folder: Path, total: int, storage: str | None = None) -> None:
    found = trials(folder, storage)
    assert [trial.number for trial in found] == list(range(total))
    assert {trial.state for trial in found} == {TrialState.COMPLETE}
    assert len({trial.params["x"] for trial in found}) == total
    assert sorted(lines(folder, "finished")) == list(range(total))
    # A process killed between the end of a job and telling the study leaves a job that is run again.
    ends = {number: len(texts) for number, texts in lines(folder, "finished").items()}
    assert all(ends[trial.number] <= 1 + trial.user_attrs.get("deaths", 0) for trial in found)


@pytest.mark.parametrize("storage", [None, pytest.param("sqlite:///study.db", marks=pytest.mark.slow)])
def test_a_search_killed_twice_and_continued_runs_each_trial_to_its_end_once(tmp_path, storage):
    command = ["hydra.sweeper.n_trials=6", "seconds=0.15", *([f"hydra.sweeper.storage={storage}"] if storage else [])]
    for reached in (1, 3):
        process = start(tmp_path, *command)
        wait_for((tmp_path / "sweep" / str(reached) / "started").exists, process)
        process.kill()
        process.communicate()
    text = run(tmp_path, *command)
    assert_each_once(tmp_path, 6, storage and f"sqlite:///{tmp_path}/study.db")
    assert "best: trial" in text and "folder: sweep/" in text and "rerun:  powmix seconds=0.15 x=" in text
    restarted = {number: starts for number, starts in lines(tmp_path, "started").items() if len(starts) > 1}
    for starts in restarted.values():
        assert len({start.split()[1] for start in starts}) == 1, "a trial asked again keeps its parameters"


def test_the_same_command_after_the_end_runs_nothing_and_a_larger_total_only_the_rest(tmp_path):
    run(tmp_path, "hydra.sweeper.n_trials=2")
    run(tmp_path, "hydra.sweeper.n_trials=2")
    assert_each_once(tmp_path, 2)
    run(tmp_path, "hydra.sweeper.n_trials=3")
    assert_each_once(tmp_path, 3)


def test_three_processes_share_one_study_and_one_of_them_is_killed(tmp_path):
    command = ["hydra.sweeper.n_trials=9", "seconds=0.2"]
    processes = [start(tmp_path, *command) for _ in range(3)]
    wait_for(lambda: processes[0].pid in pids(tmp_path))
    processes[0].kill()
    for process in processes:
        text, _ = process.communicate(timeout=120)
        assert process.returncode == (-signal.SIGKILL if process is processes[0] else 0), text
    assert_each_once(tmp_path, 9)
    assert pids(tmp_path) >= {process.pid for process in processes}


def test_an_interrupted_search_gives_its_trial_back_and_continues(tmp_path):
    command = ["hydra.sweeper.n_trials=3", "hydra.sweeper.ignored=[hydra,trial,seconds]"]
    process = start(tmp_path, *command, "seconds=30")
    wait_for((tmp_path / "sweep" / "0" / "started").exists, process)
    process.send_signal(signal.SIGINT)
    text, _ = process.communicate(timeout=60)
    assert process.returncode != 0 and "the same command continues" in text
    assert trials(tmp_path)[0].state == TrialState.WAITING
    run(tmp_path, *command, "seconds=0")
    assert_each_once(tmp_path, 3)


def test_failed_nan_and_pruned_trials_are_told_apart_and_cost_one_trial_each(tmp_path):
    text = run(tmp_path, "hydra.sweeper.n_trials=5", "raise_at=[0]", "nan_at=[1]", "prune_at=[2]")
    found = trials(tmp_path)
    assert [status_of(trial) for trial in found] == ["failed", "nan", "pruned", "complete", "complete"]
    assert [trial.state.name for trial in found] == ["FAIL", "FAIL", "PRUNED", "COMPLETE", "COMPLETE"]
    assert "ArithmeticError: told to fail" in found[0].user_attrs["error"]
    assert "2 complete, 1 failed, 1 nan, 1 pruned" in text


def test_a_changed_search_is_refused_with_the_difference(tmp_path):
    run(tmp_path, "hydra.sweeper.n_trials=1", "n=8")
    text = run(tmp_path, "hydra.sweeper.n_trials=2", "x=interval(0.0,0.5)", "n=9", expect=1)
    assert "x: was Float(" in text and "high=1.0" in text and "high=0.5" in text and "n: was 8, now 9" in text
    assert len(trials(tmp_path)) == 1
    text = run(tmp_path, "hydra.sweeper.n_trials=2", "n=8", "+hydra.sweeper.warm_start.first=['x=0.5']", expect=1)
    assert "warm_start.first: was absent, now ['x=0.5']" in text


@pytest.mark.slow
def test_a_search_says_whether_not_mixing_was_beaten_also_after_a_kill_and_with_several_processes(tmp_path):
    command = ["hydra.sweeper.n_trials=6", "n=64", "seconds=0.3", "+hydra.sweeper.warm_start.baseline=['n=9999']"]
    processes = [start(tmp_path, *command) for _ in range(2)]
    wait_for(lambda: len(lines(tmp_path, "started")) > 1)
    for process in processes:
        process.kill()
        process.communicate()
    texts = [process.communicate(timeout=120)[0] for process in [start(tmp_path, *command) for _ in range(2)]]
    for text in [*texts, run(tmp_path, *command)]:
        assert "search sweep: 6 trials: 6 complete" in text
        assert "not mixing: trial 0, " in text and "the best trial is better by " in text
    assert {trial.state for trial in trials(tmp_path)[1:]} == {TrialState.COMPLETE}
    baseline = trials(tmp_path)[0].user_attrs
    assert baseline["value"] > 9, "kept beside: its parameters are not in the space"
    assert (baseline["label"], baseline["overrides"]) == ("baseline", ["n=9999"]), "what optuna-dashboard shows of it"
    study = load_study(str(tmp_path / "sweep/study.journal"), "sweep")
    assert study.metric_names == ["validation MAE"]
    assert "is better by" not in run(tmp_path, *command[1:-1], "hydra.sweep.dir=other", "hydra.sweeper.n_trials=1")


def test_a_password_in_the_command_is_told_and_shown_nowhere(tmp_path):
    url = "nosuch://user:a/PASSWORD@h/db"
    text = run(tmp_path, f"hydra.sweeper.storage='{url}'", expect=1)
    assert "the password of nosuch://...@h/db stands in the command" in text and "PASSWORD" not in text
    assert "hydra.sweeper.storage: got 'nosuch://...@h/db', allowed" in text
    assert not any("PASSWORD" in path.read_text() for path in tmp_path.rglob("*") if path.is_file())


def test_a_search_in_which_nothing_completes_says_so_and_fails(tmp_path):
    assert "none of 1 trials was completed" in run(tmp_path, "hydra.sweeper.n_trials=1", "raise_at=[0]", expect=1)


def test_a_mistyped_option_stops_the_search_before_it_starts(tmp_path):
    assert "Could not override 'nn'" in run(tmp_path, "nn=3", expect=1)
    assert not (tmp_path / "sweep" / "study.journal").exists()


def test_n_jobs_trials_run_at_once_and_a_slow_one_holds_up_no_other(tmp_path):
    run(tmp_path, "hydra.sweeper.n_trials=7", "hydra.sweeper.n_jobs=2", "seconds=0.3")
    assert_each_once(tmp_path, 7)
    spans = {n: [float(lines(tmp_path, f)[n][0].split()[-1]) for f in ("started", "finished")] for n in range(7)}
    assert any(spans[a][0] < spans[b][1] and spans[b][0] < spans[a][1] for a in spans for b in range(a))
    assert len({starts[0].split()[0] for starts in lines(tmp_path, "started").values()}) == 2


@pytest.mark.slow
def test_a_killed_worker_is_replaced_and_a_killed_command_takes_its_workers_along(tmp_path):
    command = ["hydra.sweeper.n_trials=6", "hydra.sweeper.n_jobs=2", "seconds=0.4"]
    process = start(tmp_path, *command)
    wait_for(lambda: len(pids(tmp_path)) == 2, process)
    os.kill(min(pids(tmp_path)), signal.SIGKILL)
    wait_for((tmp_path / "sweep" / "3" / "started").exists, process)
    process.kill()
    process.communicate()
    wait_for(lambda: not any(Path(f"/proc/{pid}").exists() for pid in pids(tmp_path)))
    run(tmp_path, *command)
    assert_each_once(tmp_path, 6)


def test_a_trial_that_kills_its_process_each_time_fails_in_the_end(tmp_path):
    for death in range(2):
        process = start(tmp_path, "hydra.sweeper.n_trials=2", "hydra.sweeper.max_deaths=2", "seconds=1")
        wait_for(lambda death=death: len(lines(tmp_path, "started").get(0, [])) > death, process)
        process.kill()
        process.communicate()
    run(tmp_path, "hydra.sweeper.n_trials=2", "hydra.sweeper.max_deaths=2", "seconds=1")
    assert [status_of(trial) for trial in trials(tmp_path)] == ["died", "complete"]


def test_each_running_trial_has_a_place_on_a_gpu_of_its_own(tmp_path, monkeypatch):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "4,7")
    run(tmp_path, "hydra.sweeper.n_trials=6", "hydra.sweeper.gpus=[4,7]", "seconds=0.5")
    spans = []
    for number, starts in lines(tmp_path, "started").items():
        _, _, _, gpu, begin = starts[0].split()
        spans.append((gpu, float(begin), float(lines(tmp_path, "finished")[number][0].split()[1])))
    assert {gpu for gpu, _, _ in spans} == {"4", "7"}
    for gpu, begin, end in spans:
        assert not any(g == gpu and begin < b < end for g, b, _ in spans)
