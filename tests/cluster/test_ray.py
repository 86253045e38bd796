"""A real Ray whose workers are killed, in a search and in a comparison. Run with `pytest -m cluster tests/cluster`.

Ray listens on every address of its machine: here it has a network of its own, in which there is only a loopback.
"""

import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from optuna.trial import TrialState

from powmix.search.storage import load_study

ALONE = ["unshare", "--map-root-user", "--net", "sh", "-c", 'ip link set lo up && exec "$@"', "sh"]
ROOT, TRIALS, EPOCHS = Path(__file__).parents[2], 4, 100
TRAINING = [
    "seeds=[1111]",
    "trainer.device=cpu",
    f"trainer.max_epochs={EPOCHS}",
    f"trainer.early_stop={EPOCHS}",
    "trainer.checkpoint=true",
    "dataset.sizes={train:120,valid:40,test:60}",
]
pytestmark = pytest.mark.cluster


def has_a_network_of_its_own() -> bool:
    try:
        return subprocess.run([*ALONE, "true"], capture_output=True).returncode == 0
    except OSError:
        return False


@pytest.fixture
def apart():
    pytest.importorskip("ray", reason="the extra `ray` is not installed")
    if not has_a_network_of_its_own():
        pytest.skip("needs unshare and ip, and the right to a network namespace")


def recipe(here: Path) -> str:
    """The program of docs/launchers.md with a short search, two workers and a Ray of its own with one GPU."""
    text = (ROOT / "docs" / "launchers.md").read_text()
    program = re.search(r"python - <<'PY'\n(.*?)\nPY\n", text, re.DOTALL)[1]
    search = [sys.executable, "-m", "powmix", "-m", "sweeps=p_mix", f"hydra.sweeper.n_trials={TRIALS}"]
    search += [f"outputs={here}/outputs", *TRAINING]
    for line, other in (
        ('ray.init(address="auto")', "ray.init(num_cpus=4, num_gpus=1, include_dashboard=False)"),
        (r"command = .*", f'command = "{" ".join(search)}"'),
        (r"range\(16\)", "range(2)"),
    ):
        line = re.escape(line) if line.startswith("ray") else line
        program, replaced = re.subn(line, other.replace("\\", r"\\"), program)
        assert replaced == 1, line
    return program


def started(folder: Path, *arguments: str) -> subprocess.Popen:
    """Python with these arguments, in a network of its own; what it says is in the file `said`."""
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path)), "OMP_NUM_THREADS": "1"}
    environment |= {"RAY_USAGE_STATS_ENABLED": "0", "RAY_AUTH_MODE": "disabled"}
    with (folder / "said").open("w") as said:
        command = [*ALONE, sys.executable, *arguments]
        return subprocess.Popen(command, cwd=folder, env=environment, stdout=said, stderr=said)


def a_running_worker(folder: Path, others: set[int]) -> int:
    """The process that trains a trial, other than these: the one that holds the run's folder."""
    while True:
        for holder in folder.glob("outputs/runs/*/.holder"):
            trains = list(holder.parent.glob("seed_*/checkpoint.pt"))
            found = re.match(r"process (\d+) ", holder.read_text("utf-8") if holder.exists() else "")
            if trains and found and int(found[1]) not in others:
                return int(found[1])
        time.sleep(0.05)


def parent_of(process: int) -> int:
    return int(Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[1])


def test_a_search_by_the_recipe_ends_exactly_though_a_command_and_a_ray_worker_are_killed(tmp_path, apart):
    (tmp_path / "recipe.py").write_text(recipe(tmp_path))
    running = started(tmp_path, "recipe.py")
    command = a_running_worker(tmp_path, set())
    os.kill(command, signal.SIGKILL)
    os.kill(parent_of(a_running_worker(tmp_path, {command})), signal.SIGKILL)
    assert running.wait(timeout=500) == 0, (tmp_path / "said").read_text()
    assert (tmp_path / "said").read_text().rstrip().endswith("[0, 0]")
    [journal] = tmp_path.glob("outputs/sweeps/*/study.journal")
    trials = load_study(str(journal), journal.parent.name).trials
    assert [trial.state for trial in trials] == [TrialState.COMPLETE] * TRIALS


def test_a_comparison_by_ray_cluster_finishes_though_a_worker_is_killed(tmp_path, apart):
    launcher = [
        "hydra/launcher=ray_cluster",
        "+hydra.launcher.ray.init.num_cpus=2",
        "hydra.launcher.ray.remote.num_gpus=0",
    ]
    launcher += ["+hydra.launcher.ray.init.include_dashboard=false"]
    running = started(tmp_path, "-m", "powmix", "-m", "mixer=none,manifold_mixup", *launcher, *TRAINING)
    os.kill(a_running_worker(tmp_path, set()), signal.SIGKILL)
    assert running.wait(timeout=500) == 0, (tmp_path / "said").read_text()
    results = [json.loads(path.read_text()) for path in tmp_path.glob("outputs/runs/*/result.json")]
    assert [result["status"] for result in results] == ["finished", "finished"]
