"""Where a study lives and how it is reached: a journal file, SQLite or a database server.

Storages go away for a while (a server restarts, a disk is full). Whoever reads or writes a study does it through
`patiently`, so that such a moment ends neither a search nor a trial.
"""

import json
import logging
import os
import re
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar, cast

import optuna
from optuna.exceptions import StorageInternalError
from optuna.storages import BaseStorage, JournalStorage, RDBStorage
from optuna.storages.journal import JournalFileBackend

from powmix.search.locks import MendingLock, held, lock_of, server_lock

log = logging.getLogger(__name__)
T = TypeVar("T")

JOURNAL_NAME = "study.journal"
SERVERS = ("postgresql", "mysql")
ALLOWED = "a journal file, sqlite:///FILE, postgresql://... or mysql://..."
DRIVERS = ("psycopg2", "psycopg", "pymysql", "mysqldb")
PATIENCE = 120.0
_opened: dict[tuple[int, str], BaseStorage] = {}


class StorageAway(RuntimeError):
    """The storage did not answer for two minutes. It is never the outcome of a trial."""


def resolve(storage: str | None, sweep_dir: str | Path) -> str:
    """The storage as a job on any machine of the shared disk can open it: an absolute path, or a URL."""
    if storage is None:
        return str(Path(sweep_dir).resolve() / JOURNAL_NAME)
    if storage.startswith("sqlite:///"):
        return f"sqlite:///{Path(storage.removeprefix('sqlite:///')).resolve()}"
    return storage if "://" in storage else str(Path(storage).resolve())


def shown(url: str) -> str:
    """The storage as a log may show it: without user, password and the values of its query."""
    scheme, server, rest = url.partition("://")
    if not server or scheme.startswith("sqlite"):
        return url
    login, at, place = rest.rpartition("@")
    if "?" in login and "=" in login:  # the last @ may stand in a query's value
        return f"{scheme}://..."
    return f"{scheme}://" + ("...@" if at else "") + re.sub(r"=[^&]*", "=...", place)


def holds_password(url: str) -> bool:
    """Whether the URL itself has something to hide: a login with a password, or a query that names one."""
    scheme, server, rest = url.partition("://")
    if not server or scheme.startswith("sqlite"):
        return False
    return ":" in rest.rpartition("@")[0] or re.search(r"(?i)(pass|pwd|secret|token)\w*=", rest) is not None


def check_storage(url: str) -> None:
    """ValueError in one line when no study can live at `url`: unknown scheme, missing driver, or another file."""
    kind = url.partition("://")[0].partition("+")[0]
    if (path := _file(url)) is not None:
        if path.is_dir() or ("://" not in url and not _is_journal(path)):
            raise ValueError(f"hydra.sweeper.storage: {url} is no study's journal; allowed: {ALLOWED}")
    elif kind not in SERVERS:
        raise ValueError(f"hydra.sweeper.storage: got {shown(url)!r}, allowed: {ALLOWED}")
    else:
        from sqlalchemy.engine import make_url
        from sqlalchemy.exc import ArgumentError

        try:
            make_url(url).get_dialect().import_dbapi()
        except ModuleNotFoundError as error:
            raise ValueError(f"hydra.sweeper.storage: {shown(url)} needs its driver: {error}") from None
        except (ArgumentError, ValueError):
            raise ValueError(f"hydra.sweeper.storage: {shown(url)} is not a database's URL") from None


def open_storage(url: str) -> BaseStorage:
    """Open or create the storage at `url`: once per process, for a journal is read from its start."""
    key = (os.getpid(), url)
    if key not in _opened:
        check_storage(url)
        _opened[key] = patiently(lambda: _create(url))
    return _opened[key]


def load_study(url: str, name: str, **kwargs) -> optuna.Study:
    """The study `name` in the storage at `url`; ValueError names the studies there when it is absent."""
    storage = open_storage(url)
    names = patiently(lambda: [study.study_name for study in storage.get_all_studies()])
    if name not in names:
        raise ValueError(f"study {name!r} is not in {shown(url)}: it holds {names or 'none'}")
    return patiently(lambda: optuna.load_study(study_name=name, storage=storage, **kwargs))


def storage_errors() -> tuple[type[Exception], ...]:
    """What reading and writing a study raises when its storage does not answer."""
    if "sqlalchemy" not in sys.modules:
        return StorageInternalError, OSError
    from sqlalchemy.exc import SQLAlchemyError

    return StorageInternalError, OSError, SQLAlchemyError


def patiently(call: Callable[[], T], patience: float | None = None) -> T:
    """`call()`, tried again with growing pauses while the storage does not answer, for `patience` seconds.

    It must do no harm twice. The user is told once. Errors: StorageAway when the time is over.
    """
    patience = PATIENCE if patience is None else patience
    pause, deadline, said = 0.1, time.monotonic() + patience, False
    while True:
        try:
            result = call()
        except storage_errors() as error:
            if time.monotonic() + pause > deadline:
                raise StorageAway(f"the storage did not answer for {patience:g} s: {reason(error)}") from None
            if not said and pause > 0.1:
                log.warning(f"the storage does not answer, trying again for {patience:g} s: {reason(error)}")
                said = True
            time.sleep(pause)
            pause = min(2 * pause, 10.0)
        else:
            if said:
                log.info("the storage answers again")
            return result


@contextmanager
def exclusive(url: str, study_name: str) -> Iterator[None]:
    """One process at a time inside the block, among all that share the study."""
    path = _file(url)
    if path is not None:
        with held(lock_of(path)):
            yield
        return
    storage = open_storage(url)
    assert isinstance(storage, RDBStorage)
    with storage.engine.connect() as connection:
        yield from server_lock(connection, storage.engine.dialect.name, study_name)


def _create(url: str) -> BaseStorage:
    path = _file(url)
    if path is not None:
        path.parent.mkdir(parents=True, exist_ok=True)
    if "://" not in url:
        return JournalStorage(JournalFileBackend(url, lock_obj=cast(Any, MendingLock(url))))
    if path is not None:
        with held(lock_of(path)):
            return RDBStorage(url, engine_kwargs={"connect_args": {"timeout": 60}})
    from sqlalchemy.engine import make_url

    # No pool_pre_ping: a connection that broke inside `exclusive` must be noticed, for its lock is lost with it.
    timeout = {"connect_timeout": 10} if make_url(url).get_driver_name() in DRIVERS else {}
    return RDBStorage(url, engine_kwargs={"connect_args": timeout})


def _file(url: str) -> Path | None:
    if url.startswith("sqlite:///"):
        return Path(url.removeprefix("sqlite:///"))
    return None if "://" in url else Path(url)


def _is_journal(path: Path) -> bool:
    """A file that is absent, empty or begins as Optuna's journals do."""
    if not path.exists() or path.stat().st_size == 0:
        return True
    with open(path, "rb") as file:
        line = file.readline(100_000)
    try:
        return not line.endswith(b"\n") or "op_code" in json.loads(line)
    except (ValueError, TypeError):
        return False


def reason(error: Exception) -> str:
    """The first line of what the server or the disk said, without any URL's login."""
    told = getattr(error.__cause__ or error, "orig", None) or error.__cause__ or error
    line = str(told).strip().partition("\n")[0]
    return re.sub(r"\S+://\S+", lambda found: shown(found.group()), line) or type(told).__name__
