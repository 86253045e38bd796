"""What a stranger meets first: the version, completion, the wheel, the documentation, the files around the code."""

import os
import signal
import subprocess
import sys
import time
import tomllib

import hydra
from conftest import REPOSITORY

import powmix
from powmix.__main__ import main
from powmix.command.exits import INTERRUPTED

PYPROJECT = tomllib.loads((REPOSITORY / "pyproject.toml").read_text("utf-8"))


def powmix_in(folder, *arguments, **variables) -> subprocess.Popen:
    """The command `powmix` in a process of its own."""
    environment = {**os.environ, "OMP_NUM_THREADS": "1", **variables}
    command = [sys.executable, "-m", "powmix", *arguments]
    return subprocess.Popen(
        command, cwd=folder, env=environment, text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
    )


def test_the_version_is_powmixs(monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", ["powmix", "--version"])
    main()
    assert capsys.readouterr().out == f"powmix {PYPROJECT['project']['version']} (Hydra {hydra.__version__})\n"
    assert powmix.__version__ == PYPROJECT["project"]["version"]


def test_tab_completes_options_and_keys(tmp_path):
    def completed(line: str) -> set[str]:
        process = powmix_in(tmp_path, "-sc", "query=bash", COMP_LINE=line, COMP_POINT=str(len(line)))
        return set(process.communicate(timeout=120)[0].split())

    assert completed("powmix model=m") == {"model=mag_bert", "model=misa", "model=mult"}
    assert completed("powmix -m sweeps=fig") == {f"sweeps=figure{n}" for n in range(3, 9)}


def test_an_interrupted_search_lists_its_trial_as_given_back(tmp_path):
    long = ["trainer.max_epochs=2000", "trainer.early_stop=2000", "trainer.device=cpu", "seeds=1"]
    process = powmix_in(tmp_path, "-m", "sweeps=p_mix", "dataset=synthetic", "model=lf_dnn", *long)
    deadline = time.monotonic() + 120
    while not list(tmp_path.glob("outputs/runs/*/seed_1111/checkpoint.pt")) and time.monotonic() < deadline:
        time.sleep(0.02)
    process.send_signal(signal.SIGINT)
    said, _ = process.communicate(timeout=60)
    assert process.returncode == INTERRUPTED
    assert "interrupted, given back to the study; the same command continues it" in said
    assert "KeyboardInterrupt" not in said
