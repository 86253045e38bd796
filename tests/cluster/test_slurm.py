"""Trainings longer than Slurm's time limit, on a real Slurm of one host. Run with `pytest -m cluster tests/cluster`.

Debian's packages slurm-wlm and munge are needed. Slurm keeps no accounts here, so sacct knows nothing, as on many
clusters; its GPUs are two devices that every machine has. The shortest time limit of Slurm is a minute;
a training takes about one on an idle core, with the start of the program more.
"""

import csv
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from slurm_host import NEEDED, PROGRAMS, Slurm

pytestmark = [
    pytest.mark.cluster,
    pytest.mark.skipif(not all(map(shutil.which, PROGRAMS)), reason=NEEDED),
]
ROOT = Path(__file__).parents[2]
POWMIX = f"{sys.executable} -m powmix"
EPOCHS = 1300
TRAINING = [
    "seeds=[1111]",
    "trainer.device=cpu",
    f"trainer.max_epochs={EPOCHS}",
    f"trainer.early_stop={EPOCHS}",
    "dataset.sizes={train: 120, valid: 40, test: 60}",
]


@pytest.fixture(scope="module")
def slurm(tmp_path_factory):
    running = Slurm(tmp_path_factory.mktemp("slurm") / "host")
    running.environment |= {
        "PYTHONPATH": os.pathsep.join(filter(None, sys.path)),
        "POWMIX_CACHE": str(running.folder / "cache"),
        "OMP_NUM_THREADS": "1",
    }
    yield running
    running.stop()


def by_slurm(folder, slurm, *overrides, minutes=1):
    """Starts a comparison with hydra/launcher=slurm; its jobs are told to stop some seconds before their time limit."""
    launcher = [f"hydra.launcher.{option}" for option in ("cpus_per_task=1", "mem_gb=2", "signal_delay_s=5")]
    command = [*POWMIX.split(), "-m", "hydra/launcher=slurm", *launcher, f"hydra.launcher.timeout_min={minutes}"]
    return subprocess.Popen(
        [*command, *TRAINING, *overrides],
        cwd=folder,
        env=slurm.environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def assert_trained(folder, runs):
    """Every run is finished, and every epoch of it was trained once, in order."""
    results = [json.loads(path.read_text()) for path in folder.glob("outputs/runs/*/result.json")]
    assert [result["status"] for result in results] == ["finished"] * runs
    for history in folder.glob("outputs/runs/*/seed_1111/history.csv"):
        assert [int(row["epoch"]) for row in csv.DictReader(history.open())] == list(range(1, EPOCHS + 1))


def restarts(slurm, jobs):
    return [int(re.search(r"Restarts=(\d+)", slurm.ask("scontrol", "show", "job", job))[1]) for job in jobs]


def test_a_comparison_longer_than_its_time_limit_finishes_by_requeues(tmp_path, slurm):
    before = set(slurm.jobs())
    command = by_slurm(tmp_path, slurm, "mixer=none,manifold_mixup")
    said, _ = command.communicate(timeout=1200)
    jobs = set(slurm.jobs()) - before
    assert command.returncode == 0, said
    assert len(jobs) == 2 and min(restarts(slurm, jobs)) >= 1
    assert_trained(tmp_path, 2)
    logs = [path.read_text() for path in tmp_path.glob("outputs/sweeps/*/.submitit/*/*_log.err")]
    assert len(logs) == 2 and all("this job is timed-out" in text for text in logs)


def test_a_killed_job_is_noticed_without_sacct_and_the_same_command_continues_it(tmp_path, slurm):
    command = by_slurm(tmp_path, slurm, "mixer=multimix", minutes=10)
    while not list(tmp_path.glob("outputs/runs/*/seed_1111/checkpoint.pt")):
        assert command.poll() is None, command.communicate()
        time.sleep(0.2)
    [holder] = tmp_path.glob("outputs/runs/*/.holder")
    os.kill(int(re.match(r"process (\d+) ", holder.read_text())[1]), signal.SIGKILL)
    said, _ = command.communicate(timeout=120)
    assert command.returncode == 3
    assert "powmix: a job was lost: " in said and "the same command continues" in said and "Traceback" not in said
    [checkpoint] = tmp_path.glob("outputs/runs/*/seed_1111/checkpoint.pt")
    assert checkpoint.stat().st_size


def recipe(here: Path) -> str:
    """The script of docs/launchers.md, its command replaced by a short search."""
    text = (ROOT / "docs" / "launchers.md").read_text()
    script = re.search(r"```\n(#!/bin/bash\n#SBATCH.*?)```", text, re.DOTALL)[1]
    search = [
        f'"{part}"' for part in ("sweeps=p_mix", "hydra.sweeper.n_trials=2", f"outputs={here}/outputs", *TRAINING)
    ]
    script, replaced = re.subn(
        r"srun powmix -m(?:.*\\\n)*.*\n",
        f"echo GPU $CUDA_VISIBLE_DEVICES\nsrun {POWMIX} -m {' '.join(search)}\n",
        script,
    )
    assert replaced == 1
    # On this host a job has a core and a minute.
    for option, value in (("array", "1-2"), ("time", "1"), ("signal", "TERM@5"), ("cpus-per-task", "1")):
        script, replaced = re.subn(rf"--{option}=\S+", f"--{option}={value}", script)
        assert replaced == 1, option
    return script


def test_the_array_recipe_requeues_itself_until_the_search_is_done(tmp_path, slurm):
    script = tmp_path / "search.sh"
    script.write_text(recipe(tmp_path))
    before = set(slurm.jobs())
    done = subprocess.run(["sbatch", script], cwd=tmp_path, env=slurm.environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    deadline = time.monotonic() + 1200
    while set(slurm.ask("squeue", "-h", "-r", "-o", "%i").split()) - before:
        assert time.monotonic() < deadline
        time.sleep(1)
    jobs = {job: state for job, state in slurm.jobs().items() if job not in before}
    said = "\n".join(path.read_text() for path in tmp_path.glob("slurm-*.out"))
    assert list(jobs.values()) == ["COMPLETED", "COMPLETED"], said
    assert max(restarts(slurm, jobs)) >= 1, said
    assert "interrupted; the same command continues" in said and "Traceback" not in said
    assert_trained(tmp_path, 2)
    assert set(re.findall(r"GPU (\d)", said)) == {"0", "1"}, "each job has a GPU of its own"
