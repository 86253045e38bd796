"""A training epoch of ours against the reference's, at MOSI's sizes.

python -m benchmarks.epoch --model mult --setting aligned --repeats 3
python -m benchmarks.epoch --model mult --setting unaligned --batches 8       a slice of an epoch, scaled
python -m benchmarks.epoch --model mult --memory                              peak memory, each in a process of its own
python -m benchmarks.epoch --model mult --protocol sound --against published  ours by one protocol against another
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from functools import partial

from benchmarks.contenders import Ours, Reference
from benchmarks.corpus import STEPS, TRAINING, mosi_sized
from benchmarks.measure import Worker, built, compare, interleave
from benchmarks.reference import MOSI, NAMES
from powmix.data.splits import Splits


def arguments() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", choices=NAMES, default="mult")
    parser.add_argument("--setting", choices=tuple(STEPS), default="aligned")
    parser.add_argument("--batches", type=int, help="time so many batches of the recipe's size and scale to an epoch")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--warmup", type=int, default=1, help="epochs (or slices) of each side before the first timing")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--clock", choices=("wall", "cpu"), default="wall")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--bert", choices=("small", "base"), default="small")
    parser.add_argument("--override", nargs="*", default=[], help="of our configuration: trainer.bucket=true ...")
    parser.add_argument("--protocol", choices=("published", "sound"), default="published", help="of ours")
    parser.add_argument("--against", choices=("reference", "published"), default="reference")
    parser.add_argument("--memory", action="store_true", help="peak resident memory of one epoch instead of its time")
    parser.add_argument("--detach", action="store_true", help="the reference keeps no graphs")
    return parser


def main() -> None:
    given = arguments().parse_args()
    workers = built([Worker(partial(side, given), given.threads, given.clock) for side in (ours, reference)])
    (memory if given.memory else timing)(given, *workers)
    for worker in workers:
        worker.close()


def corpus(given: argparse.Namespace) -> Splits:
    return mosi_sized(given.setting, given.batches * MOSI[given.model].batch_size if given.batches else None)


def ours(given: argparse.Namespace) -> Callable[[], None]:
    options = {"bert": given.bert, "device": given.device, "protocol": given.protocol}
    return Ours(given.model, corpus(given), *given.override, **options).epoch


def reference(given: argparse.Namespace) -> Callable[[], None]:
    if given.against == "published":
        return Ours(given.model, corpus(given), *given.override, bert=given.bert, device=given.device).epoch
    keep = not given.detach
    return Reference(given.model, corpus(given), keep_graphs=keep, bert=given.bert, device=given.device).epoch


def timing(given: argparse.Namespace, mine: Worker, theirs: Worker) -> None:
    """Seconds of an epoch. A slice scales by examples; the groups of accumulated batches should divide it."""
    times = interleave(mine, theirs, given.repeats, given.warmup)
    part = given.batches * MOSI[given.model].batch_size / TRAINING if given.batches else 1.0
    scaled = [[value / part for value in side] for side in times]
    print(compare(f"epoch/{title(given)}", *scaled, f"{given.clock} seconds per epoch", **notes(given)).line())


def memory(given: argparse.Namespace, mine: Worker, theirs: Worker) -> None:
    """Peak bytes of a process that trains an epoch (on a GPU: of its tensors); beside it, those before training."""
    peaks = [worker.measure()[1] for worker in (mine, theirs)]
    before = {"before_ours": mine.before, "before_reference": theirs.before}
    unit = "peak bytes"
    print(compare(f"memory/{title(given)}", [peaks[0]], [peaks[1]], unit, **before, **notes(given)).line())


def title(given: argparse.Namespace) -> str:
    compared = "" if given.against == "reference" else f"/{given.protocol} against {given.against}"
    return f"{given.model}/{given.setting}/{given.device}{compared}"


def notes(given: argparse.Namespace) -> dict[str, object]:
    wanted = ("batches", "bert", "override", "detach", "threads")
    return {key: getattr(given, key) for key in wanted if getattr(given, key)}


if __name__ == "__main__":
    main()
