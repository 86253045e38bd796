"""Seeds trained in worker processes: the same numbers as in one process, whatever is killed on the way."""

import os
import signal
import subprocess
import sys
import time
from functools import partial
from pathlib import Path

import pytest
import torch
from training_corpus import PairMixer, TinyFusion, Watcher, same_weights, science, tiny_splits, weights

from powmix.runs.records import finished_seed
from powmix.training import Listener, Settings, TrainingFailed, train, train_seeds
from powmix.training.pool import Pool, usable
from powmix.training.seeds import Generators

SEEDS = [1111, 1112, 1113]
OPTIONS = {"max_epochs": 4, "batch_size": 16, "device": "cpu"}


class Diverging(TinyFusion):
    """Has no finite weight where the seed is 1113."""

    def __init__(self):
        super().__init__()
        if torch.initial_seed() == Generators(1113, torch.device("cpu")).initialisation:
            torch.nn.init.constant_(self.head.weight, float("nan"))


def training(model=TinyFusion, dies: Path | None = None):
    """What trains a seed in a worker. dies: a file; a worker that finds none writes it after an epoch and is killed."""
    torch.set_num_threads(1)

    def one(seed, folder, listener):
        if dies is not None:
            listener = Dying(listener, dies)
        return train(model, tiny_splits(), PairMixer(0.5), Settings(**OPTIONS), seed, folder, listener)

    return one


class Dying(Listener):
    """Passes epochs on, and kills its process after the first unless `mark` says that this was done before."""

    def __init__(self, listener, mark):
        self.listener, self.mark = listener, mark

    def on_epoch(self, seed, row):
        self.listener.on_epoch(seed, row)
        if not self.mark.exists():
            self.mark.touch()
            os.kill(os.getpid(), signal.SIGKILL)


class Heard(Watcher):
    """Remembers all it was told, by seed."""

    def __init__(self, *stop):
        super().__init__(*stop)
        self.told = {}

    def on_seed_start(self, seed, max_epochs):
        self.told.setdefault(seed, []).append("start")

    def on_epoch(self, seed, row):
        self.told[seed].append(row["epoch"])
        super().on_epoch(seed, row)

    def on_seed_end(self, seed, record):
        self.told[seed].append("end")


def trained(folder, pool=None, model=TinyFusion, listener=None):
    def place(seed):
        return folder / f"seed_{seed}"

    return train_seeds(model, tiny_splits(), PairMixer(0.5), Settings(**OPTIONS), SEEDS, place, listener, pool)


@pytest.fixture(scope="module")
def alone(tmp_path_factory):
    folder = tmp_path_factory.mktemp("alone")
    return trained(folder), folder


def expect_same(alone, records, folder):
    assert [science(record) for record in records] == [science(record) for record in alone[0]]
    assert all(same_weights(weights(folder / f"seed_{seed}"), weights(alone[1] / f"seed_{seed}")) for seed in SEEDS)


def test_worker_processes_train_the_same_seeds_bit_for_bit_and_the_listener_hears_of_each_epoch_once(alone, tmp_path):
    heard = Heard()
    expect_same(alone, trained(tmp_path, Pool(3, training), listener=heard), tmp_path)
    assert heard.told == {seed: ["start", 1, 2, 3, 4, "end"] for seed in SEEDS}


def test_when_a_worker_is_killed_the_run_goes_on_and_no_epoch_is_told_twice(alone, tmp_path, caplog):
    heard = Heard()
    pool = Pool(2, partial(training, TinyFusion, tmp_path / "mark"))
    expect_same(alone, trained(tmp_path, pool, listener=heard), tmp_path)
    assert (tmp_path / "mark").exists() and "a worker process was killed" in caplog.text
    assert all(told[0] == "start" and told.count("start") == 1 and told[-1] == "end" for told in heard.told.values())


def test_a_seed_that_diverges_in_a_worker_keeps_no_other_from_training(tmp_path):
    with pytest.raises(TrainingFailed, match=r"^seed 1113: validation Loss was not finite"):
        trained(tmp_path, Pool(2, partial(training, Diverging)), Diverging)
    assert [bool(finished_seed(tmp_path / f"seed_{seed}", seed)) for seed in SEEDS] == [True, True, False]


def test_what_a_listener_raises_ends_the_workers_and_the_same_call_continues(alone, tmp_path):
    with pytest.raises(KeyboardInterrupt):
        trained(tmp_path, Pool(3, training), listener=Heard(2, KeyboardInterrupt))
    expect_same(alone, trained(tmp_path), tmp_path)


PARENT = """
import sys
from pathlib import Path
from test_training_pool import Pool, Listener, trained, training
class Says(Listener):
    def on_epoch(self, seed, row):
        print(seed, flush=True)
if __name__ == "__main__":
    trained(Path(sys.argv[1]), Pool(2, training_slowly), listener=Says())
"""


def test_workers_end_with_a_run_that_is_killed(alone, tmp_path):
    script = tmp_path / "run.py"
    script.write_text(PARENT.replace("training_slowly", "slowly").replace("trained, training", "trained, slowly"))
    paths = os.pathsep.join([str(Path(__file__).parent), *sys.path])
    run = subprocess.Popen(
        [sys.executable, str(script), str(tmp_path)],
        stdout=subprocess.PIPE,
        text=True,
        env=os.environ | {"PYTHONPATH": paths},
    )
    while int(run.stdout.readline()) != SEEDS[-1]:
        pass  # until the worker has begun
    run.kill()
    run.wait()
    assert run.stdout.read() is not None  # its end: no process has it open any more
    histories = {path: path.read_bytes() for path in tmp_path.glob("seed_*/history.csv")}
    time.sleep(0.5)
    assert {path: path.read_bytes() for path in tmp_path.glob("seed_*/history.csv")} == histories
    expect_same(alone, trained(tmp_path), tmp_path)


def slowly():
    """As `training`, with a pause after each epoch."""

    class Slow(Listener):
        def __init__(self, listener):
            self.listener = listener

        def on_epoch(self, seed, row):
            self.listener.on_epoch(seed, row)
            time.sleep(0.3)

    one = training()
    return lambda seed, folder, listener: one(seed, folder, Slow(listener))


def test_auto_starts_no_worker_for_seeds_that_take_a_moment(alone, tmp_path):
    expect_same(alone, trained(tmp_path, Pool(3, if_it_pays=True)), tmp_path)


def test_auto_is_the_cores_over_the_threads_and_one_on_a_gpu(monkeypatch):
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: set(range(8)))
    assert [usable("auto", 1, "cpu"), usable("auto", 3, "cpu"), usable("auto", 16, "cpu")] == [8, 2, 1]
    assert usable("auto", 1, "cuda") == 1
    assert usable(4, 1, "cuda") == 4
