"""Several worker processes on one machine: each takes trials until none is left; a killed one is replaced."""

import logging
import multiprocessing
import os
import pickle
import signal
import threading
import time
from collections.abc import Callable

from powmix.training.interruption import sigterm_as_interrupt

log = logging.getLogger(__name__)
_ERROR, _INTERRUPTED = 1, 130


def run_workers(n_workers: int, work: Callable[[int], None], patience: float = 30.0) -> None:
    """Run `work(0) .. work(n_workers - 1)`, each in a forked process, until all have returned; one runs here.

    A worker that a signal killed is started again (its trial is asked again by whoever comes first); one that raised
    ends the others and its error is raised here; an interrupt ends them all, and each gives its trial back.
    """
    if n_workers == 1:
        return work(0)
    context = multiprocessing.get_context("fork")
    errors = context.SimpleQueue()

    def start(index: int):
        # Not a daemon: the joblib and ray launchers start processes of their own.
        worker = context.Process(target=_run, args=(work, index, os.getpid(), errors), name=f"worker-{index}")
        worker.start()
        return worker

    workers = {index: start(index) for index in range(n_workers)}
    try:
        while workers:
            time.sleep(0.05)
            for index, worker in list(workers.items()):
                if worker.is_alive():
                    continue
                del workers[index]
                if worker.exitcode < 0:
                    log.warning(f"worker {index} was killed by signal {-worker.exitcode}: another takes its place")
                    workers[index] = start(index)
                elif worker.exitcode == _INTERRUPTED:
                    raise KeyboardInterrupt
                elif worker.exitcode != 0:
                    raise RuntimeError(f"worker {index} failed") if errors.empty() else errors.get()
    finally:
        _end(workers.values(), patience)


def _run(work: Callable[[int], None], index: int, parent: int, errors) -> None:
    threading.Thread(target=_follow, args=(parent,), daemon=True).start()
    try:
        with sigterm_as_interrupt():
            work(index)
    except KeyboardInterrupt:
        os._exit(_INTERRUPTED)
    except BaseException as error:
        log.debug(f"worker {index} failed", exc_info=True)
        errors.put(_portable(error))
        os._exit(_ERROR)


def _portable(error: BaseException) -> BaseException:
    """The error as another process can read it."""
    try:
        pickle.loads(pickle.dumps(error))
        return error
    except Exception:
        return RuntimeError(f"{type(error).__name__}: {error}")


def _follow(parent: int) -> None:
    """Die with the parent: a killed command must not go on in the background."""
    while os.getppid() == parent:
        time.sleep(0.5)
    os.kill(os.getpid(), signal.SIGKILL)


def _end(workers, patience: float) -> None:
    for worker in workers:
        if worker.is_alive():
            worker.terminate()
    deadline = time.monotonic() + patience
    for worker in workers:
        worker.join(max(0.0, deadline - time.monotonic()))
        if worker.is_alive():
            worker.kill()
            worker.join()
