"""A command killed, or refused by the disk, at every file operation: the same command then gives the same numbers.

The command is a run of two seeds; its operations are counted: open for writing, fsync, rename, unlink.
"""

import errno
import io
import os
import pickle
import signal
import time
import traceback
from pathlib import Path

import pytest
import torch
from training_corpus import PairMixer, TinyFusion, same_weights, science, tiny_splits, weights

from powmix.runs.files import alone_in
from powmix.runs.records import write_variant
from powmix.runs.seed_records import finished_seed
from powmix.training import Settings, checkpoint, train_seeds

SEEDS = (1111, 1112)
LAST_RESORT = 400


def run(folder: Path, epochs: int = 3) -> list[dict]:
    settings = Settings(
        optimizer={"learning_rate": 0.01, "weight_decay": 0.01}, max_epochs=epochs, batch_size=16, device="cpu"
    )
    with alone_in(folder):
        seeds = train_seeds(
            TinyFusion, tiny_splits(), PairMixer(p_mix=0.5), settings, SEEDS, lambda seed: folder / f"seed_{seed}"
        )
        write_variant(folder, {"status": "finished", "seeds": seeds})
    return seeds


class Operations:
    """Counts file operations; at the `at`-th it does what it was made for: die, or fail with an error number."""

    def __init__(self, at: int = LAST_RESORT, error: int | None = None) -> None:
        self.at, self.error, self.count = at, error, 0
        self.real = {"open": io.open, "fsync": os.fsync, "replace": os.replace, "unlink": os.unlink}

    def __enter__(self) -> "Operations":
        io.open, os.fsync, os.replace, os.unlink = self.open, self.fsync, self.replace, self.unlink
        return self

    def __exit__(self, *exception: object) -> None:
        io.open, os.fsync, os.replace, os.unlink = self.real.values()

    def due(self) -> bool:
        self.count += 1
        if self.count != self.at:
            return False
        if self.error is None:
            os.kill(os.getpid(), signal.SIGKILL)
        return True

    def open(self, file, mode="r", *more, **options):
        if set(mode) & set("wax+") and self.due():
            if self.error == errno.ENOSPC:
                return self.real["open"]("/dev/full", mode, *more, **options)  # opens well, and refuses every byte
            raise OSError(self.error, os.strerror(self.error), str(file))
        return self.real["open"](file, mode, *more, **options)

    def fsync(self, handle):
        if self.due():
            raise OSError(self.error, os.strerror(self.error))
        self.real["fsync"](handle)

    def replace(self, source, target, **options):
        if self.due():
            raise OSError(self.error, os.strerror(self.error), str(target))
        self.real["replace"](source, target, **options)

    def unlink(self, path, **options):
        if self.error is None:  # nothing is written by it: a full disk lets files be removed
            self.due()
        self.real["unlink"](path, **options)


def in_child(work, answer: Path) -> int:
    """Runs `work` in a forked child, which leaves its answer in a file; the child's process id."""
    if child := os.fork():
        return child
    try:
        answer.write_bytes(pickle.dumps(work()))
    except BaseException:
        answer.with_suffix(".trace").write_text(traceback.format_exc())
        os._exit(1)
    os._exit(0)


def ended(child: int) -> int:
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """The uninterrupted run's folder and records, and how many operations it took."""
    folder = tmp_path_factory.mktemp("whole") / "run"
    with Operations() as counted:
        records = run(folder)
    assert 40 < counted.count < LAST_RESORT
    return folder, records, counted.count


def assert_equal(folder, records, whole):
    assert [science(record) for record in records] == [science(record) for record in whole[1]]
    for seed in SEEDS:
        assert same_weights(weights(folder / f"seed_{seed}"), weights(whole[0] / f"seed_{seed}"))
    left = {path.name for path in folder.rglob("*")} - {".lock"}
    assert left == {path.name for path in whole[0].rglob("*")} - {".lock"}, "nothing is left over"


def steps(every: int):
    """Which operations are met: a stride in the quick form, all in the slow one."""
    return [pytest.param(every, id="some"), pytest.param(1, id="all", marks=pytest.mark.slow)]


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
@pytest.mark.parametrize("every", steps(9))
def test_killed_at_any_operation_the_same_command_gives_the_same_result(tmp_path, whole, every):
    for at in range(1, whole[2] + 1, every):
        folder = tmp_path / str(at)

        def killed(folder=folder, at=at):
            with Operations(at):
                run(folder)

        assert ended(in_child(killed, tmp_path / f"{at}.answer")) == -signal.SIGKILL
        assert_equal(folder, run(folder), whole)


@pytest.mark.parametrize("error", [errno.ENOSPC, errno.EIO], ids=["full", "broken"])
@pytest.mark.parametrize("every", steps(7))
def test_a_disk_that_refuses_any_operation_is_told_by_file_and_costs_no_finished_seed(tmp_path, whole, every, error):
    for at in range(1, whole[2] + 1, every):
        folder = tmp_path / str(at)
        with Operations(at, error) as counted:
            try:
                run(folder)
            except OSError as told:
                assert told.errno == error and str(told.filename).startswith(str(folder))
            else:
                assert counted.count < at, "the failure was swallowed"
        done = [seed for seed in SEEDS if finished_seed(folder / f"seed_{seed}", seed)]
        trained = [(folder / f"seed_{seed}" / "weights.safetensors").stat().st_mtime_ns for seed in done]
        assert_equal(folder, run(folder), whole)
        assert trained == [(folder / f"seed_{seed}" / "weights.safetensors").stat().st_mtime_ns for seed in done]


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_three_processes_on_one_run_end_alike_though_one_is_killed(tmp_path, whole):
    folder = tmp_path / "run"
    children = [in_child(lambda: run(folder), tmp_path / f"{index}.answer") for index in range(3)]
    while not (folder / "seed_1111" / "checkpoint.pt").exists():
        time.sleep(0.001)
    holder = int((folder / ".holder").read_text().split()[1])
    os.kill(holder, signal.SIGKILL)
    assert sorted(ended(child) for child in children) == [-signal.SIGKILL, 0, 0]
    answers = [pickle.loads(path.read_bytes()) for path in tmp_path.glob("*.answer")]
    assert len(answers) == 2
    for records in answers:
        assert_equal(folder, records, whole)


@pytest.mark.parametrize("told", [KeyboardInterrupt("signal 15"), OSError(errno.ENOSPC, "No space left on device")])
@pytest.mark.parametrize("at", [1, 3, 6])
def test_what_happens_while_a_checkpoint_is_written_is_told_as_it_is(tmp_path, monkeypatch, told, at):
    """torch.save raises a RuntimeError of its own on top, in which an interrupt would be a failed training."""
    real, writes = io.open, iter(range(1, LAST_RESORT))

    class Stream(io.FileIO):
        def write(self, content):
            if next(writes) == at:
                raise told
            return super().write(content)

    monkeypatch.setattr(io, "open", lambda file, mode="r", *more, **options: (
        Stream(file, mode) if mode == "wb" else real(file, mode, *more, **options)
    ))  # fmt: skip
    with pytest.raises(type(told)):
        checkpoint.save(tmp_path / "checkpoint.pt", {"model": torch.zeros(1000)})
    assert not list(tmp_path.iterdir())
