"""Who a process is, whether it still lives, and a lock file that a dead owner cannot keep."""

import os
import socket
import time
import uuid
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from functools import cache
from pathlib import Path


@dataclass(frozen=True)
class ProcessId:
    """One process on one machine: the pid alone is not enough, since pids and host names are used again."""

    machine: str
    pid: int
    birth: str

    @classmethod
    def current(cls) -> "ProcessId":
        return cls(machine(), os.getpid(), _birth(os.getpid()))

    @classmethod
    def parse(cls, text: str) -> "ProcessId | None":
        parts = text.split("|")
        return cls(parts[0], int(parts[1]), parts[2]) if len(parts) == 3 and parts[1].isdigit() else None

    def __str__(self) -> str:
        return f"{self.machine}|{self.pid}|{self.birth}"

    @property
    def is_here(self) -> bool:
        return self.machine == machine()

    def is_dead_here(self) -> bool:
        """True only when the process ran on this machine and is gone; elsewhere only a heartbeat can tell."""
        return self.is_here and not _alive(self.pid, self.birth)

    def asdict(self) -> dict:
        return asdict(self)


@cache
def machine() -> str:
    """Host name, boot and pid namespace: two containers of one name are two machines."""
    return "/".join((socket.gethostname(), _read_boot(), _namespace()))


def _read_boot() -> str:
    boot = Path("/proc/sys/kernel/random/boot_id")
    return boot.read_text().strip()[:8] if boot.exists() else ""


def _namespace() -> str:
    try:
        return os.readlink("/proc/self/ns/pid").strip("pid:[]")
    except OSError:
        return ""


def _birth(pid: int) -> str:
    fields = _stat(pid)
    return fields[19] if fields else ""


def _stat(pid: int) -> list[str]:
    """The fields of /proc/<pid>/stat after the command name: state first, start time 20th; empty where unknown."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return []


def _alive(pid: int, birth: str) -> bool:
    if Path("/proc/self/stat").exists():
        fields = _stat(pid)
        return bool(fields) and fields[0] not in "ZX" and (not birth or fields[19] == birth)
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True


class OwnedLock:
    """Lock file for shared disks (a symbolic link, atomic on NFS too) that names its owner.

    A lock whose owner died on this machine is broken at once; one left by another machine after `grace` seconds
    without change. Optuna's own locks know no owner and always wait 30 s after a killed process.
    """

    def __init__(self, path: str | Path, grace: float = 60.0) -> None:
        self._link = f"{path}.lock"
        self._grace = grace

    def acquire(self) -> bool:
        pause, seen, since = 0.001, None, time.monotonic()
        while True:
            try:
                os.symlink(self._signature(), self._link)
                return True
            except FileExistsError:
                holder = self._holder()
            if holder != seen:
                seen, since = holder, time.monotonic()
            if holder is not None and self._is_abandoned(holder, since):
                self._break(holder)
            time.sleep(pause)
            pause = min(pause * 2, 0.05)

    def release(self) -> None:
        try:
            os.unlink(self._link)
        except FileNotFoundError as error:
            raise RuntimeError(f"the lock {self._link} was broken while it was held") from error

    def _signature(self) -> str:
        return f"{ProcessId.current()}|{uuid.uuid4().hex[:8]}"

    def _holder(self) -> str | None:
        try:
            return os.readlink(self._link)
        except OSError:
            return None

    def _is_abandoned(self, holder: str, since: float) -> bool:
        owner = ProcessId.parse(holder.rpartition("|")[0])
        if owner is not None and owner.is_here:
            return owner.is_dead_here()
        return time.monotonic() - since > self._grace

    def _break(self, holder: str) -> None:
        """Take the link away, and put it back if another process had already replaced the abandoned one."""
        aside = f"{self._link}.{uuid.uuid4().hex}"
        try:
            os.rename(self._link, aside)
        except FileNotFoundError:
            return
        if os.readlink(aside) != holder:
            with suppress(FileExistsError):
                os.link(aside, self._link, follow_symlinks=False)
        os.unlink(aside)


@contextmanager
def held(lock: OwnedLock):
    """Hold `lock` inside the block."""
    lock.acquire()
    try:
        yield
    finally:
        lock.release()
