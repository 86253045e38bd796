"""Seeds stacked as one computation against the same seeds one after another: both sides are ours.

python -m benchmarks.stack --model lf_dnn --setting synthetic         the embedded corpus, its recipe
python -m benchmarks.stack --model mult --setting aligned --threads 2
python -m benchmarks.stack --model mult --setting aligned --rows 256  a slice of an epoch, scaled

`ours`: seconds of a training epoch of all seeds, stacked; `reference`: solo.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from functools import partial

from omegaconf import OmegaConf
from powmix.training.loop import train_pass
from powmix.training.stack import Stack

from benchmarks.contenders import CONF, Ours
from benchmarks.corpus import STEPS, TRAINING, mosi_sized
from benchmarks.measure import Worker, compare, interleave
from powmix import data, models
from powmix.data.splits import Splits

STACKABLE = ("lf_dnn", "mult", "tfn")
SYNTHETIC = "synthetic"


def arguments() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", choices=STACKABLE, default="lf_dnn")
    parser.add_argument("--setting", choices=(SYNTHETIC, *STEPS), default="aligned")
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--rows", type=int, help="time so many of MOSI's training examples and scale to an epoch")
    parser.add_argument("--mixer", default="powmix")
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--warmup", type=int, default=1, help="epochs (or slices) of each side before the first timing")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--clock", choices=("wall", "cpu"), default="wall")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--override", nargs="*", default=[], help="of our configuration: model.levels=2 ...")
    return parser


def main() -> None:
    given = arguments().parse_args()
    workers = [Worker(partial(side, given), given.threads, given.clock) for side in (stacked, solo)]
    times = interleave(*workers, given.repeats, given.warmup)
    for worker in workers:
        worker.close()
    whole = given.setting == SYNTHETIC or given.rows is None
    scaled = [[value if whole else value * TRAINING / given.rows for value in side] for side in times]
    name = f"stack/{given.model}/{given.setting}/{given.device}/{given.seeds} seeds"
    notes = {key: getattr(given, key) for key in ("mixer", "rows", "override") if getattr(given, key)}
    print(compare(name, *scaled, f"{given.clock} seconds per epoch", threads=given.threads, **notes).line())


def stacked(given: argparse.Namespace) -> Callable[[], None]:
    """All seeds' epoch as one computation."""
    crew = Stack([side.solver for side in sides(given)])

    def epoch() -> None:
        train_pass(crew)
        for solver in crew.solvers:
            solver.history.append({})

    return epoch


def solo(given: argparse.Namespace) -> Callable[[], None]:
    """Each seed's epoch, one after another."""
    seeds = sides(given)
    return lambda: [seed.epoch() for seed in seeds]


def sides(given: argparse.Namespace) -> list[Ours]:
    """A training for each seed, before its first epoch."""
    splits = corpus(given)
    dataset = SYNTHETIC if given.setting == SYNTHETIC else "mosi"
    options = {"dataset": dataset, "mixer": {"name": given.mixer}, "device": given.device}
    return [Ours(given.model, splits, *given.override, **options, seed=1111 + seed) for seed in range(given.seeds)]


def corpus(given: argparse.Namespace) -> Splits:
    if given.setting == SYNTHETIC:
        options = OmegaConf.to_container(OmegaConf.load(CONF / "dataset" / "synthetic.yaml"))
        return data.load(options, models.needs(given.model))
    return mosi_sized(given.setting, given.rows)


if __name__ == "__main__":
    main()
