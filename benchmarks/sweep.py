"""A p_mix sweep of LF-DNN in one process against one process per trial, on a small synthetic corpus.

python -m benchmarks.sweep --trials 20
python -m benchmarks.sweep --trials 20 --clock cpu --repeats 1        processor time of all processes
"""

from __future__ import annotations

import argparse
import os
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

from benchmarks.measure import ROOT, compare

SMALL = (
    "model=lf_dnn",
    "dataset=synthetic",
    "dataset.sizes={train: 128, valid: 64, test: 64}",
    "trainer.max_epochs=5",
    "trainer.device=cpu",
    "seeds=1",
)


def of_children() -> float:
    """Processor seconds of the processes that were started here and have ended."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


CLOCKS: dict[str, Callable[[], float]] = {"wall": time.perf_counter, "cpu": of_children}


def arguments() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--trials", type=int, default=20)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--clock", choices=tuple(CLOCKS), default="wall")
    parser.add_argument("--override", nargs="*", default=[], help="further overrides of both sides")
    return parser


def main() -> None:
    given = arguments().parse_args()
    values = [f"{(trial + 1) / given.trials:g}" for trial in range(given.trials)]
    overrides = (*SMALL, *given.override)
    sides = [partial(side, values, overrides) for side in (one_process, many_processes)]
    clock = CLOCKS[given.clock]
    times = list(zip(*([seconds(side, clock) for side in sides] for _ in range(given.repeats))))
    name, unit = f"sweep/lf_dnn/{given.trials} trials", f"{given.clock} seconds"
    print(compare(name, *times, unit, threads=1, overrides=overrides).line())


def seconds(side: Callable[[], None], clock: Callable[[], float]) -> float:
    start = clock()
    side()
    return clock() - start


def one_process(values: list[str], overrides: tuple[str, ...]) -> None:
    with tempfile.TemporaryDirectory() as outputs:
        powmix("-m", f"mixer.p_mix={','.join(values)}", f"outputs={outputs}", *overrides)
        expect(outputs, len(values))


def many_processes(values: list[str], overrides: tuple[str, ...]) -> None:
    with tempfile.TemporaryDirectory() as outputs:
        for value in values:
            powmix(f"mixer.p_mix={value}", f"outputs={outputs}", *overrides)
        expect(outputs, len(values))


def powmix(*command: str) -> None:
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    done = subprocess.run(
        [sys.executable, "-m", "powmix", *command], cwd=ROOT, env=environment, capture_output=True, text=True
    )
    if done.returncode:
        raise RuntimeError(f"powmix {' '.join(command)} failed:\n{done.stdout}\n{done.stderr}")


def expect(outputs: str, runs: int) -> None:
    found = len(list(Path(outputs, "runs").glob("*/result.json")))
    assert found == runs, f"{found} of {runs} runs left a result"


if __name__ == "__main__":
    main()
