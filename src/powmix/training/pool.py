"""Worker processes that train seeds of a run beside the process that runs it.

The run's process trains one seed after another and hears of what the workers train: bars, trackers and results are its
alone. Every process takes the next seed that nobody has begun. A worker reads the same configuration and the same
memory-mapped data and computes with as many threads, so a seed's numbers are the same to the last bit wherever it is
trained. What is lost with a worker that is killed continues from its checkpoint.

10 seeds of LF-DNN on two idle cores: benchmarks/README.md, "A process and a trial".
"""

from __future__ import annotations

import logging
import multiprocessing
import os
import queue
import signal
import threading
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from multiprocessing.connection import Connection
from multiprocessing.synchronize import Lock
from pathlib import Path
from typing import Any

from powmix.training.listener import Listener, TrainingFailed
from powmix.training.settings import Settings

log = logging.getLogger("powmix")

TrainOne = Callable[[int, Path, Listener], Mapping[str, Any]]
"""Trains a seed in a folder, tells a listener of it, and returns its record."""
PAYS = 10.0
"""Seconds that the waiting seeds must take at least before `auto` starts workers: each needs about three to start."""
LOOKED_EVERY = 0.1


class Pool:
    """How many worker processes a run may start, and how each begins.

    workers: processes that train at a time, the run's own counted; 1: no other. start: called in each worker, once; it
    gives what trains a seed there, and must be picklable. if_it_pays: start none before an epoch
    has shown that the waiting seeds take longer than PAYS.
    """

    def __init__(self, workers: int = 1, start: Callable[[], TrainOne] | None = None, if_it_pays: bool = False):
        self.workers, self.start, self.if_it_pays = workers, start, if_it_pays

    @contextmanager
    def beside(
        self, waiting: deque[int], folder_of: Callable[[int], Path], settings: Settings, listener: Listener
    ) -> Iterator[Others]:
        """While it is entered, workers take seeds from `waiting`; whatever ends it, none of them goes on."""
        others = Others(self, waiting, folder_of, settings, listener)
        try:
            if not self.if_it_pays:
                others.start()
            yield others
        finally:
            others.end()


def usable(workers: int | str, threads: int, device: str) -> int:
    """`auto` as a number: the cores that this process may use over `threads`; 1 on a GPU and in a worker process."""
    if isinstance(workers, int):
        return workers
    if device != "cpu" or multiprocessing.parent_process() is not None:
        return 1
    return max(1, len(os.sched_getaffinity(0)) // threads)


class Others:
    """The workers of one run as its own process sees them.

    begun: seeds that the listener was told of. records, failures: what the workers' seeds came to.
    """

    def __init__(
        self,
        pool: Pool,
        waiting: deque[int],
        folder_of: Callable[[int], Path],
        settings: Settings,
        listener: Listener,
    ):
        self.pool, self.waiting, self.folder_of = pool, waiting, folder_of
        self.settings, self.listener = settings, listener
        self.begun: set[int] = set()
        self.records: dict[int, Mapping[str, Any]] = {}
        self.failures: dict[int, str] = {}
        self.at_work: dict[int, Future] = {}
        self.heard: queue.SimpleQueue[tuple[int, str, tuple]] = queue.SimpleQueue()
        self.executor: ProcessPoolExecutor | None = None
        self.places = 0
        self.epochs = 0  # that this process has trained

    # --- what the run's process does ----------------------------------------------------------------------------------

    def next_seed(self) -> int | None:
        """The next seed for this process; where none waits, None, once the workers have done theirs."""
        while True:
            if self.waiting:
                return self.waiting.popleft()
            if not self.at_work:
                return None
            self.look(LOOKED_EVERY)

    def listening(self) -> Listener:
        """The run's listener for a seed that is trained here; between its epochs it hears of the workers' seeds."""
        return _Own(self, self.listener)

    def look(self, patience: float = 0.0) -> None:
        """Tells the listener what the workers' seeds have come to, and gives free workers the next seeds.

        An error of a worker is raised; one that was killed is told, and this process trains what is left.
        """
        self._tell(patience)
        done = [seed for seed, future in self.at_work.items() if future.done()]
        errors = {seed: self.at_work[seed].exception() for seed in done}
        if any(isinstance(error, BrokenProcessPool) for error in errors.values()):
            self._go_on_alone()
            return
        for seed, error in errors.items():
            if error is not None and not isinstance(error, TrainingFailed):
                raise error
            if isinstance(error, TrainingFailed):
                self.failures[seed] = str(error)
            if error is None and seed not in self.records:
                continue  # its last event is on its way
            del self.at_work[seed]
        self._hand_out()

    def start(self) -> None:
        """Starts as many workers as there are seeds for, if any."""
        helpers = min(self.pool.workers - 1, len(self.waiting) - (not self.epochs))  # one is left for this process
        if helpers < 1 or self.executor:
            return
        assert self.pool.start is not None
        context = multiprocessing.get_context("forkserver")
        context.set_forkserver_preload([getattr(self.pool.start, "func", self.pool.start).__module__])
        alive, self.alive = context.Pipe(duplex=False)
        hears, tells = context.Pipe(duplex=False)
        self.reader = threading.Thread(target=_hear, args=(hears, self.heard), daemon=True)
        self.reader.start()
        self.ends, self.places = (alive, tells), helpers
        self.executor = ProcessPoolExecutor(
            helpers, context, initializer=_begin, initargs=(alive, tells, context.Lock(), self.pool.start)
        )
        self._hand_out()

    def after_epoch(self, seconds: float) -> None:
        """`auto`: starts workers where the waiting seeds take longer than PAYS, as far as one can know.

        seconds: of an epoch of this process; its first, which warms up, does not count. Each seed has `early_stop`
        epochs at least.
        """
        self.epochs += 1
        at_least = min(self.settings.max_epochs, self.settings.early_stop)
        if self.pool.if_it_pays and self.epochs > 1 and seconds * at_least * len(self.waiting) > PAYS:
            self.start()

    def end(self) -> None:
        """Ends all workers, at once where they are at work."""
        if self.executor is None:
            return
        executor, self.executor = self.executor, None
        if self.at_work:
            self.alive.close()
        executor.shutdown(wait=True, cancel_futures=True)
        for connection in (self.alive, *self.ends):
            connection.close()
        self.reader.join()

    # --- inside -------------------------------------------------------------------------------------------------------

    def _hand_out(self) -> None:
        """Gives every free worker a seed, the last that waits: this process takes the first."""
        while self.executor and self.waiting and len(self.at_work) < self.places:
            seed = self.waiting.pop()
            self.at_work[seed] = self.executor.submit(_train, seed, self.folder_of(seed))

    def _tell(self, patience: float) -> None:
        try:
            event = self.heard.get(timeout=patience) if patience else self.heard.get_nowait()
            while True:
                self._hear(*event)
                event = self.heard.get_nowait()
        except queue.Empty:
            return

    def _hear(self, seed: int, name: str, told: tuple) -> None:
        if name == "on_seed_start":
            if seed not in self.begun:
                self.begun.add(seed)
                self.listener.on_seed_start(seed, self.settings.max_epochs)
            return
        if name == "on_seed_end":
            self.records[seed] = told[0]
        getattr(self.listener, name)(seed, *told)

    def _go_on_alone(self) -> None:
        """A worker was killed, and its pool ended the others: their seeds wait again, in front."""
        self.end()
        self._tell(0.0)
        lost = [seed for seed in self.at_work if seed not in self.records]
        log.warning("a worker process was killed (memory?): this process goes on alone with what is not finished")
        self.waiting.extendleft(lost)
        self.at_work.clear()


class _Own(Listener):
    """Hears of a seed that the run's process trains; between its epochs it looks after the workers."""

    def __init__(self, others: Others, listener: Listener):
        self.others, self.listener = others, listener

    def on_seed_continued(self, seed: int, rows: Sequence[Mapping[str, Any]]) -> None:
        self.listener.on_seed_continued(seed, rows)

    def on_epoch(self, seed: int, row: Mapping[str, Any]) -> None:
        self.others.after_epoch(row["seconds"])
        self.listener.on_epoch(seed, row)
        self.others.look()


# --- in a worker ------------------------------------------------------------------------------------------------------

_here: dict[str, Any] = {}


class _Told(Listener):
    """Sends what it hears to the run's process."""

    def on_seed_start(self, seed: int, max_epochs: int) -> None:
        _send(seed, "on_seed_start")

    def on_seed_continued(self, seed: int, rows: Sequence[Mapping[str, Any]]) -> None:
        _send(seed, "on_seed_continued", list(rows))

    def on_epoch(self, seed: int, row: Mapping[str, Any]) -> None:
        _send(seed, "on_epoch", dict(row))

    def on_seed_end(self, seed: int, record: Mapping[str, Any]) -> None:
        _send(seed, "on_seed_end", dict(record))


def _begin(alive: Connection, tells: Connection, lock: Lock, start: Callable[[], TrainOne]) -> None:
    """A worker's first act. Ctrl-C is the run's process's to hear; a worker ends with that process, however it ends."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, lambda *_: os._exit(1))
    threading.Thread(target=_follow, args=(alive,), daemon=True).start()
    _here.update(tells=tells, lock=lock, start=start)


def _follow(alive: Connection) -> None:
    """Ends this process when the other end of `alive` is closed; what is on disk is whole at any moment."""
    alive.poll(None)
    os._exit(1)


def _train(seed: int, folder: Path) -> None:
    if "train" not in _here:
        _here["train"] = _here["start"]()
    listener = _Told()
    listener.on_seed_start(seed, 0)
    listener.on_seed_end(seed, _here["train"](seed, folder, listener))


def _send(seed: int, name: str, *told: Any) -> None:
    with _here["lock"]:
        _here["tells"].send((seed, name, told))


def _hear(hears: Connection, heard: queue.SimpleQueue) -> None:
    """Passes on what workers send, until nobody can send any more; a message that a kill cut short ends it, too."""
    try:
        while True:
            heard.put(hears.recv())
    except (EOFError, OSError):
        hears.close()
