"""The seeds of one run of LF-DNN, in one process against `workers=auto` (or N), on the synthetic corpus.

python -m benchmarks.seeds                            ten seeds, pairs A B A B ..., wall clock: the machine must be idle
python -m benchmarks.seeds --startup                  processor seconds of a one-seed run, and of the same command again
"""

from __future__ import annotations

import argparse
import json
import os
import tempfile
import time
from functools import partial

from benchmarks.measure import compare, machine
from benchmarks.sweep import expect, of_children, powmix, seconds

RUN = ("model=lf_dnn", "dataset=synthetic", "trainer.device=cpu")


def arguments() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=10)
    parser.add_argument("--workers", default="auto")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--override", nargs="*", default=[], help="further overrides of both sides")
    parser.add_argument("--startup", action="store_true", help="one seed, and its finished run, by processor time")
    return parser


def main() -> None:
    given = arguments().parse_args()
    if given.startup:
        startup(given)
        return
    sides = [partial(run, given, workers) for workers in (given.workers, 1)]
    times = list(zip(*([seconds(side, time.perf_counter) for side in sides] for _ in range(given.repeats))))
    name, load = f"seeds/lf_dnn/{given.seeds} seeds, workers={given.workers}", os.getloadavg()[0]
    print(compare(name, *times, "wall seconds", threads=1, overrides=given.override, load=load).line())


def run(given: argparse.Namespace, workers: int | str) -> None:
    with tempfile.TemporaryDirectory() as outputs:
        powmix(*RUN, f"seeds={given.seeds}", f"workers={workers}", f"outputs={outputs}", *given.override)
        expect(outputs, 1)


def startup(given: argparse.Namespace) -> None:
    times: list[tuple[float, float]] = []
    for _ in range(given.repeats):
        with tempfile.TemporaryDirectory() as outputs:
            command = partial(powmix, *RUN, "seeds=1", f"outputs={outputs}", *given.override)
            times.append((seconds(command, of_children), seconds(command, of_children)))
    trained, found = (sorted(side) for side in zip(*times))
    print(json.dumps({"one seed": trained, "finished": found, "load": os.getloadavg()[0], "machine": machine()}))


if __name__ == "__main__":
    main()
