"""The seeds of a run side by side, in the worker processes of one pool: `workers=auto` or a number.

A seed's numbers and files are those of one process that trains them in turn. A worker ends when its parent does,
however that ends, and leaves what an interrupted training leaves: the same command continues.
"""

from __future__ import annotations

import logging
import os
import signal
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from functools import cache
from multiprocessing import get_context
from multiprocessing.connection import Connection
from typing import Any

from powmix.training.interruption import sigterm_as_interrupt
from powmix.training.listener import Listener, TrainingFailed

Record = dict[str, Any]
Train = Callable[[int], Record]

START = 3.0
"""Seconds of processor time that a worker needs before it trains: torch's import above all."""
KILLED = "a worker process was killed (for its memory? workers=1 needs least): finished seeds are kept"
_given: list[Callable[[], Train]] = []


def usable(threads: int) -> int:
    """How many processes of so many threads have a core for each: `workers=auto`."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return cores // threads


class _Moved(Exception):
    """The first seed goes on in a worker."""


class _Clock(Listener):
    def __init__(self) -> None:
        self.began = time.perf_counter()

    def on_epoch(self, seed: int, row: Mapping[str, Any]) -> None:
        if time.perf_counter() - self.began > START:
            raise _Moved


def is_short(train: Callable[[Listener], Any]) -> bool:
    """Whether a seed ends within START seconds, so that workers do not pay; else it stops at its checkpoint.

    train: trains the seed, telling a listener of its epochs.
    """
    try:
        train(_Clock())
    except _Moved:
        return False
    except TrainingFailed:
        pass  # it says so when it is trained in earnest
    return True


def train_in_workers(
    begin: Callable[[], Train], seeds: Sequence[int], workers: int, on_seed_end: Callable[[int, Record], None]
) -> dict[int, Record]:
    """Trains seeds, `workers` of them at a time; their records by seed.

    begin: is pickled, and called once in each worker; what it gives trains one seed there. on_seed_end: hears of each
    seed as it ends. A seed that diverges does not keep the others from training: TrainingFailed names all that did, at
    the end. Whatever else goes wrong ends all workers and is raised, BrokenProcessPool where one of them was killed.
    """
    context, records, failures = get_context("spawn"), {}, []
    theirs, ours = context.Pipe(duplex=False)
    pool = ProcessPoolExecutor(workers, context, _enter, (begin, theirs))
    with sigterm_as_interrupt():
        try:
            with _deaf_to_ctrl_c():
                futures = {pool.submit(_train, seed): seed for seed in seeds}
            for future in as_completed(futures):
                seed = futures[future]
                try:
                    records[seed] = future.result()
                except TrainingFailed as error:
                    failures.append((seeds.index(seed), str(error)))
                    continue
                on_seed_end(seed, records[seed])
        except BrokenProcessPool as error:
            raise BrokenProcessPool(KILLED) from error
        finally:
            ours.close()  # with it every worker ends
            pool.shutdown(cancel_futures=True)
            theirs.close()
    if failures:
        raise TrainingFailed("; ".join(said for _, said in sorted(failures)))
    return records


# --- in a worker ------------------------------------------------------------------------------------------------------


def _enter(begin: Callable[[], Train], parent: Connection) -> None:
    _given.append(begin)
    threading.Thread(target=_end_with, args=(parent,), daemon=True).start()
    logging.getLogger("powmix").setLevel(logging.ERROR)  # the parent has said what there is to say of data and plugins


def _end_with(parent: Connection) -> None:
    """Interrupts this process when the parent's end of the pipe closes: by its own hand or by its death."""
    try:
        parent.recv()
    except (EOFError, OSError):
        os.kill(os.getpid(), signal.SIGTERM)


@cache
def _trainer() -> Train:
    return _given[0]()


def _train(seed: int) -> Record:
    try:
        return _trainer()(seed)
    except KeyboardInterrupt:  # SIGTERM in the middle of a training; the pool would go on with the next seed
        os._exit(1)


@contextmanager
def _deaf_to_ctrl_c() -> Iterator[None]:
    """Processes that are started inside hear no Ctrl-C, which a terminal sends to all: their parent ends them."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
