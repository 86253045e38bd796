"""How many trials workers that share one study end in a second, and how long a worker takes to get its next trial.

    python -m benchmarks.sharing                       on a journal file
    python -m benchmarks.sharing --storage URL         on a database server, in studies of its own

`plain` is Optuna's own ask and tell with the same sampler, as many processes, one after the other in one run: it knows
nothing of dead workers and an exact total. A trial sleeps a second. A take is measured without the sampler's own work.
On a busy machine compare the processor time: workers that wait for a core hold locks meanwhile.
"""

import argparse
import multiprocessing
import os
import resource
import statistics
import tempfile
import time
import uuid
from collections.abc import Callable
from pathlib import Path

import optuna
from optuna.distributions import BaseDistribution, FloatDistribution, IntDistribution
from optuna.trial import Trial, TrialState, create_trial

from powmix.search.launching import Outcome
from powmix.search.samplers import build_sampler
from powmix.search.space import suggest
from powmix.search.storage import open_storage
from powmix.search.trials import Heartbeat, Trials

SPACE: dict[str, BaseDistribution] = {
    "p_mix": FloatDistribution(0.1, 1.0),
    "n_out": IntDistribution(16, 512, log=True),
    "rate": FloatDistribution(1e-5, 1e-2, log=True),
    "dropout": FloatDistribution(0, 0.5),
}
TPE = {"_target_": "optuna.samplers.TPESampler"}
FINISHED = 5000
fork = multiprocessing.get_context("fork")


def sample(trial: Trial) -> None:
    """As a search chooses the parameters of a trial."""
    trial.study.sampler = build_sampler(TPE, trial.number, 0, 0, 1000)
    for name, law in SPACE.items():
        suggest(trial, name, law)


def shared(url: str, name: str, n_trials: int, choose: Callable[[Trial], None] = sample) -> Trials:
    """The trials of a study as one process of a search sees them."""
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    study = optuna.create_study(study_name=name, storage=open_storage(url), load_if_exists=True)
    return Trials(study, url, n_trials, choose, max_deaths=3, grace=60.0)


def ours(url: str, name: str, n_trials: int, seconds: float) -> None:
    """One worker of a search, until no trial is left."""
    trials = shared(url, name, n_trials)
    while (trial := trials.take()) is not None:
        with Heartbeat(trials, trial, 30.0):
            time.sleep(seconds)
        trials.finish(trial, Outcome("complete", TrialState.COMPLETE, trial.params["p_mix"]))


def plain(url: str, name: str, n_trials: int, seconds: float) -> None:
    """One worker of plain Optuna, which stops where so many trials are there."""
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    study = optuna.create_study(study_name=name, storage=open_storage(url), load_if_exists=True)
    while len(study.get_trials(deepcopy=False)) < n_trials:
        study.sampler = build_sampler(TPE, 0, os.getpid(), 0, 1000)
        trial = study.ask(SPACE)
        time.sleep(seconds)
        study.tell(trial, trial.params["p_mix"])


def rate(work: Callable, url: str, workers: int, n_trials: int, seconds: float) -> tuple[float, float, int]:
    """Trials that ended in a second, from the first start to the last end; processor seconds of each; how many."""
    name, before = uuid.uuid4().hex, _spent()
    running = [fork.Process(target=work, args=(url, name, n_trials, seconds)) for _ in range(workers)]
    for process in running:
        process.start()
    for process in running:
        process.join()
    found = optuna.load_study(study_name=name, storage=open_storage(url)).trials
    begin, end = min(one.datetime_start for one in found), max(one.datetime_complete for one in found)
    return len(found) / (end - begin).total_seconds(), (_spent() - before) / len(found), len(found)


def _spent() -> float:
    """Processor seconds of all workers that have ended."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def takes(url: str, finished: int, to_go: int, count: int = 10) -> list[float]:
    """Seconds of each of some takes, in a study with so many trials finished and so many to be made."""
    trials = shared(url, uuid.uuid4().hex, finished + to_go, lambda trial: None)
    params = {name: law.low for name, law in SPACE.items()}  # type: ignore[attr-defined]
    done = create_trial(params=params, distributions=SPACE, value=0.0)
    trials.study.add_trials([done] * finished)
    measured = []
    for _ in range(count):
        begin = time.perf_counter()
        trial = trials.take()
        measured.append(time.perf_counter() - begin)
        assert trial is not None
        trials.finish(trial, Outcome("complete", TrialState.COMPLETE, 0.0))
    return measured


def main() -> None:
    """Measures and prints one line for each."""
    parser = argparse.ArgumentParser("benchmarks.sharing", description=__doc__.splitlines()[0])
    parser.add_argument("--storage", help="a database server's URL")
    parser.add_argument("--workers", type=int, default=16)
    parser.add_argument("--trials", type=int, default=320)
    parser.add_argument("--seconds", type=float, default=1.0)
    given = parser.parse_args()
    print(f"load {os.getloadavg()[0]:.1f} on {os.cpu_count()} cores")
    with tempfile.TemporaryDirectory() as folder:
        for name, work in {"ours": ours, "plain": plain}.items():
            url = given.storage or str(Path(folder) / f"{name}.journal")
            found, spent, count = rate(work, url, given.workers, given.trials, given.seconds)
            told = f"{found:6.1f} trials/s, {1000 * spent:.0f} ms of processor time each ({count} trials)"
            print(f"{given.workers} workers, {name:6s}{told}", flush=True)
        for finished, to_go in ((0, 30), (0, 1000), (FINISHED, 30)):
            url = given.storage or str(Path(folder) / f"{finished}-{to_go}.journal")
            took = [1000 * one for one in takes(url, finished, to_go)]
            told = f"median {statistics.median(took):.0f}, most {max(took):.0f}, first {took[0]:.0f} ms"
            print(f"a take, {finished} finished, {to_go} to go: {told}", flush=True)


if __name__ == "__main__":
    main()
