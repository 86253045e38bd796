"""Where a study lives: journals that are mended, locks of the dead, storages that go away, URLs that hide passwords."""

import json
import multiprocessing
import os
import signal
from pathlib import Path

import filelock
import optuna
import pytest
from optuna.exceptions import StorageInternalError

from powmix.search import locks
from powmix.search import storage as storages
from powmix.search.storage import (
    StorageAway,
    check_storage,
    exclusive,
    holds_password,
    open_storage,
    patiently,
    resolve,
    shown,
)

fork = multiprocessing.get_context("fork")
SECRETS = [
    "postgresql://user:PASSWORD@h/db",
    "postgresql+psycopg2://user:a/PASSWORD@h/db",
    "postgresql://user:p@PASSWORD@h/db",
    "postgresql://user:a?b=PASSWORD@h/db",
    "postgresql://h/db?password=PASSWORD",
    "mysql://h/db?user=me&password=p@PASSWORD",
    "postgresql://user:PASSWORD@h/db?sslmode=require",
]


@pytest.fixture
def url(tmp_path) -> str:
    return str(tmp_path / "study.journal")


def test_a_storage_is_written_so_that_every_job_finds_it(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert resolve(None, "sweep") == f"{tmp_path}/sweep/study.journal"
    assert resolve("sqlite:///a.db", "sweep") == f"sqlite:///{tmp_path}/a.db"
    assert resolve("postgresql://u:p@h/d", "sweep") == "postgresql://u:p@h/d"


@pytest.mark.parametrize("secret", SECRETS)
def test_a_password_is_shown_nowhere(secret):
    assert holds_password(secret) and "PASSWORD" not in shown(secret)
    with pytest.raises(ValueError) as refused:
        check_storage(secret.replace("postgresql", "foo").replace("mysql", "foo"))
    assert "PASSWORD" not in str(refused.value)
    assert "PASSWORD" not in storages.reason(RuntimeError(f"cannot connect to {secret} now"))


def test_what_holds_no_password_is_shown(tmp_path):
    assert shown("postgresql://h:5432/db") == "postgresql://h:5432/db"
    assert shown("/disk@lab/study.journal") == "/disk@lab/study.journal"
    assert not holds_password("postgresql://me@h:5432/db") and not holds_password("sqlite:////a:b@c/study.db")


@pytest.mark.parametrize(
    ("storage", "message"),
    [
        ("/etc/passwd", "no study's journal"),
        ("/tmp", "no study's journal"),
        ("foo://x", "got 'foo://x', allowed: a journal file, sqlite:///FILE"),
        ("grpc://localhost:13000", "got 'grpc://localhost:13000', allowed"),
        ("sqlite://", "allowed"),
        ("redis://h", "allowed"),
        ("mysql://x", "needs its driver: No module named"),
        ("postgresql+nodriver://x", "postgresql"),
    ],
)
def test_a_storage_that_cannot_be_locked_or_opened_is_refused_in_one_line(storage, message):
    with pytest.raises(ValueError) as refused:
        check_storage(storage)
    assert message in str(refused.value) and "hydra.sweeper.storage" in str(refused.value)
    assert "\n" not in str(refused.value)


def test_a_journal_torn_by_a_killed_writer_is_mended(url):
    study = optuna.create_study(study_name="s", storage=open_storage(url))
    with open(url, "ab") as file:
        file.write(b'{"op_code":5,"worker')
    study.set_user_attr("after", 1)
    reread = optuna.storages.JournalStorage(optuna.storages.journal.JournalFileBackend(url))
    assert reread.get_study_user_attrs(0) == {"after": 1}
    assert all(json.loads(line) for line in Path(url).read_text().splitlines())


def _hold_and_die(url: str) -> None:
    with exclusive(url, "s"):
        os.kill(os.getpid(), signal.SIGKILL)


def test_a_lock_whose_owner_was_killed_is_free_at_once(url, monkeypatch):
    process = fork.Process(target=_hold_and_die, args=(url,))
    process.start()
    process.join()
    assert Path(url + ".lock").exists()
    monkeypatch.setattr(locks, "WAIT", 0.0)  # one look, no waiting
    lock = filelock.SoftFileLease(url + ".lock", lease_duration=60)
    lock.acquire(timeout=0.5)
    lock.release()


def test_a_lock_whose_owner_was_killed_before_it_wrote_its_name_is_free_after_two_looks(url, monkeypatch, caplog):
    Path(url + ".lock").touch()
    monkeypatch.setattr(locks, "WAIT", 0.1)
    with exclusive(url, "s"):
        assert Path(url + ".lock").stat().st_size > 0
    assert caplog.messages == [f"waiting for {url}.lock"], "waiting is said, once"


def test_a_storage_that_comes_back_is_waited_for_and_said_once(monkeypatch, caplog):
    caplog.set_level("INFO")
    monkeypatch.setattr(storages.time, "sleep", lambda seconds: None)
    calls = iter([StorageInternalError("gone"), OSError("gone"), StorageInternalError("gone"), 7])

    def call():
        result = next(calls)
        if isinstance(result, Exception):
            raise result
        return result

    assert patiently(call) == 7
    assert caplog.messages == [
        "the storage does not answer, trying again for 120 s: gone",
        "the storage answers again",
    ]


def test_a_storage_that_stays_away_ends_the_patience():
    def call():
        raise OSError("no route to host")

    with pytest.raises(StorageAway, match=r"did not answer for 0.3 s: no route to host"):
        patiently(call, patience=0.3)


def test_a_mistake_of_the_program_is_not_taken_for_the_storages(url):
    with pytest.raises(KeyError):
        patiently(lambda: {}["x"])
