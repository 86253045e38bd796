"""One process at a time on a study: by a marker file beside a journal or SQLite file, by a database server's own lock.

A lock whose owner is dead is taken over, and who waits for one says so.
"""

import hashlib
import logging
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import filelock

log = logging.getLogger(__name__)
WAIT = 10.0
_locks: dict[tuple[int, str], filelock.SoftFileLease] = {}


def lock_of(path: Path) -> filelock.SoftFileLease:
    """The file's lock, one for all threads of a process: a marker file, which every shared disk has.

    filelock takes over the marker of a process that is dead on this machine at once, and one of another machine
    after a minute without a sign of life.
    """
    key = (os.getpid(), str(path))
    if key not in _locks:
        _locks[key] = filelock.SoftFileLease(f"{path}.lock", lease_duration=60, thread_local=False)
    return _locks[key]


class MendingLock:
    """The journal's lock; taking it cuts off a last line that a killed writer left unfinished."""

    def __init__(self, path: str) -> None:
        self._path = Path(path)

    def acquire(self) -> bool:
        _acquire(lock_of(self._path))
        if self._path.exists():
            with open(self._path, "r+b") as file:
                file.truncate(_end_of_last_line(file))
        return True

    def release(self) -> None:
        lock_of(self._path).release()


@contextmanager
def held(lock: filelock.SoftFileLease) -> Iterator[None]:
    """Holds a lock inside the block; who waits for it says so, once."""
    _acquire(lock)
    try:
        yield
    finally:
        lock.release()


def _acquire(lock: filelock.SoftFileLease) -> None:
    marker = Path(lock.lock_file)
    said, empty = False, None
    while True:
        try:
            lock.acquire(timeout=WAIT, poll_interval=0.01)
            return
        except filelock.Timeout:
            if not said:
                log.warning(f"waiting for {marker}")
                said = True
        # A process killed between creating its marker and writing its name into it: filelock would wait for ever.
        before, empty = empty, _empty(marker)
        if empty is not None and empty == before:
            marker.unlink(missing_ok=True)


def _empty(marker: Path) -> tuple[int, int] | None:
    """Which file an empty marker is; None for one that names its owner, or none."""
    try:
        stat = marker.stat()
    except FileNotFoundError:
        return None
    return (stat.st_ino, stat.st_ctime_ns) if stat.st_size == 0 else None


def server_lock(connection, dialect: str, study_name: str) -> Iterator[None]:
    """The database server's own lock, one for each study; it ends with the connection when the process dies."""
    from sqlalchemy import text
    from sqlalchemy.exc import OperationalError

    number = int.from_bytes(hashlib.sha256(study_name.encode()).digest()[:8], "big", signed=True)
    said = False

    def taken() -> bool:
        if dialect == "mysql":
            return connection.execute(text(f"SELECT GET_LOCK('powmix{number}', {WAIT})")).scalar() == 1
        try:
            connection.execute(text(f"SET LOCAL lock_timeout = {int(1000 * WAIT)}"))
            connection.execute(text(f"SELECT pg_advisory_xact_lock({number})"))
            return True
        except OperationalError as error:
            if getattr(error.orig, "pgcode", getattr(error.orig, "sqlstate", None)) != "55P03":  # lock_not_available
                raise
            connection.rollback()
            return False

    while not taken():
        if not said:
            log.warning(f"waiting for the lock of study {study_name}")
            said = True
    try:
        yield
    finally:
        if dialect == "mysql":
            connection.execute(text(f"SELECT RELEASE_LOCK('powmix{number}')"))
        connection.rollback()


def _end_of_last_line(file) -> int:
    end = file.seek(0, os.SEEK_END)
    if end == 0:
        return 0
    file.seek(end - 1)
    if file.read(1) == b"\n":
        return end
    file.seek(0)
    return file.read().rfind(b"\n") + 1
