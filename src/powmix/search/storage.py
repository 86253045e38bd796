"""Where a study lives: a journal file (default, also on a shared disk), SQLite, or a database server by URL."""

import json
import os
import re
import time
from contextlib import contextmanager, nullcontext
from pathlib import Path

import optuna
from optuna.storages import BaseStorage, JournalStorage, RDBStorage
from optuna.storages.journal import JournalFileBackend

from powmix.search.locks import OwnedLock, held

JOURNAL_NAME = "study.journal"
_opened: dict[tuple[int, str], BaseStorage] = {}


def resolve(storage: str | None, sweep_dir: str | Path) -> str:
    """The storage as a job on any machine of the shared disk can open it: an absolute path, or a URL."""
    if storage is None:
        return str(Path(sweep_dir).resolve() / JOURNAL_NAME)
    if storage.startswith("sqlite:///"):
        return f"sqlite:///{Path(storage.removeprefix('sqlite:///')).resolve()}"
    return storage if "://" in storage else str(Path(storage).resolve())


def shown(url: str) -> str:
    """The storage as a log may show it: without user and password."""
    return re.sub(r"://[^@/]*@", "://...@", url)


def open_storage(url: str) -> BaseStorage:
    """Open, or create without a race, the storage at `url`: once per process, for a journal is read from its start."""
    key = (os.getpid(), url)
    if key not in _opened:
        path = _file(url)
        if path is not None:
            path.parent.mkdir(parents=True, exist_ok=True)
        with exclusive(url):
            _opened[key] = _create(url)
    return _opened[key]


def load_study(url: str, name: str, **kwargs) -> optuna.Study:
    """The study `name` in the storage at `url`; ValueError names the studies there when it is absent."""
    storage = open_storage(url)
    names = [study.study_name for study in storage.get_all_studies()]
    if name not in names:
        raise ValueError(f"study {name!r} is not in {shown(url)}: it holds {names or 'none'}")
    return optuna.load_study(study_name=name, storage=storage, **kwargs)


@contextmanager
def exclusive(url: str):
    """One process at a time inside the block, among all that share the storage at `url`."""
    path = _file(url)
    if path is not None:
        with held(OwnedLock(f"{path}.claims")):
            yield
        return
    storage = _opened.get((os.getpid(), url))
    with _server_lock(storage) if isinstance(storage, RDBStorage) else nullcontext():
        yield


def _file(url: str) -> Path | None:
    if url.startswith("sqlite:///"):
        return Path(url.removeprefix("sqlite:///"))
    return None if "://" in url else Path(url)


def _create(url: str) -> BaseStorage:
    if "://" not in url:
        return JournalStorage(MendingJournal(url))
    if url.startswith("sqlite"):
        return RDBStorage(url, engine_kwargs={"connect_args": {"timeout": 60}})
    return _create_on_server(url)


def _create_on_server(url: str, attempts: int = 5) -> RDBStorage:
    """Two processes that create the tables at once collide: the loser finds them the next time."""
    from sqlalchemy.exc import DBAPIError

    for attempt in range(attempts):
        try:
            return RDBStorage(url, engine_kwargs={"pool_pre_ping": True})
        except DBAPIError:
            if attempt == attempts - 1:
                raise
            time.sleep(0.5 * (attempt + 1))
    raise AssertionError("unreachable")


@contextmanager
def _server_lock(storage: RDBStorage):
    """An advisory lock of the database server, given back with its connection when the process dies."""
    from sqlalchemy import text

    take, give = {
        "postgresql": ("SELECT pg_advisory_lock(23121233)", "SELECT pg_advisory_unlock(23121233)"),
        "mysql": ("SELECT GET_LOCK('powmix', -1)", "SELECT RELEASE_LOCK('powmix')"),
    }[storage.engine.dialect.name]
    with storage.engine.connect() as connection:
        connection.execute(text(take))
        try:
            yield
        finally:
            connection.execute(text(give))


class MendingJournal(JournalFileBackend):
    """A journal file that survives a process killed while it wrote: the torn last line is cut before the next."""

    def __init__(self, path: str) -> None:
        self._owned_lock = OwnedLock(path)
        super().__init__(path)

    def append_logs(self, logs: list[dict]) -> None:
        text = "".join(json.dumps(log, separators=(",", ":")) + "\n" for log in logs)
        with held(self._owned_lock), open(self._file_path, "r+b") as file:
            file.seek(_end_of_last_line(file))
            file.truncate()
            file.write(text.encode())
            file.flush()
            os.fsync(file.fileno())


def _end_of_last_line(file) -> int:
    end = file.seek(0, os.SEEK_END)
    if end == 0:
        return 0
    file.seek(end - 1)
    if file.read(1) == b"\n":
        return end
    file.seek(0)
    return file.read().rfind(b"\n") + 1
