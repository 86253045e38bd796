"""Ten seeds of LF-DNN on the synthetic corpus: one process against `workers=auto`, by the wall clock.

python -m benchmarks.seeds
python -m benchmarks.seeds --seeds 4 --repeats 1 --override trainer.max_epochs=20
"""

from __future__ import annotations

import argparse
import os
import tempfile
import time
from functools import partial

from benchmarks.measure import compare
from benchmarks.sweep import expect, powmix, seconds

COMMAND = ("model=lf_dnn", "dataset=synthetic", "trainer.device=cpu")


def arguments() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=10)
    parser.add_argument("--workers", default="auto")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--override", nargs="*", default=[], help="further overrides of both sides")
    return parser


def main() -> None:
    given = arguments().parse_args()
    overrides = (*COMMAND, f"seeds={given.seeds}", *given.override)
    sides = [partial(train, workers, overrides) for workers in (given.workers, "1")]
    load = os.getloadavg()[0]
    times = list(zip(*([seconds(side, time.perf_counter) for side in sides] for _ in range(given.repeats))))
    name = f"seeds/lf_dnn/{given.seeds} seeds/workers={given.workers}"
    print(compare(name, *times, "wall seconds", threads=1, overrides=overrides, load=load, times=times).line())


def train(workers: str, overrides: tuple[str, ...]) -> None:
    """One command, in a folder of its own."""
    with tempfile.TemporaryDirectory() as outputs:
        powmix(f"workers={workers}", f"outputs={outputs}", *overrides)
        expect(outputs, 1)


if __name__ == "__main__":
    main()
