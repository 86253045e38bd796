"""What goes wrong is told: for whom a process waits, what was damaged, an interrupt at any moment; in no traceback."""

import os
import subprocess
import sys
import threading
import time

import pytest
from test_command_line import TINY
from training_corpus import tiny_train

from powmix.__main__ import main
from powmix.command.exits import INTERRUPTED, WRONG
from powmix.report.__main__ import main as report
from powmix.runs.files import alone_in

INTERRUPTED_WHILE = """
import os, signal, sys
class Interrupting:
    def find_spec(self, name, *more):
        if name == {module!r}:
            os.kill(os.getpid(), signal.SIGINT)
sys.meta_path.insert(0, Interrupting())
sys.argv[1:] = ["seeds=1", "trainer.max_epochs=1"]
from powmix.command.begin import main
main()
"""


@pytest.mark.parametrize("module", ["hydra", "powmix.command.validation", "torch"])
def test_an_interrupt_while_modules_are_imported_ends_in_one_line(tmp_path, module):
    program = INTERRUPTED_WHILE.format(module=module)
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    done = subprocess.run(
        [sys.executable, "-c", program], cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=300
    )
    assert done.returncode == INTERRUPTED
    assert done.stderr.splitlines()[-1] == "powmix: interrupted; the same command continues"
    assert "Traceback" not in done.stderr


def test_who_waits_for_another_process_says_for_whom(tmp_path, caplog):
    done = []

    def second():
        with alone_in(tmp_path):
            done.append(True)

    caplog.set_level("INFO")
    with alone_in(tmp_path):
        waiting = threading.Thread(target=second)
        waiting.start()
        while not caplog.messages:
            time.sleep(0.01)
        assert not done
    waiting.join()
    assert done and len(caplog.messages) == 1
    assert f"process {os.getpid()} on " in caplog.text and "works here: waiting for it" in caplog.text


@pytest.fixture
def run(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)

    def call(*arguments):
        monkeypatch.setattr(sys, "argv", ["powmix", *TINY, "seeds=1", *arguments])
        main()
        return tmp_path

    return call


def test_a_log_that_cannot_be_written_ends_nothing(run, tmp_path, capsys):
    (tmp_path / "run").mkdir()
    (tmp_path / "run/powmix.log").symlink_to("/dev/full")
    run("hydra.run.dir=run")
    assert (tmp_path / "run/seed_1111/result.json").is_file()
    said = capsys.readouterr()
    assert "Logging error" not in said.err and "Traceback" not in said.err


def test_the_report_names_every_finished_seed_whose_files_are_damaged(run, monkeypatch, capsys):
    names = ["predictions.csv", "history.csv", "weights.safetensors"]
    where = run(f"seeds={len(names)}", "trainer.max_epochs=1")
    for seed, name in enumerate(names, 1111):
        [path] = where.glob(f"outputs/runs/*/seed_{seed}/{name}")
        path.write_bytes(path.read_bytes()[:-1])
    monkeypatch.setattr(sys, "argv", ["powmix-report", "outputs/runs"])
    report()
    told = " ".join(capsys.readouterr().out.split())
    assert all(f"{name} is not as long as it was written" in told for name in names)


def test_equal_trainings_leave_equal_bytes(tmp_path):
    for name in ("a", "b"):
        tiny_train(tmp_path / name)
    for name in ("weights.safetensors", "predictions.csv"):
        assert (tmp_path / "a" / name).read_bytes() == (tmp_path / "b" / name).read_bytes()


def test_a_config_folder_that_is_not_there_is_refused(run, capsys, tmp_path):
    with pytest.raises(SystemExit) as stopped:
        run("--config-dir=nowhere")
    assert stopped.value.code == WRONG and "nowhere" in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []
