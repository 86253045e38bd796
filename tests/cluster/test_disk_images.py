"""Power may fail at any moment: what the disk itself held then, copied without sync, costs no finished seed.

A run writes to a real ext4 on a loop device. The device's image is copied while the run works and after its end, each
copy is mounted, and the same command is run there. Needs root (mount) and mkfs.ext4. The file system is told not to
write data before the rename that needs it (noauto_da_alloc), and to commit names every second: the order is the
program's own business.
"""

import os
import re
import signal
import subprocess
import sys
import time
import traceback
from contextlib import contextmanager
from pathlib import Path

import pytest
from feature_files import content, write

import powmix.experiment  # noqa: F401  imported once, for all the forks
from powmix.__main__ import main
from powmix.runs.files import sync
from powmix.runs.seed_records import finished_seed

pytestmark = pytest.mark.cluster
SEEDS, EPOCHS, EVERY, MOMENTS, SIZE = (1111, 1112, 1113), 60, 5, 20, 32 * 2**20
RUN = ["dataset=mosi", "dataset.path=f.pkl", "model=lf_dnn", "trainer.device=cpu", "trainer.checkpoint=true"]
RUN += [f"trainer.max_epochs={EPOCHS}", f"trainer.early_stop={EPOCHS}", f"seeds={list(SEEDS)}".replace(" ", "")]


@contextmanager
def mounted(image: Path, place: Path):
    place.mkdir(exist_ok=True)
    subprocess.run(["mount", "-o", "loop,commit=1,noauto_da_alloc", image, place], check=True, capture_output=True)
    try:
        yield place
    finally:
        subprocess.run(["umount", place], check=True)


@pytest.fixture(scope="module")
def image(tmp_path_factory):
    """An empty ext4; the test is left out where none can be made or mounted."""
    folder = tmp_path_factory.mktemp("disk")
    path = folder / "image"
    with path.open("wb") as file:
        file.truncate(SIZE)
    try:
        subprocess.run(["mkfs.ext4", "-q", path], check=True, capture_output=True)
        with mounted(path, folder / "tried"):
            pass
    except (OSError, subprocess.CalledProcessError) as error:
        pytest.skip(f"needs root, mkfs.ext4 and a loop device: {error}")
    return path


@contextmanager
def started(place: Path):
    """The command as a process of its own, ended with the block."""
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    environment |= {"POWMIX_CACHE": str(place / "cache"), "OMP_NUM_THREADS": "1"}
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT, "text": True}
    running = subprocess.Popen([sys.executable, "-m", "powmix", *RUN], cwd=place, env=environment, **pipes)
    try:
        yield running
    finally:
        running.kill()
        running.communicate()


def same_command(place: Path) -> tuple[int, str]:
    """Runs the command once more, in a fork (all modules are here); its exit code and what it said."""
    said = place.with_suffix(".said")
    child = os.fork()
    if child:
        return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), said.read_text()
    code: object = 0
    with said.open("w") as out:
        try:
            os.chdir(place)
            os.environ["POWMIX_CACHE"] = str(place / "cache")
            sys.argv, sys.stdout, sys.stderr = ["powmix", *RUN], out, out
            main()
        except SystemExit as ended:
            code = ended.code
        except BaseException:
            traceback.print_exc(file=out)
            code = 1
        out.write(f"\n{code}\n")
    os._exit(code if isinstance(code, int) else 1)


def held(image: Path) -> bytes:
    """What the device holds at one moment: read until two readings, one after the other, are equal."""
    before, now = b"", image.read_bytes()
    while before != now:
        before, now = now, image.read_bytes()
    return now


def seeds_of(place: Path) -> dict[int, dict]:
    """The records of the seeds that are finished in a file system."""
    folders = {int(path.name.removeprefix("seed_")): path for path in place.glob("outputs/runs/*/seed_*")}
    found = {seed: finished_seed(path, seed) for seed, path in folders.items()}
    return {seed: record for seed, record in found.items() if record}


def files_of(place: Path) -> dict[str, bytes]:
    """What every seed leaves, but for how many seconds its epochs and all of it took."""
    found = {}
    for path in place.glob("outputs/runs/*/seed_*/*"):
        name = f"{path.parent.name}/{path.name}"
        if path.name == "history.csv":
            found[name] = b"\n".join(
                re.sub(rb"^([^,]*),[^,]*", rb"\1", line) for line in path.read_bytes().splitlines()
            )
        elif path.name != "result.json":
            found[name] = path.read_bytes()
    return found


def epoch_of(place: Path) -> object:
    """What changes with every epoch: the checkpoint is another file each time."""
    try:
        return sorted((str(path), path.stat().st_ino) for path in place.glob("outputs/runs/*/*/*.pt"))
    except FileNotFoundError:  # replaced, or gone with the seed's end, meanwhile
        return epoch_of(place)


def test_copies_of_the_device_without_sync_cost_no_finished_seed(tmp_path, image):
    copies: list[tuple[Path, dict[int, dict]]] = []

    def copy(place):
        target = tmp_path / f"copy{len(copies)}"
        target.write_bytes(held(image))
        copies.append((target, seeds_of(place)))

    with mounted(image, tmp_path / "disk") as place:
        sync(write(place / "f.pkl", content()))  # has lain there for long
        with started(place) as running:
            epochs, before = 0, None
            while running.poll() is None:
                if (now := epoch_of(place)) != before:
                    before, epochs = now, epochs + 1
                    if epochs % EVERY == 0:
                        running.send_signal(signal.SIGSTOP)  # the file system goes on writing
                        copy(place)
                        running.send_signal(signal.SIGCONT)
                time.sleep(0.005)
            assert running.returncode == 0, running.stdout.read()
        copy(place)
        time.sleep(3)
        copy(place)
        whole, records = files_of(place), seeds_of(place)
    assert sorted(records) == list(SEEDS) and len(whole) == 9
    within = copies[:-2]
    assert len(within) > MOMENTS
    chosen = [within[place * len(within) // MOMENTS] for place in range(MOMENTS)] + copies[-2:]
    assert {len(finished) for _, finished in chosen} == {0, 1, 2, 3}, "copies of every stage"
    for path, finished in chosen:
        with mounted(path, tmp_path / "again") as place:
            assert seeds_of(place) == finished | seeds_of(place), path.name
            code, said = same_command(place)
            assert code == 0 and "Traceback" not in said, said
            assert {seed: record for seed, record in seeds_of(place).items() if seed in finished} == finished
            assert files_of(place) == whole, path.name
        path.unlink()


@pytest.mark.parametrize("size", ["16k", "28k", "40k"])
def test_a_cache_on_a_disk_that_is_really_full_says_so_and_works_once_there_is_room(tmp_path, size):
    path, place = write(tmp_path / "f.pkl", content()), tmp_path / "cache"
    place.mkdir()
    try:
        subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", place], check=True, capture_output=True)
    except (OSError, subprocess.CalledProcessError) as error:
        pytest.skip(f"needs root: {error}")
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path)), "POWMIX_CACHE": str(place)}

    def convert():
        command = [sys.executable, "-m", "powmix.data", "convert", str(path)]
        return subprocess.run(command, env=environment, capture_output=True, text=True, timeout=300)

    try:
        done = convert()
        assert done.returncode == 2 and done.stderr.count("\n") == 1, (done.returncode, done.stderr)
        assert "cannot write" in done.stderr and "POWMIX_CACHE" in done.stderr
        assert not list(place.rglob("*tmp*"))
        subprocess.run(["mount", "-o", "remount,size=10m", place], check=True)
        done = convert()
        assert done.returncode == 0, done.stderr
    finally:
        subprocess.run(["umount", place], check=True)
