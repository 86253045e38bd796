"""Several trainings at a time on one device, each a process: what each gains or loses, and all of them together.

python -m benchmarks.processes --model lf_dnn --processes 2 4 --device cuda
python -m benchmarks.processes --model lf_dnn --processes 2 4 --device cuda --mps

A JSON line for each number of processes: `ours` is seconds per epoch when so many train at once, over their number;
`reference` is one process alone; `ratio`, how many times as many epochs an hour has. `--mps` starts NVIDIA's
Multi-Process Service, in which kernels of different processes run side by side, and ends it again; RuntimeError where
`nvidia-cuda-mps-control` is not installed or does not start.
"""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from functools import partial

from benchmarks.contenders import Ours
from benchmarks.corpus import STEPS, TRAINING, mosi_sized
from benchmarks.measure import Worker, built, compare
from benchmarks.reference import MOSI, NAMES
from powmix.training.interruption import sigterm_as_interrupt

CONTROL = "nvidia-cuda-mps-control"


def arguments() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", choices=NAMES, default="lf_dnn")
    parser.add_argument("--setting", choices=tuple(STEPS), default="aligned")
    parser.add_argument("--processes", nargs="+", type=int, default=[2, 4])
    parser.add_argument("--batches", type=int, help="time so many batches of the recipe's size and scale to an epoch")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--mps", action="store_true")
    return parser


def main() -> None:
    given = arguments().parse_args()
    with service() if given.mps else nullcontext():
        workers = built([Worker(partial(training, given), given.threads, "wall") for _ in range(max(given.processes))])
        for worker in workers:
            worker.measure()
        if given.mps and not control("get_server_list").strip():
            raise RuntimeError("the processes run beside NVIDIA's Multi-Process Service, not in it")
        for count in given.processes:
            pairs = [(together(workers[:count]) / count, together(workers[:1])) for _ in range(given.repeats)]
            scale = TRAINING / (given.batches * MOSI[given.model].batch_size) if given.batches else 1.0
            mine, theirs = ([value * scale for value in side] for side in zip(*pairs, strict=True))
            name = f"processes/{given.model}/{given.device}/{count}{'/mps' * given.mps}"
            unit, notes = "wall seconds per epoch", {"processes": count, "mps": given.mps}
            print(compare(name, mine, theirs, unit, threads=given.threads, **notes).line(), flush=True)
        for worker in workers:
            worker.close()


def training(given: argparse.Namespace) -> Callable[[], None]:
    rows = given.batches * MOSI[given.model].batch_size if given.batches else None
    return Ours(given.model, mosi_sized(given.setting, rows), device=given.device).epoch


def together(workers: list[Worker]) -> float:
    """Seconds until the last of them has ended an epoch that they begin at once."""
    start = time.perf_counter()
    for worker in workers:
        worker.begin()
    for worker in workers:
        worker.result()
    return time.perf_counter() - start


@contextmanager
def service() -> Iterator[None]:
    """NVIDIA's Multi-Process Service for the processes started inside, its pipes in a folder of its own."""
    if shutil.which(CONTROL) is None:
        raise RuntimeError(f"{CONTROL} is not installed: it comes with NVIDIA's driver")
    with tempfile.TemporaryDirectory(prefix="powmix-mps-") as folder, sigterm_as_interrupt():
        places = {"CUDA_MPS_PIPE_DIRECTORY": folder, "CUDA_MPS_LOG_DIRECTORY": folder}
        os.environ.update(places)
        begun = subprocess.run([CONTROL, "-d"], capture_output=True, text=True, check=False)
        if begun.returncode:
            raise RuntimeError(f"{CONTROL} -d failed: {begun.stdout}{begun.stderr}")
        try:
            yield
        finally:
            control("quit")
            for name in places:
                del os.environ[name]


def control(order: str) -> str:
    """What the service's daemon answers."""
    return subprocess.run([CONTROL], input=f"{order}\n", text=True, capture_output=True, check=False, timeout=60).stdout


if __name__ == "__main__":
    main()
