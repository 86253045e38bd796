"""A tiny Hydra application in powmix's place: what the tests of the search start as processes of their own."""

import os
import sys
import time
from pathlib import Path

import hydra
from hydra.core.config_store import ConfigStore
from hydra.core.hydra_config import HydraConfig

from powmix.command.searching import register

CONFIG = {
    "objective": "MAE",
    "seeds": [1, 2],
    "trainer": {"max_epochs": 3},
    "trial": {"study": None, "storage": None, "id": None, "number": None},
    "x": 0.5,
    "n": 256,
    "subset": [2, 4],
    "raise_at": [],
    "nan_at": [],
    "prune_at": [],
    "seconds": 0.0,
    "hydra": {
        "sweep": {"dir": "sweep", "subdir": "${hydra.job.num}"},
        "sweeper": {"_target_": "powmix.command.searching.PowmixSweeper", "study_name": None},
    },
}
ConfigStore.instance().store(name="config", node=CONFIG)


def job(config) -> float:
    """Note the start, wait, note the end; then give the objective, or fail as told."""
    number = HydraConfig.get().job.num
    folder = Path(HydraConfig.get().runtime.output_dir)
    with open(folder / "started", "a") as file:
        file.write(f"{os.getpid()} {config.x} {config.n} {os.environ.get('CUDA_VISIBLE_DEVICES')} {time.time()}\n")
    time.sleep(config.seconds)
    if number in config.raise_at:
        raise ArithmeticError("told to fail")
    if number in config.nan_at:
        return float("nan")
    if number in config.prune_at:
        from powmix.training.listener import Pruned

        raise Pruned("told to stop")
    with open(folder / "finished", "a") as file:
        file.write(f"{os.getpid()} {time.time()}\n")
    return abs(config.x - 0.3) + abs(config.n - 64) / 1000


if __name__ == "__main__":
    register()
    sys.argv[1:1] = ["-m", "hydra/sweeper=optuna_study"]
    hydra.main(config_path=None, config_name="config", execution_whitelist=["powmix.*", "optuna.*"])(job)()
