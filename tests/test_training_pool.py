"""Seeds in worker processes: the numbers of one process, and nothing of a worker left however the command ends."""

import json
import os
import signal
import subprocess
import sys
import time
from concurrent.futures.process import BrokenProcessPool
from functools import partial
from pathlib import Path
from types import SimpleNamespace

import commands
import pytest
from pretended_seeds import begin

from powmix.__main__ import main
from powmix.command import job
from powmix.command.exits import INTERRUPTED, SOME_FAILED
from powmix.command.overrides import check_command
from powmix.experiment import _workers
from powmix.training import Settings, TrainingFailed, pool

TINY = ["dataset.sizes={train: 60, valid: 30, test: 30}", "trainer.max_epochs=3", "trainer.device=cpu"]


@pytest.fixture
def powmix(tmp_path, monkeypatch):
    """The command, run in this process in an empty working directory, with two cores to use."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(pool, "usable", lambda threads: 2)

    def call(*arguments: str) -> Path:
        monkeypatch.setattr(sys, "argv", ["powmix", *TINY, *arguments])
        main()
        return tmp_path

    return call


def science(outputs: Path) -> dict:
    """What the seeds of a run leave that does not tell the time."""
    [result] = outputs.glob("runs/*/result.json")
    told = json.loads(result.read_text())
    files = {
        path.relative_to(result.parent): path.read_bytes()
        for path in sorted(result.parent.glob("seed_*/*"))
        if path.name in ("weights.safetensors", "predictions.csv")
    }
    seeds = [{key: value for key, value in seed.items() if key != "seconds"} for seed in told["seeds"]]
    names = sorted(path.relative_to(result.parent) for path in result.parent.rglob("*") if path.suffix != ".tmp")
    return {"status": told["status"], "seeds": seeds, "mean": told["mean"], "files": files, "names": names}


def logged(where: Path) -> str:
    [log] = where.glob("outputs/runs/*/powmix.log")
    return log.read_text()


# --- numbers ----------------------------------------------------------------------------------------------------------


def test_seeds_in_workers_leave_what_seeds_in_turn_leave(powmix, monkeypatch):
    """`auto` here moves the first seed after its first epoch: the worker continues it."""
    monkeypatch.setattr(pool, "START", 0.0)
    where = powmix("seeds=3", "outputs=in_turn")
    powmix("seeds=3", "workers=auto", "outputs=auto")
    assert science(where / "auto") == science(where / "in_turn")


def test_workers_are_no_part_of_a_run_and_train_what_is_left(powmix, monkeypatch):
    began, given = [], pool.train_in_workers
    monkeypatch.setattr(pool, "train_in_workers", lambda *told: began.append(told[1:3]) or given(*told))
    powmix("seeds=2")
    where = powmix("seeds=4", "workers=9")
    assert began == [([1113, 1114], 2)]
    assert [seed["seed"] for seed in science(where / "outputs")["seeds"]] == [1111, 1112, 1113, 1114]
    assert logged(where).count("already finished") == 2


def test_short_seeds_start_no_worker(powmix, monkeypatch):
    monkeypatch.setattr(pool, "START", 600.0)
    monkeypatch.delattr(pool, "train_in_workers")
    where = powmix("seeds=2", "workers=auto")
    assert [seed["seed"] for seed in science(where / "outputs")["seeds"]] == [1111, 1112]
    assert "already finished" not in logged(where)
    powmix("seeds=3", "workers=2")  # one is left


def test_who_listens_to_epochs_a_gpu_and_jobs_beside_others_have_their_seeds_in_turn(powmix, monkeypatch):
    with monkeypatch.context() as patch:
        patch.setattr("powmix.experiment.resolve_device", lambda name: SimpleNamespace(type=name))
        assert _workers({"workers": 4, "threads": 1}, Settings(device="cuda")) == 1
        assert _workers({"workers": 4, "threads": 1}, Settings(device="cpu")) == 4
        assert _workers({"workers": "auto", "threads": 1}, Settings(device="cpu")) == 2
    monkeypatch.setattr(job, "WITH_OWN_CORES", ())
    monkeypatch.delattr(pool, "train_in_workers")
    powmix("-m", "mixer=none", "seeds=2", "workers=2")


def test_as_many_processes_as_have_cores(monkeypatch):
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(6)), raising=False)
    assert [pool.usable(threads) for threads in (1, 2, 4, 8)] == [6, 3, 1, 0]


@pytest.mark.parametrize("wrong", ["0", "1.5", "auot", "true", "null"])
def test_a_wrong_number_of_workers_is_named(wrong):
    [error] = check_command([f"workers={wrong}"])
    assert error.startswith("workers must be auto or a whole number within [1, 1024], got ")
    assert ("did you mean auto?" in error) == (wrong == "auot")


LAB = """
import powmix
from torch import nn

@powmix.register_model("pool_net")
class Net(nn.Module):
    def __init__(self, inputs, width: int = 4):
        super().__init__()
        self.layers = nn.ModuleDict({m: nn.Linear(d, width) for m, d in inputs.dims.items()})
        self.head = nn.Linear(width, inputs.outputs)

    def encode(self, batch):
        return {m: layer(batch[m].mean(1)) for m, layer in self.layers.items()}

    def fuse(self, hidden):
        return self.head(sum(hidden.values()))

powmix.main(model="pool_net")
"""


def test_a_lab_of_ones_own_trains_in_workers(tmp_path):
    (tmp_path / "pool_lab.py").write_text(LAB)
    for workers in (1, 2):
        words = [*TINY, "seeds=2", f"workers={workers}", f"outputs=of_{workers}"]
        commands.run(tmp_path, tmp_path / "pool_lab.py", *words)
    assert science(tmp_path / "of_1") == science(tmp_path / "of_2")


# --- ends -------------------------------------------------------------------------------------------------------------


def test_a_seed_that_diverges_stops_no_other(tmp_path):
    ended = []
    with pytest.raises(TrainingFailed, match=r"^seed 13: it diverged$"):
        pool.train_in_workers(partial(begin, tmp_path), [13, 1, 2], 2, lambda seed, record: ended.append(record))
    assert sorted(record["seed"] for record in ended) == [1, 2]


def test_any_other_error_is_raised_as_it_is_and_ends_the_others(tmp_path):
    with pytest.raises(OSError, match="No space left") as raised:
        pool.train_in_workers(partial(begin, tmp_path, 600.0), [1, 17, 2], 2, print)
    assert raised.value.filename == "seed_17"
    assert all(map(gone, pids(tmp_path)))


PARENT = """
import sys
from functools import partial
from pathlib import Path
from powmix.training import pool
from pretended_seeds import begin
if __name__ == "__main__":
    pool.train_in_workers(partial(begin, Path.cwd(), 600.0), [1, 2, 3], 2, print)
"""


@pytest.mark.parametrize("farewell", [signal.SIGKILL, signal.SIGTERM, signal.SIGINT])
def test_no_worker_outlives_its_parent(tmp_path, farewell):
    (tmp_path / "parent.py").write_text(PARENT)
    parent = command("parent.py", folder=tmp_path, start_new_session=True)
    until(lambda: len(pids(tmp_path)) == 2, parent)
    if farewell == signal.SIGINT:
        os.killpg(parent.pid, farewell)  # as a terminal does
    else:
        parent.send_signal(farewell)
    said, _ = parent.communicate(timeout=60)
    assert parent.returncode != 0 and said.count("Traceback") == (farewell != signal.SIGKILL)
    until(lambda: all(map(gone, pids(tmp_path))))
    assert not (tmp_path / "3.pid").exists()


def test_a_killed_worker_is_told_of_and_ends_the_others(tmp_path):
    (tmp_path / "parent.py").write_text(PARENT)
    parent = command("parent.py", folder=tmp_path)
    until(lambda: len(pids(tmp_path)) == 2, parent)
    os.kill(pids(tmp_path)[0], signal.SIGKILL)
    said, _ = parent.communicate(timeout=60)
    assert said.splitlines()[-1] == f"{BrokenProcessPool.__module__}.{BrokenProcessPool.__name__}: {pool.KILLED}"
    until(lambda: all(map(gone, pids(tmp_path))))


@pytest.mark.slow
@pytest.mark.parametrize("whom", ["worker", "parent", "all"])
def test_a_command_that_is_killed_continues_to_the_same_numbers(tmp_path, powmix, whom):
    longer = [*TINY, "seeds=2", "trainer.max_epochs=200", "trainer.early_stop=200"]
    powmix(*longer, "outputs=whole")
    running = command("-m", "powmix", *longer, "workers=2", folder=tmp_path, start_new_session=True)
    until(lambda: list(tmp_path.glob("outputs/runs/*/seed_*/checkpoint.pt")), running)
    if whom == "worker":
        os.kill(children(running.pid)[0], signal.SIGKILL)
    elif whom == "parent":
        running.send_signal(signal.SIGKILL)
    else:
        os.killpg(running.pid, signal.SIGTERM)  # as Slurm does
    said, _ = running.communicate(timeout=120)
    assert running.returncode == {"worker": SOME_FAILED, "parent": -9, "all": INTERRUPTED}[whom], said
    assert ("the same command continues" in said) == (whom != "parent") and "Traceback" not in said
    powmix(*longer, "workers=2")
    assert science(tmp_path / "outputs") == science(tmp_path / "whole")


def command(*words: str, folder: Path, **how) -> subprocess.Popen:
    paths = os.pathsep.join([str(Path(__file__).parent), *sys.path])
    return subprocess.Popen(
        [sys.executable, *words],
        cwd=folder, env={**os.environ, "PYTHONPATH": paths, "OMP_NUM_THREADS": "1"},
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, **how,
    )  # fmt: skip


def pids(folder: Path) -> list[int]:
    return [int(text) for path in folder.glob("*.pid") if (text := path.read_text())]


def children(pid: int) -> list[int]:
    """The worker processes of a process: those that multiprocessing started to work."""
    found = [int(one) for one in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
    return [one for one in found if b"spawn_main" in Path(f"/proc/{one}/cmdline").read_bytes()]


def gone(pid: int) -> bool:
    """Whether a process has ended; one that nobody has waited for has."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
    except OSError:
        return True


def until(holds, running: subprocess.Popen | None = None) -> None:
    while not holds():
        assert running is None or running.poll() is None, running.communicate()[0]
        time.sleep(0.02)
