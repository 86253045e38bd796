"""What a trial costs beside its training: a search with a no-op job, on a journal file and on SQLite.

    python -m benchmarks.sweeper             50 trials of each; the bar is 0.2 s per trial on a journal file

`sweeper` is this project's part (claim, sample, heartbeat, tell); `hydra` is what Hydra's launcher takes to compose the
configuration, open the folder and write it down, which every sweeper pays; `stock` is hydra/sweeper=optuna beside it.
Medians over the trials.
"""

import argparse
import os
import re
import subprocess
import sys
import tempfile
from pathlib import Path

APP = """
import statistics, time
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
whole = statistics.median(later - begin for begin, later in zip(begins, begins[1:]))
print("MEASURED", whole, statistics.median(end - begin for begin, end in launched))
"""


def main() -> None:
    """Measure and print one line for each storage and sweeper."""
    parser = argparse.ArgumentParser("benchmarks.sweeper", description=__doc__.splitlines()[0])
    parser.add_argument("--trials", type=int, default=50)
    trials = parser.parse_args().trials
    print(f"{trials} trials, load {os.getloadavg()[0]:.1f} on {os.cpu_count()} cores; milliseconds per trial")
    print(f"{'':28s}{'sweeper':>9s}{'hydra':>9s}{'sum':>9s}")
    ours = ["hydra/sweeper=optuna_study"]
    stock = ["hydra/sweeper=optuna", "hydra.sweeper.n_jobs=1", "hydra.sweeper.study_name=s"]
    for name, options in {
        "optuna_study, journal file": ours,
        "optuna_study, SQLite": [*ours, "hydra.sweeper.storage=sqlite:///study.db"],
        "stock optuna, SQLite": [*stock, "hydra.sweeper.storage=sqlite:///study.db"],
        "stock optuna, in memory": stock,
    }.items():
        whole, launch = measure([*options, f"hydra.sweeper.n_trials={trials}"])
        print(f"{name:28s}{1e3 * (whole - launch):9.1f}{1e3 * launch:9.1f}{1e3 * whole:9.1f}", flush=True)


def measure(overrides: list[str]) -> tuple[float, float]:
    """Seconds per trial, and the part of them inside Hydra's launcher."""
    with tempfile.TemporaryDirectory() as folder:
        app = Path(folder) / "app.py"
        app.write_text(APP, encoding="utf-8")
        command = [sys.executable, str(app), "-m", "x=interval(0.0,1.0)", *overrides]
        done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
        found = re.search(r"MEASURED (\S+) (\S+)", done.stdout)
        assert found, done.stdout + done.stderr
        return float(found[1]), float(found[2])


if __name__ == "__main__":
    main()
