"""Who runs which trial: taken in order and once, given back, taken over from the dead; without any training."""

import multiprocessing
import threading
import time
from contextlib import nullcontext

import optuna
import pytest
from optuna.distributions import FloatDistribution
from optuna.exceptions import StorageInternalError
from optuna.trial import Trial, TrialState

from powmix.search import storage as storages
from powmix.search import trials as claimed
from powmix.search.launching import Outcome
from powmix.search.samplers import fixed_sampler
from powmix.search.space import suggest
from powmix.search.storage import exclusive, open_storage
from powmix.search.trials import OWNER, Trials, id_of, this_process

fork = multiprocessing.get_context("fork")
LAW = FloatDistribution(0, 1)


def trials_of(url: str, n_trials=4, grace=60.0, max_deaths=3, points=None, sample=None) -> Trials:
    """The trials as one process sees them; `points`: what they are by number, instead of what a sampler chooses."""
    with exclusive(url, "s"):
        study = optuna.create_study(study_name="s", storage=open_storage(url), load_if_exists=True)

    def choose(trial: Trial) -> None:
        if points is not None:
            study.sampler = fixed_sampler({"x": points[trial.number]})
        suggest(trial, "x", LAW)

    return Trials(study, url, n_trials, sample or choose, max_deaths, grace)


def complete(value: float) -> Outcome:
    return Outcome("complete", TrialState.COMPLETE, value)


@pytest.fixture
def url(tmp_path) -> str:
    return str(tmp_path / "study.journal")


def test_trials_are_made_as_they_are_taken_in_order_and_each_once(url):
    processes = [trials_of(url) for _ in range(5)]
    assert processes[0].study.trials == []
    assert [made.take().number for made in processes[:3]] == [0, 1, 2]
    assert len(processes[0].study.trials) == 3
    assert processes[3].take().number == 3
    assert processes[4].take() is None and not processes[4].all_finished()


def _take_all(url: str, queue) -> None:
    made = trials_of(url, n_trials=6, points=[0.1, 0.2, 0.3, 0.4, 0.5, 0.6])
    while (trial := made.take()) is not None:
        queue.put((trial.number, trial.params["x"]))
        made.finish(trial, complete(1.0))


@pytest.mark.parametrize("kind", ["journal", "sqlite"])
def test_processes_that_start_at_once_create_one_study_and_share_its_grid(tmp_path, kind):
    url = str(tmp_path / "study.journal") if kind == "journal" else f"sqlite:///{tmp_path}/study.db"
    queue = fork.Queue()
    processes = [fork.Process(target=_take_all, args=(url, queue)) for _ in range(3)]
    for process in processes:
        process.start()
    taken = sorted(queue.get(timeout=60) for _ in range(6))
    for process in processes:
        process.join(60)
    assert taken == list(enumerate([0.1, 0.2, 0.3, 0.4, 0.5, 0.6]))
    assert [process.exitcode for process in processes] == [0, 0, 0]
    assert len(optuna.load_study(study_name="s", storage=open_storage(url)).trials) == 6


def test_a_trial_given_back_is_taken_again_with_its_number_and_parameters(url):
    made = trials_of(url)
    trial = made.take()
    made.give_back(trial)
    again = trials_of(url).take()
    assert (again.number, again.params) == (trial.number, trial.params)


def test_a_trial_names_its_owner_before_it_runs_so_that_a_kill_between_leaves_no_trial_of_nobody(url):
    made = trials_of(url, n_trials=1)
    made.give_back(made.take())
    made.take()
    logs = list(made._storage._backend.read_logs(0))
    runs = [line for line, log in enumerate(logs) if log.get("state") == TrialState.RUNNING]
    assert len(runs) == 2 and OWNER in logs[runs[0]]["user_attrs"] and OWNER in logs[runs[1] - 1]["user_attr"]


def test_sampling_does_not_hold_the_lock(url):
    reached, go_on = threading.Event(), threading.Event()

    def slow(trial: Trial) -> None:
        reached.set()
        assert go_on.wait(60)

    process = fork.Process(target=trials_of(url).take)
    thread = threading.Thread(target=trials_of(url, sample=slow).take)
    thread.start()
    assert reached.wait(60)
    process.start()  # it takes the lock while the other samples
    process.join(60)
    assert process.exitcode == 0 and len(trials_of(url).study.trials) == 2
    go_on.set()
    thread.join()


@pytest.mark.parametrize("kind", ["journal", "sqlite"])
def test_optuna_makes_a_running_trial_without_parameters_which_are_suggested_later(tmp_path, kind):
    """What making a trial relies on; an Optuna that changes it breaks this test."""
    url = str(tmp_path / "study.journal") if kind == "journal" else f"sqlite:///{tmp_path}/study.db"
    study = optuna.create_study(storage=open_storage(url), sampler=fixed_sampler({"x": 0.25}))
    made = optuna.trial.create_trial(state=TrialState.RUNNING, user_attrs={OWNER: "me"})
    trial = Trial(study, study._storage.create_new_trial(study._study_id, made))
    assert suggest(trial, "x", LAW) == 0.25
    (seen,) = study.trials
    assert (seen.state, seen.params, seen.user_attrs) == (TrialState.RUNNING, {"x": 0.25}, {OWNER: "me"})


@pytest.mark.parametrize("kind", ["journal", "sqlite"])
def test_optuna_lets_a_running_trial_wait_again(tmp_path, kind):
    """What giving a trial back relies on; an Optuna that forbids it breaks this test."""
    url = str(tmp_path / "study.journal") if kind == "journal" else f"sqlite:///{tmp_path}/study.db"
    study = optuna.create_study(storage=open_storage(url))
    trial = study.ask({"x": LAW})
    open_storage(url).set_trial_state_values(id_of(trial), TrialState.WAITING)
    again = study.ask({"x": LAW})
    assert (again.number, again.params) == (0, trial.params)


def test_a_result_of_a_trial_that_another_process_has_taken_over_is_not_told(url):
    made, other = trials_of(url), trials_of(url)
    trial = made.take()
    made.give_back(trial)
    assert other.take().number == 0
    assert not made.finish(trial, complete(1.0))
    assert made.study.trials[0].state == TrialState.RUNNING


def test_a_result_that_reached_the_storage_before_it_went_away_is_told_once(url):
    made = trials_of(url)
    trial = made.take()
    assert made.finish(trial, complete(1.0)) and made.finish(trial, complete(1.0))
    assert made.study.trials[0].value == 1.0


def test_another_machines_process_is_dead_when_its_heart_has_not_beaten_for_the_grace_time(url, monkeypatch):
    away = trials_of(url, n_trials=1)
    with monkeypatch.context() as patch:
        patch.setattr(claimed, "machine", lambda: "elsewhere")
        trial = away.take()
    here = trials_of(url, n_trials=1, grace=0.4)
    assert here.take() is None
    for _ in range(3):
        time.sleep(0.25)
        away.beat(trial)
        assert here.take() is None, "it beats, so it lives"
    time.sleep(0.5)
    assert here.take().number == 0
    assert here.study.trials[0].user_attrs["deaths"] == 1


def test_a_dead_process_of_this_machine_is_known_at_once_and_after_too_many_deaths_its_trial_fails(url):
    made = trials_of(url, n_trials=1, max_deaths=2)
    gone = {**this_process()._asdict(), "pid": 2**22 + 1, "token": "x"}
    made.take().set_user_attr(OWNER, gone)
    again = made.take()
    assert again.number == 0
    again.set_user_attr(OWNER, gone)
    assert made.take() is None and made.all_finished()
    assert made.study.trials[0].user_attrs["status"] == "died"


def test_a_process_is_told_from_another_with_the_same_number():
    me = this_process()
    assert claimed.started(me.pid) == me.started != ""
    assert claimed.started(2**22 + 1) == ""


@pytest.mark.parametrize(("n_trials", "expected"), [(2, [(0, 0.1), (1, 0.2)]), (1, [(0, 0.1), None])])
def test_two_processes_that_lost_their_lock_run_no_point_twice_and_none_past_the_total(
    url, monkeypatch, n_trials, expected
):
    """A server that restarts takes its locks away: both have counted the same trials before each makes one."""
    monkeypatch.setattr(claimed, "exclusive", lambda *_: nullcontext())
    first, second = (trials_of(url, n_trials, points=[0.1, 0.2]) for _ in range(2))
    make, raced = first._storage.create_new_trial, []

    def late(*arguments):
        monkeypatch.setattr(first._storage, "create_new_trial", make)
        raced.append(second.take())
        return make(*arguments)

    monkeypatch.setattr(first._storage, "create_new_trial", late)
    raced.append(first.take())
    assert [trial and (trial.number, trial.params["x"]) for trial in raced] == expected


def test_a_larger_total_adds_numbers_and_a_smaller_one_leaves_the_rest_alone(url):
    made = trials_of(url, n_trials=2)
    made.finish(made.take(), complete(1.0))
    made.give_back(made.take())
    assert trials_of(url, n_trials=1).take() is None
    larger = trials_of(url, n_trials=3)
    assert [larger.take().number, trials_of(url, n_trials=3).take().number] == [1, 2]


def test_a_search_outlasts_a_storage_that_breaks_off_at_any_call(url, monkeypatch):
    """Every write of a search fails once, after it has reached the storage or before: nothing is lost or doubled."""
    monkeypatch.setattr(storages.time, "sleep", lambda seconds: None)
    made, failing = trials_of(url, n_trials=5, points=[0.1, 0.2, 0.3, 0.4, 0.5]), set()

    def breaking(name):
        write = getattr(made._storage, name)

        def call(*arguments, **options):
            count = sum(1 for key in failing if key[0] == name)
            late = (name, count)
            if count < 6:
                failing.add(late)
                if count % 2:
                    write(*arguments, **options)
                raise StorageInternalError("the server went away")
            return write(*arguments, **options)

        return call

    for name in ("create_new_trial", "set_trial_state_values", "set_trial_param", "set_trial_user_attr"):
        monkeypatch.setattr(made._storage, name, breaking(name))
    while (trial := made.take()) is not None:
        assert made.finish(trial, complete(trial.params["x"]))
    finished = [trial for trial in made.study.trials if trial.number < 5]
    assert [trial.state for trial in finished] == [TrialState.COMPLETE] * 5
    assert len(failing) == 4 * 6
    assert sorted(trial.params["x"] for trial in finished) == [0.1, 0.2, 0.3, 0.4, 0.5]
