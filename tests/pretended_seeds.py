"""In place of a training, for the tests of worker processes, which import this file and with it no torch."""

import os
import time
from functools import partial
from pathlib import Path

from powmix.training import TrainingFailed
from powmix.training.interruption import sigterm_as_interrupt


def begin(folder: Path, seconds: float = 0.0):
    """Leaves its process id, and its seed where it ends; seed 13 diverges, seed 17 meets a full disk."""
    return partial(pretend, folder, seconds)


def pretend(folder: Path, seconds: float, seed: int) -> dict:
    (folder / f"{seed}.pid").write_text(str(os.getpid()))
    if seed == 13:
        raise TrainingFailed("seed 13: it diverged")
    if seed == 17:
        raise OSError(28, "No space left on device", "seed_17")
    with sigterm_as_interrupt():
        time.sleep(seconds)
    return {"seed": seed}
