"""How the benchmarks measure: interleaved repeats, ratios pair by pair, each side in a process of its own."""

from __future__ import annotations

import json
import multiprocessing
import os
import platform
import resource
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from functools import cached_property
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import torch

ROOT = Path(__file__).resolve().parents[1]
CLOCKS: dict[str, Callable[[], float]] = {"wall": time.perf_counter, "cpu": time.process_time}


@dataclass(frozen=True)
class Range:
    """What repeats of one measurement gave."""

    min: float
    median: float
    max: float

    @classmethod
    def of(cls, values: Sequence[float]) -> Range:
        return cls(min(values), statistics.median(values), max(values))


@dataclass(frozen=True)
class Figure:
    """One measured figure, a line of JSON.

    ratio: reference / ours (more is better for us) of each pair; None, as `reference`, where nothing is compared.
    load: the average number of waiting and running processes in the last minute, the benchmark's own included.
    """

    name: str
    unit: str
    repeats: int
    threads: int
    ours: Range
    reference: Range | None = None
    ratio: Range | None = None
    notes: dict[str, Any] = field(default_factory=dict)
    machine: dict[str, Any] = field(default_factory=lambda: machine())
    commit: str = field(default_factory=lambda: commit())
    date: str = field(default_factory=lambda: datetime.now(UTC).date().isoformat())
    load: float = field(default_factory=lambda: round(os.getloadavg()[0], 1))

    def line(self) -> str:
        return json.dumps(asdict(self))


def compare(
    name: str, ours: Sequence[float], reference: Sequence[float], unit: str, *, threads: int, **notes: Any
) -> Figure:
    """The figure of paired measurements; the median ratio is that of the pairs' own, not of the medians."""
    ratios = [theirs / mine for mine, theirs in zip(ours, reference, strict=True)]
    return Figure(name, unit, len(ours), threads, *map(Range.of, (ours, reference, ratios)), notes=notes)


def alone(name: str, values: Sequence[float], unit: str, *, threads: int, **notes: Any) -> Figure:
    """The figure of measurements that are compared with nothing."""
    return Figure(name, unit, len(values), threads, Range.of(values), notes=notes)


def seconds(work: Callable[[], object], clock: str = "wall") -> float:
    """How long one call takes, device work included."""
    synchronize()
    start = CLOCKS[clock]()
    work()
    synchronize()
    return CLOCKS[clock]() - start


class Worker:
    """One side of a comparison, in a process of its own: neither's allocator, caches or settings touch the other.

    make: a picklable function of no arguments that builds the side and returns the call to be timed. Several sides are
    built side by side; `built` waits for all of them, so that none is being built while another is timed.
    """

    def __init__(self, make: Callable[[], Callable[[], object]], threads: int, clock: str):
        context = multiprocessing.get_context("spawn")
        self.pipe, theirs = context.Pipe()
        self.process = context.Process(target=_serve, args=(theirs, make, threads, clock), daemon=True)
        self.process.start()
        theirs.close()

    @cached_property
    def before(self) -> int:
        """Peak bytes when everything was built and nothing had been called."""
        return self.pipe.recv()

    def measure(self) -> tuple[float, int]:
        """Seconds of one call, and the peak bytes after it (`peak`)."""
        self.begin()
        return self.result()

    def begin(self) -> None:
        """Starts one call and does not wait for it; `result` does."""
        self.pipe.send("go")

    def result(self) -> tuple[float, int]:
        return self.pipe.recv()

    def close(self) -> None:
        self.pipe.send("stop")
        self.process.join()


def built(workers: Sequence[Worker]) -> Sequence[Worker]:
    """Waits until all of them are ready for their first call."""
    for worker in workers:
        assert worker.before
    return workers


def _serve(pipe: Connection, make: Callable[[], Callable[[], object]], threads: int, clock: str) -> None:
    torch.set_num_threads(threads)
    work = make()
    pipe.send(peak())
    while pipe.recv() == "go":
        pipe.send((seconds(work, clock), peak()))


def interleave(ours: Worker, reference: Worker, repeats: int, warmup: int = 0) -> tuple[list[float], list[float]]:
    """Seconds of A B A B ...: what slows the machine for a while slows both."""
    for _ in range(warmup):
        ours.measure(), reference.measure()
    pairs = [(ours.measure()[0], reference.measure()[0]) for _ in range(repeats)]
    return [a for a, _ in pairs], [b for _, b in pairs]


def synchronize() -> None:
    """Waits for the GPU, where this process uses one."""
    if torch.cuda.is_initialized():
        torch.cuda.synchronize()


def peak() -> int:
    """Peak bytes of this process: of its tensors on the GPU where it uses one, else resident ones.

    Linux hands the peak of the process that started this one down into `ru_maxrss`; VmHWM starts anew.
    """
    if torch.cuda.is_initialized():
        return torch.cuda.max_memory_allocated()
    status = Path("/proc/self/status")
    if status.is_file():
        line = next(line for line in status.read_text().splitlines() if line.startswith("VmHWM"))
        return int(line.split()[1]) * 1024
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit


def machine() -> dict[str, Any]:
    """What a figure depends on: processor, cores, device, versions."""
    device = torch.cuda.get_device_name() if torch.cuda.is_available() else "cpu"
    versions = {"python": platform.python_version(), "torch": torch.__version__}
    return {"processor": processor(), "cores": os.cpu_count(), "device": device, **versions}


def processor() -> str:
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.is_file():
        for line in cpuinfo.read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()


def commit() -> str:
    """The commit that was measured, with `+` where the code differs from it."""
    code = ("src", "conf", "benchmarks", ":!benchmarks/figures.json", ":!benchmarks/README.md")
    try:
        sha = subprocess.check_output(
            ["git", "rev-parse", "--short", "HEAD"], cwd=ROOT, text=True, stderr=subprocess.DEVNULL
        ).strip()
        dirty = subprocess.check_output(
            ["git", "status", "--porcelain", "--", *code], cwd=ROOT, text=True, stderr=subprocess.DEVNULL
        ).strip()
    except (OSError, subprocess.CalledProcessError):
        return "unknown"
    return sha + ("+" if dirty else "")


def matmul_rate(size: int = 1024, repeats: int = 20, device: str = "cpu", clock: str = "wall") -> float:
    """Measured GFLOP/s of a square float32 product with the current number of threads."""
    a, b = torch.randn(size, size, device=device), torch.randn(size, size, device=device)
    a @ b
    spent = seconds(lambda: [a @ b for _ in range(repeats)], clock)
    return 2 * size**3 * repeats / spent / 1e9
