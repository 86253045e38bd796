"""What a trial costs beside its training: a search with a no-op job, on a journal file and on SQLite.

    python -m benchmarks.sweeper             50 trials of each

A JSON line for each storage and sweeper, the repeats being its trials. `notes.sweeper` is the sweeper's part (claim,
sample, heartbeat, tell); `notes.hydra` what Hydra's launcher takes to compose the configuration, open the folder and
write it down, which every sweeper pays; medians. `stock` is hydra/sweeper=optuna.
"""

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

from benchmarks.measure import alone

APP = """
import json, time
import hydra
from hydra.core.config_store import ConfigStore

sections = {f"section_{i}": {f"key_{j}": j for j in range(12)} for i in range(8)}
trial = {"study": None, "storage": None, "id": None, "number": None}
hydra_section = {"sweep": {"dir": "sweep", "subdir": "${hydra.job.num}"}}
ConfigStore.instance().store(name="config", node={"x": 0.5, "trial": trial, **sections, "hydra": hydra_section})

launched = []
def timed(launch):
    def wrapped(self, *args, **kwargs):
        begin = time.perf_counter()
        try:
            return launch(self, *args, **kwargs)
        finally:
            launched.append((begin, time.perf_counter()))
    return wrapped

from hydra._internal.core_plugins.basic_launcher import BasicLauncher
BasicLauncher.launch = timed(BasicLauncher.launch)

def job(config):
    return config.x

hydra.main(config_path=None, config_name="config", execution_whitelist=["powmix.*", "optuna.*"])(job)()
begins = [begin for begin, end in launched]
whole = [1e3 * (later - begin) for begin, later in zip(begins, begins[1:])]
print("MEASURED", json.dumps([whole, [1e3 * (end - begin) for begin, end in launched[:-1]]]))
"""


def main() -> None:
    """Measure and print one line for each storage and sweeper."""
    parser = argparse.ArgumentParser("benchmarks.sweeper", description=__doc__.splitlines()[0])
    parser.add_argument("--trials", type=int, default=50)
    trials = parser.parse_args().trials
    ours = ["hydra/sweeper=optuna_study"]
    stock = ["hydra/sweeper=optuna", "hydra.sweeper.n_jobs=1", "hydra.sweeper.study_name=s"]
    for name, options in {
        "optuna_study, journal file": ours,
        "optuna_study, SQLite": [*ours, "hydra.sweeper.storage=sqlite:///study.db"],
        "stock optuna, SQLite": [*stock, "hydra.sweeper.storage=sqlite:///study.db"],
        "stock optuna, in memory": stock,
    }.items():
        whole, launch = measure([*options, f"hydra.sweeper.n_trials={trials}"])
        hydra = statistics.median(launch)
        notes = {"hydra": hydra, "sweeper": statistics.median(whole) - hydra}
        print(alone(f"search/{name}", whole, "wall milliseconds per trial", threads=1, **notes).line(), flush=True)


def measure(overrides: list[str]) -> tuple[list[float], list[float]]:
    """Milliseconds of every trial but the last, and the part of them inside Hydra's launcher."""
    with tempfile.TemporaryDirectory() as folder:
        app = Path(folder) / "app.py"
        app.write_text(APP, encoding="utf-8")
        command = [sys.executable, str(app), "-m", "x=interval(0.0,1.0)", *overrides]
        done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
        found = [line.removeprefix("MEASURED ") for line in done.stdout.splitlines() if line.startswith("MEASURED ")]
        assert found, done.stdout + done.stderr
        whole, launch = json.loads(found[0])
        return whole, launch


if __name__ == "__main__":
    main()
