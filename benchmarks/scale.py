"""What a file of MOSEI's size costs, and a sixteenth and a quarter of it: does every cost grow as the clips do?

python -m benchmarks.scale                                  unaligned MOSEI, 8.5 GB: 17 GB of disk, half an hour
python -m benchmarks.scale --batches 16                     ... a slice of each epoch, drawn from the whole split
python -m benchmarks.scale --shares 1/16 1/4 --models lf_dnn
python -m benchmarks.scale --folder DIR --keep              files and stores stay in DIR for the next time

Of each share: the file is written (mosei_file.py), converted, opened, and each model trains an epoch, validates and
tests, each in a process of its own. A line for each: `ours` is the cost at this share, `reference` at the first one,
times by 1000 clips: a ratio of 1 is a cost that grows as the clips do, below 1 faster. Own memory is anonymous memory
(RssAnon) at its peak; a mapped file's pages are beside it, and as long as none is dirty the system takes them back.
"""

from __future__ import annotations

import argparse
import os
import shutil
import tempfile
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from dataclasses import replace
from fractions import Fraction
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import torch

from benchmarks.contenders import Ours, composed
from benchmarks.measure import CLOCKS, compare
from benchmarks.mosei_file import write_mosei
from powmix import models
from powmix.data import load
from powmix.data.splits import Split
from powmix.data.store import open_store

DATASET = "mosei"
SLICE = {"mult": 8}
"""Batches that a model trains unless it is said otherwise; the others train an epoch."""
MODELS = ("lf_dnn", "tfn", "self_mm", "mult")
TIMES, MEMORY = "{} seconds per 1000 clips", "bytes of own memory at the peak"


def arguments() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--shares", type=Fraction, nargs="+", default=[Fraction(1, 16), Fraction(1, 4), Fraction(1)])
    parser.add_argument("--models", choices=MODELS, nargs="*", default=MODELS)
    parser.add_argument("--batches", type=int, help="of every model, instead of an epoch (MulT: 8 unless said)")
    parser.add_argument("--folder", type=Path, default=Path(tempfile.gettempdir()) / "powmix-scale")
    parser.add_argument("--keep", action="store_true", help="remove neither files nor stores")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--clock", choices=tuple(CLOCKS), default="wall")
    return parser


def main() -> None:
    given = arguments().parse_args()
    first: dict[str, float] = {}
    for share in given.shares:
        folder = given.folder / str(share).replace("/", "_")
        os.environ["POWMIX_CACHE"] = str(folder / "cache")
        for name, unit, value, notes in costs(folder, share, given):
            figure = compare(
                f"scale/{name}/{share}", [value], [first.setdefault(name, value)], unit, threads=given.threads, **notes
            )
            print(figure.line(), flush=True)
        if not given.keep:
            shutil.rmtree(folder)


def costs(folder: Path, share: Fraction, given: argparse.Namespace) -> Iterator[tuple[str, str, float, dict[str, Any]]]:
    """Name, unit, value and notes of each figure of a share."""
    path, clock, times = folder / "mosei.pkl", given.clock, TIMES.format(given.clock)
    if not path.is_file():
        folder.mkdir(parents=True, exist_ok=True)
        apart(write_mosei, path, float(share))
    found = apart(convert, path)
    clips, told = found["clips"], {key: found[key] for key in ("clips", *CLOCKS, "resident")}
    if found["converted"]:
        yield "convert", times, 1000 * found[clock] / clips, told
        yield "convert_memory", MEMORY, found["own"], told
    yield "open", f"{clock} seconds", apart(reopen, path)[clock], {"clips": clips}
    for model in given.models:
        found = apart(epoch, path, model, given.batches or SLICE.get(model), given.threads)
        told = {key: found[key] for key in ("clips", *CLOCKS, "before", "mapped", "dirty")}
        yield f"epoch/{model}", times, 1000 * found[clock] / found["clips"], told
        yield f"memory/{model}", MEMORY, found["own"], told


def apart(work: Callable[..., Any], *given: Any) -> Any:
    """What a function gives in a process of its own."""
    with ProcessPoolExecutor(1, get_context("spawn")) as pool:
        return pool.submit(work, *given).result()


# --- in a process of its own ------------------------------------------------------------------------------------------


def convert(path: Path) -> dict[str, Any]:
    """The file's conversion; one that was kept is opened."""
    converted = not Path(os.environ["POWMIX_CACHE"]).exists()
    with own_memory() as own, spent() as seconds:
        sizes = open_store(path, DATASET).facts["sizes"]
    peak = 1024 * status()["VmHWM"]
    return {"converted": converted, "clips": sum(sizes.values()), **seconds, "own": max(own), "resident": peak}


def reopen(path: Path) -> dict[str, float]:
    """Seconds until a converted file's splits are at hand, its libraries imported."""
    with spent() as seconds:
        load({"name": DATASET, "path": str(path)}, ("*",), "regression")
    return seconds


def epoch(path: Path, model: str, batches: int | None, threads: int) -> dict[str, Any]:
    """A training epoch with its validation, timed; then the test, that its memory is seen, too.

    batches: train so many, drawn from the whole split, and validate and test as many clips.
    """
    torch.set_num_threads(threads)
    config = composed(model, dataset=DATASET)
    options = {key: value for key, value in config["model"].items() if key != "name"}
    splits = load({"name": DATASET, "path": str(path)}, models.needs(model, options), "regression")
    trained = len(splits.train)
    if batches:
        trained = min(trained, batches * config["trainer"]["batch_size"])
        splits = replace(splits, valid=beginning(splits.valid, trained), test=beginning(splits.test, trained))
    before = 1024 * status()["RssAnon"]
    with own_memory() as own:
        solver = Ours(model, splits, dataset=DATASET).solver
        drawn = solver.batches
        solver.batches = lambda: drawn()[:batches]
        with spent() as seconds:
            solver.train_epoch()
        solver.evaluate(splits.test)
    mapped, dirty = mapped_bytes(os.environ["POWMIX_CACHE"])
    clips = trained + len(splits.valid)
    return {"clips": clips, **seconds, "own": max(own), "before": before, "mapped": mapped, "dirty": dirty}


def beginning(split: Split, size: int) -> Split:
    """The first clips of a split, as views: nothing is copied."""
    return replace(
        split,
        features={name: value[:size] for name, value in split.features.items()},
        tokens=None if split.tokens is None else split.tokens[:size],
        lengths={name: value[:size] for name, value in split.lengths.items()},
        target=split.target[:size],
        ids=split.ids[:size],
        raw_text=split.raw_text[:size],
    )


@contextmanager
def spent() -> Iterator[dict[str, float]]:
    """Seconds by each clock, when it is left."""
    start = {name: now() for name, now in CLOCKS.items()}
    seconds: dict[str, float] = {}
    yield seconds
    seconds |= {name: now() - start[name] for name, now in CLOCKS.items()}


@contextmanager
def own_memory() -> Iterator[list[int]]:
    """Inside, the process's anonymous bytes every 10 ms; Linux keeps a peak of all resident memory alone."""
    seen, over = [1024 * status()["RssAnon"]], threading.Event()

    def watch() -> None:
        while not over.wait(0.01):
            seen.append(1024 * status()["RssAnon"])

    thread = threading.Thread(target=watch, daemon=True)
    thread.start()
    try:
        yield seen
    finally:
        over.set()
        thread.join()


def status() -> dict[str, int]:
    """What Linux says of this process's memory, in KiB."""
    lines = (line.split() for line in Path("/proc/self/status").read_text().splitlines())
    return {line[0].rstrip(":"): int(line[1]) for line in lines if line[-1] == "kB"}


def mapped_bytes(folder: str) -> tuple[int, int]:
    """Resident bytes of the files in a folder that are mapped, and those of them that differ from the file."""
    resident = dirty = 0
    inside = False
    for line in Path("/proc/self/smaps").read_text().splitlines():
        key, *rest = line.split()
        if not key.endswith(":"):
            inside = folder in line
        elif inside and key == "Rss:":
            resident += 1024 * int(rest[0])
        elif inside and key == "Private_Dirty:":
            dirty += 1024 * int(rest[0])
    return resident, dirty


if __name__ == "__main__":
    main()
