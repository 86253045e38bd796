"""A search on a real PostgreSQL that is restarted every three seconds. Run with `pytest -m cluster tests/cluster`.

It needs Debian's package postgresql and psycopg2; the server listens on loopback only and is ended by its process id.
"""

import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from contextlib import ExitStack
from pathlib import Path

import optuna
import pytest
from optuna.trial import TrialState

from powmix.search.storage import load_study

pytestmark = pytest.mark.cluster
APP = Path(__file__).parents[1] / "search_app.py"


class Server:
    """A PostgreSQL of the test's own."""

    def __init__(self, folder: Path, programs: Path) -> None:
        self.folder, self.programs, self.port = folder, programs, free_port()
        self.user = "postgres" if os.getuid() == 0 else None  # PostgreSQL refuses to run as root
        for made in (folder, folder / "socket"):
            made.mkdir(exist_ok=True)
            if self.user:
                shutil.chown(made, self.user)
        for above in (folder, *folder.parents[:3]) if self.user else ():
            above.chmod(0o755)
        self._run("initdb", "-D", str(folder / "data"), "-A", "trust", "-U", "tester")

    def _run(self, program: str, *arguments: str) -> None:
        subprocess.run([self.programs / program, *arguments], user=self.user, cwd="/", check=True, capture_output=True)

    def start(self) -> None:
        command = [self.programs / "postgres", "-D", self.folder / "data", "-p", str(self.port)]
        command += ["-h", "127.0.0.1", "-k", str(self.folder / "socket")]
        self.process = subprocess.Popen(command, user=self.user, cwd="/", stderr=subprocess.DEVNULL)
        while subprocess.run([self.programs / "pg_isready", "-q", "-h", "127.0.0.1", "-p", str(self.port)]).returncode:
            time.sleep(0.05)

    def stop(self) -> None:
        """At once, as a failing machine does: no connection is ended properly."""
        self.process.send_signal(signal.SIGQUIT)
        self.process.wait()


def free_port() -> int:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        return taken.getsockname()[1]


@pytest.fixture
def server(tmp_path):
    pytest.importorskip("psycopg2")
    found = sorted(Path("/usr/lib/postgresql").glob("*/bin/postgres"))
    if not found:
        pytest.skip("PostgreSQL is not installed")
    server = Server(tmp_path / "server", found[-1].parent)
    server.start()
    yield server
    server.stop()


def test_four_workers_finish_a_grid_exactly_while_the_server_restarts_every_three_seconds(tmp_path, server):
    url = f"postgresql+psycopg2://tester:SECRET@127.0.0.1:{server.port}/postgres"
    points, seconds = 120, 1.0
    command = [sys.executable, str(APP), f"x=range(0,{points})", "hydra/sweeper/sampler=grid", f"seconds={seconds}"]
    command += [f"hydra.sweeper.n_trials={points}", f"hydra.sweeper.storage='{url}'"]
    with ExitStack() as files:
        outputs = [files.enter_context(open(tmp_path / f"worker{index}", "w")) for index in range(4)]
        workers = [subprocess.Popen(command, cwd=tmp_path, stdout=out, stderr=subprocess.STDOUT) for out in outputs]
    restarts, end = 0, time.monotonic() + 60
    while time.monotonic() < end and any(worker.poll() is None for worker in workers):
        time.sleep(3)
        server.stop()
        server.start()
        restarts += 1
    codes = [worker.wait(timeout=300) for worker in workers]
    said = "\n".join((tmp_path / f"worker{index}").read_text() for index in range(4))
    assert codes == [0, 0, 0, 0], said
    assert restarts >= 5
    study = load_study(url, "sweep")
    found = [trial for trial in study.trials if trial.number < points]
    assert {trial.state for trial in found} == {TrialState.COMPLETE}
    assert sorted(trial.params["x"] for trial in found) == list(range(points))
    finished = {path.parent.name: path.read_text() for path in (tmp_path / "sweep").glob("*/finished")}
    assert sorted(map(int, finished)) == list(range(points))
    assert all(len(text.splitlines()) == 1 for text in finished.values()), "no trial is run twice"
    records = [path for path in (tmp_path / "sweep").rglob("*") if path.is_file()]
    assert "SECRET" not in said and not any("SECRET" in path.read_text() for path in records)
    optuna.delete_study(study_name="sweep", storage=url)
