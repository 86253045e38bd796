"""A pool of GPUs on one machine, `trials_per_gpu` trials on each, shared by every process that draws on it."""

import fcntl
import logging
import os
import re
import subprocess
import time
from collections.abc import Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import IO

log = logging.getLogger(__name__)
_kept: list[tuple[str, IO]] = []


def list_gpus(gpus: str | Sequence | None) -> list[str]:
    """The pool's GPUs: none for null, those visible to this process for `auto`, or the listed ones.

    Errors: ValueError for anything else and for a GPU that this machine does not have.
    """
    if gpus is None:
        return []
    if gpus != "auto" and isinstance(gpus, str | int):
        raise ValueError(f"hydra.sweeper.gpus: got {gpus!r}, allowed null, auto or a list such as [0,1]")
    visible = [gpu.strip() for gpu in os.environ.get("CUDA_VISIBLE_DEVICES", "").split(",") if gpu.strip()]
    if gpus == "auto":
        return visible if "CUDA_VISIBLE_DEVICES" in os.environ else _installed()[0]
    numbers, names = _installed()
    listed = [str(gpu) for gpu in gpus]
    if absent := [gpu for gpu in listed if gpu not in {*numbers, *names, *visible}]:
        there = ", ".join(dict.fromkeys([*numbers, *visible])) or "none"
        raise ValueError(f"hydra.sweeper.gpus: got {', '.join(absent)}, this machine's GPUs: {there}")
    return listed


def n_slots(gpus: Sequence[str], trials_per_gpu: int) -> int:
    if trials_per_gpu < 1:
        raise ValueError(f"hydra.sweeper.trials_per_gpu: got {trials_per_gpu}, allowed 1 or more")
    return len(gpus) * trials_per_gpu


@contextmanager
def slot(gpus: Sequence[str], trials_per_gpu: int, folder: Path | None = None):
    """A place on one GPU for as long as the block runs: the least filled GPU first; waits while the pool is full.

    A place is a locked file, so the system takes it back from a process however it ends. Yields the GPU, or None for
    an empty pool. One process keeps its place for all its trials: CUDA, once initialised, does not change device.
    """
    if not gpus:
        yield None
        return
    gpu, file = _wait_for_place(gpus, trials_per_gpu, folder or places_folder())
    try:
        yield gpu
    finally:
        file.close()


def keep_place(gpus: str, trials_per_gpu: int) -> str:
    """`${gpu_place:auto,1}`: a GPU of the pool for the rest of this process's life; empty where there is none."""
    if _kept:
        return _kept[0][0]
    pool = list_gpus(gpus)
    if not pool:
        return ""
    _kept.append(_wait_for_place(pool, trials_per_gpu, places_folder()))
    return _kept[0][0]


def places_folder() -> Path:
    """Where a user's places on this machine are kept: one folder for all processes, whatever their TMPDIR."""
    folder = Path("/tmp") / f"powmix-gpus-{os.getuid()}"
    folder.mkdir(mode=0o700, exist_ok=True)
    if folder.stat().st_uid != os.getuid():
        raise ValueError(f"{folder} belongs to another user, so it cannot keep the places on the GPUs")
    return folder


def _wait_for_place(gpus: Sequence[str], trials_per_gpu: int, folder: Path) -> tuple[str, IO]:
    announced = False
    while True:
        for place in range(trials_per_gpu):
            for gpu in gpus:
                file = open(folder / f"{re.sub(r'[^A-Za-z0-9-]', '_', gpu)}.{place}", "a")  # noqa: SIM115
                try:
                    fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                    return gpu, file
                except OSError:
                    file.close()
        if not announced:
            log.info(f"all {n_slots(gpus, trials_per_gpu)} places on GPUs {', '.join(gpus)} are taken: waiting")
            announced = True
        time.sleep(1)


def _installed() -> tuple[list[str], list[str]]:
    """The numbers and the UUIDs of this machine's GPUs."""
    try:
        listed = subprocess.run(["nvidia-smi", "-L"], capture_output=True, text=True, check=True, timeout=30).stdout
    except (OSError, subprocess.SubprocessError):
        return [], []
    return re.findall(r"^GPU (\d+):", listed, flags=re.MULTILINE), re.findall(r"UUID: ([\w-]+)", listed)
