"""How tests run a command and look at its exit code, its output and its files: `start(folder, "-m", "powmix", ...)`.

Each command is a process of its own, forked from one that has imported torch, Hydra, Optuna and powmix and has done
nothing else: a run of one epoch takes 1.0 s of processor time in place of 4.3, a search of one trial 0.8 in place of
1.5. What a test says of the start itself (what is imported, an interrupt meanwhile, `-X`, PYTHON...) is no use here.
"""

import gc
import importlib
import json
import os
import runpy
import select
import signal
import socket
import subprocess
import sys
import tempfile
from contextlib import suppress
from functools import cache
from pathlib import Path

IMPORTED = (
    *("torch", "scipy.stats", "optuna", "rich", "safetensors.torch", "hydra.main", "hydra.compose"),
    *(f"hydra_plugins.hydra_{name}" for name in ("optuna_sweeper.optuna_sweeper", "joblib_launcher.config")),
    *("powmix.experiment", "powmix.analysis.running", "powmix.report.comparison", "powmix.search.study"),
    *(f"powmix.command.{name}" for name in ("callback", "job", "launchers", "overrides", "searching", "sweeping")),
)


class Command:
    """What `subprocess.Popen` is, as far as tests use it; errors are among the output, which is kept in a file."""

    def __init__(self, folder: Path, words: tuple[str, ...], variables: dict[str, str]) -> None:
        told = json.dumps([str(folder), words, {**os.environ, **variables}]).encode()
        self.args, self.returncode, self.output = words, None, tempfile.TemporaryFile("w+", errors="replace")  # noqa: SIM115
        self.answers, theirs = socket.socketpair(type=socket.SOCK_SEQPACKET)
        socket.send_fds(_origin(), [told], [self.output.fileno(), theirs.fileno()])
        theirs.close()
        self.pid = int(self.answers.recv(100))

    def wait(self, timeout: float | None = None) -> int:
        if self.returncode is None:
            if not select.select([self.answers], [], [], timeout)[0]:
                raise subprocess.TimeoutExpired(self.args, timeout)
            self.returncode = os.waitstatus_to_exitcode(int(self.answers.recv(100)))
            self.answers.close()
        return self.returncode

    def poll(self) -> int | None:
        try:
            return self.wait(0)
        except subprocess.TimeoutExpired:
            return None

    def send_signal(self, number: int) -> None:
        if self.poll() is None:
            os.kill(self.pid, number)

    def kill(self) -> None:
        self.send_signal(signal.SIGKILL)

    def communicate(self, timeout: float | None = None) -> tuple[str, None]:
        """Everything it said, once it has ended."""
        self.wait(timeout)
        self.output.seek(0)
        return self.output.read(), None


def start(folder: Path, *words: str | Path, **variables: str) -> Command:
    """`python WORDS` in a folder, with further environment variables; a script, or -m and a module."""
    return Command(folder, tuple(map(str, words)), variables)


def run(folder: Path, *words: str | Path, expect: int = 0, **variables: str) -> str:
    """What such a command says; it must end with the exit code that is expected."""
    running = start(folder, *words, **variables)
    said, _ = running.communicate(timeout=240)
    assert running.returncode == expect, said
    return said


@cache
def _origin() -> socket.socket:
    """To the process that all commands of this one are forked from; it ends with this one."""
    ours, theirs = socket.socketpair(type=socket.SOCK_SEQPACKET)
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    subprocess.Popen([sys.executable, __file__, str(theirs.fileno())], env=environment, pass_fds=[theirs.fileno()])
    theirs.close()
    return ours


# --- in that process --------------------------------------------------------------------------------------------------


def _next_command(requests: socket.socket) -> list[str]:
    """The words of a command, in the process that is to be it; the process that forks returns from here never."""
    for name in IMPORTED:
        with suppress(ImportError):  # not everything need be installed
            importlib.import_module(name)
    gc.freeze()
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    while True:
        told, handles, *_ = socket.recv_fds(requests, 2**20, 2)
        if not told:
            sys.exit()
        if not os.fork():
            break
        for handle in handles:
            os.close(handle)
    output, answers = handles
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    if child := os.fork():  # this one waits for it
        os.write(answers, str(child).encode())
        os.write(answers, str(os.waitpid(child, 0)[1]).encode())
        os._exit(0)
    signal.signal(signal.SIGINT, signal.default_int_handler)
    folder, words, environment = json.loads(told)
    for number, handle in enumerate((os.open(os.devnull, os.O_RDONLY), output, output)):
        os.dup2(handle, number)
    os.closerange(3, 100)
    os.chdir(folder)
    os.environ.clear()
    os.environ.update(environment)
    importlib.import_module("numpy").random.seed()
    return words


if __name__ == "__main__":
    first, *arguments = _next_command(socket.socket(fileno=int(sys.argv[1])))
    if first == "-m":
        module, *sys.argv[1:] = arguments
        sys.path[0] = os.getcwd()
        runpy.run_module(module, run_name="__main__", alter_sys=True)
    else:
        sys.argv = [first, *arguments]
        sys.path[0] = os.path.dirname(os.path.abspath(first))
        runpy.run_path(first, run_name="__main__")
