"""Who runs which trial: locks, dead processes, torn files, places on GPUs; without any training."""

import multiprocessing
import os
import signal
import time
from pathlib import Path

import optuna
import pytest
from optuna.trial import Trial, TrialState

from powmix.command.gpus import list_gpus, n_slots, slot
from powmix.search.claims import OWNER, Claims
from powmix.search.locks import OwnedLock, ProcessId
from powmix.search.storage import exclusive, open_storage, resolve, shown

fork = multiprocessing.get_context("fork")


def claims(url: str, n_trials=4, grace=60.0, max_deaths=3) -> Claims:
    study = optuna.create_study(study_name="s", storage=open_storage(url), load_if_exists=True)
    made = Claims(study, url, n_trials, max_deaths, grace)
    with exclusive(url):
        made.fill()
    return made


def take(made: Claims) -> Trial | None:
    return made.take(lambda frozen: Trial(made.study, frozen._trial_id))


@pytest.fixture
def url(tmp_path) -> str:
    return str(tmp_path / "study.journal")


def test_numbers_are_taken_in_order_and_each_once(url):
    first, second = claims(url), claims(url)
    assert [take(made).number for made in (first, second, first, second)] == [0, 1, 2, 3]
    assert take(first) is None and not first.all_finished()


def _take_all(url: str, queue) -> None:
    made = claims(url, n_trials=6)
    while (trial := take(made)) is not None:
        queue.put(trial.number)
        made.finish(trial, TrialState.COMPLETE, 1.0, "complete", None)


@pytest.mark.parametrize("kind", ["journal", "sqlite"])
def test_processes_that_start_at_once_create_one_study_and_share_its_numbers(tmp_path, kind):
    url = str(tmp_path / "study.journal") if kind == "journal" else f"sqlite:///{tmp_path}/study.db"
    queue = fork.Queue()
    processes = [fork.Process(target=_take_all, args=(url, queue)) for _ in range(2)]
    for process in processes:
        process.start()
    numbers = [queue.get(timeout=60) for _ in range(6)]
    for process in processes:
        process.join(60)
    assert sorted(numbers) == list(range(6)) and [process.exitcode for process in processes] == [0, 0]
    assert len(optuna.load_study(study_name="s", storage=open_storage(url)).trials) == 6


def test_a_released_number_is_taken_again_with_its_parameters(url):
    made = claims(url)
    trial = take(made)
    value = trial.suggest_float("x", 0, 1)
    made.release(trial._trial_id)
    again = take(claims(url))
    assert again.number == trial.number and again.suggest_float("x", 0, 1) == value


def test_a_claim_names_its_owner_before_it_runs_so_that_a_kill_between_leaves_no_trial_of_nobody(url):
    made = claims(url, n_trials=1)
    made.release(take(made)._trial_id)
    logs = list(made.study._storage._backend.read_logs(0))
    runs = next(line for line, log in enumerate(logs) if log.get("state") == TrialState.RUNNING)
    assert OWNER in logs[runs - 1]["user_attr"]
    assert [log for log in logs[runs + 1 :] if "user_attr" in log] == [], "a release takes no name away"


def test_a_result_whose_claim_was_lost_is_not_told(url):
    made, other = claims(url), claims(url)
    trial = take(made)
    made.release(trial._trial_id)
    assert take(other).number == 0
    assert not made.finish(trial, TrialState.COMPLETE, 1.0, "complete", None)
    assert made.study.trials[0].state == TrialState.RUNNING


def test_another_machines_process_is_dead_when_its_heart_has_not_beaten_for_the_grace_time(url, monkeypatch):
    away = claims(url, n_trials=1)
    with monkeypatch.context() as patch:
        patch.setattr("powmix.search.locks.machine", lambda: "elsewhere/0/0")
        trial = take(away)
    here = claims(url, n_trials=1, grace=0.2)
    assert take(here) is None
    for _ in range(3):
        time.sleep(0.15)
        away.beat(trial._trial_id)
        assert take(here) is None, "it beats, so it lives"
    time.sleep(0.3)
    assert take(here).number == 0
    assert here.study.trials[0].user_attrs["deaths"] == 1


def test_a_number_whose_processes_die_too_often_fails(url):
    made = claims(url, n_trials=1, max_deaths=1)
    trial = take(made)
    gone = {"process": str(ProcessId(ProcessId.current().machine, 2**22 + 1, "1")), "token": "x"}
    trial.set_user_attr(OWNER, gone)
    assert take(made) is None and made.all_finished()
    assert made.study.trials[0].user_attrs["status"] == "died"


def test_a_larger_total_adds_numbers_and_a_smaller_one_leaves_the_rest_alone(url):
    claims(url, n_trials=2)
    assert len(claims(url, n_trials=3).study.trials) == 3
    small = claims(url, n_trials=1)
    assert take(small).number == 0 and take(small) is None


def _hold(path: str) -> None:
    OwnedLock(path).acquire()
    os.kill(os.getpid(), signal.SIGKILL)


def test_a_lock_whose_owner_was_killed_is_free_at_once(tmp_path):
    path = str(tmp_path / "file")
    process = fork.Process(target=_hold, args=(path,))
    process.start()
    process.join()
    assert Path(path + ".lock").is_symlink()
    lock = OwnedLock(path, grace=1000)
    assert lock.acquire()
    lock.release()


def test_a_process_is_told_from_another_with_the_same_number():
    me = ProcessId.current()
    assert ProcessId.parse(str(me)) == me and not me.is_dead_here()
    assert ProcessId(me.machine, me.pid, "1").is_dead_here()
    assert not ProcessId("elsewhere/0/0", me.pid, "1").is_dead_here(), "of another machine nothing is known"


def test_a_journal_torn_by_a_killed_writer_is_mended(url):
    made = claims(url, n_trials=2)
    with open(url, "ab") as file:
        file.write(b'{"op_code":5,"worker')
    made.beat(made.study.trials[0]._trial_id)
    reread = optuna.storages.JournalStorage(optuna.storages.journal.JournalFileBackend(url))
    assert "beat" in reread.get_all_trials(0)[0].user_attrs


def test_a_storage_is_written_so_that_every_job_finds_it(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert resolve(None, "sweep") == f"{tmp_path}/sweep/study.journal"
    assert resolve("sqlite:///a.db", "sweep") == f"sqlite:///{tmp_path}/a.db"
    assert resolve("postgresql://u:p@h/d", "sweep") == "postgresql://u:p@h/d"
    assert shown("postgresql://u:p@h/d") == "postgresql://...@h/d"


def test_a_pool_holds_no_more_trials_than_it_has_places_and_fills_all_gpus_first(tmp_path):
    with slot(["0", "1"], 2, tmp_path) as a, slot(["0", "1"], 2, tmp_path) as b, slot(["0", "1"], 2, tmp_path) as c:
        assert (a, b, c) == ("0", "1", "0")
    with slot(["0", "1"], 2, tmp_path) as again:
        assert again == "0"
    with slot([], 1, tmp_path) as none:
        assert none is None


def test_the_pool_is_what_this_process_may_see(monkeypatch):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "2,5")
    assert list_gpus("auto") == ["2", "5"] and list_gpus([0, 1]) == ["0", "1"] and list_gpus(None) == []
    with pytest.raises(ValueError, match="allowed null, auto or a list"):
        list_gpus("all")
    with pytest.raises(ValueError, match="trials_per_gpu: got 0"):
        n_slots(["0"], 0)
