"""TensorBoard beside the local files: event files, a folder for each seed and for each sweep."""

from __future__ import annotations

import re
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from powmix.tracking.tracker import SweepTold, Told, Tracker, results


class TensorboardTracker(Tracker):
    """A folder of event files per seed, written anew from what is on disk whenever a command meets the seed.

    Scalars by epoch, at the last epoch the seed's results; the configuration as text and as hyperparameters.
    """

    name = "tensorboard"

    def __init__(self, settings: Mapping[str, Any], told: Told) -> None:
        super().__init__(settings, told)
        self.open: dict[int, Any] = {}
        self.root = Path(settings["folder"]) / _file_name(told.group)

    def start(self, seed: int, is_live: bool) -> int:
        from torch.utils.tensorboard import SummaryWriter

        folder = self.root / f"seed_{seed}"
        shutil.rmtree(folder, ignore_errors=True)
        self.open[seed] = writer = SummaryWriter(str(folder))
        sweeps = ", ".join(self.told.sweeps) or "none"
        writer.add_text(
            "run", f"`{self.told.command}`  \nseed {seed}, signature {self.told.signature}, sweeps: {sweeps}"
        )
        return 0

    def row(self, seed: int, epoch: int, values: Mapping[str, float]) -> None:
        for name, value in values.items():
            if name != "epoch":
                self.open[seed].add_scalar(name, value, epoch)
        self.open[seed].flush()

    def result(self, seed: int, record: Mapping[str, Any]) -> None:
        from torch.utils.tensorboard.summary import hparams

        writer, found = self.open.pop(seed), results(record)
        for name, value in found.items():
            writer.add_scalar(name, value, record["epochs"])
        given = {
            key: value if isinstance(value, bool | int | float | str) else str(value)
            for key, value in {**self.told.flat_config(), "seed": seed, "sweeps": ", ".join(self.told.sweeps)}.items()
        }
        for part in hparams(given, found):  # in this run's own folder; `add_hparams` would open another
            writer.file_writer.add_summary(part)
        writer.close()

    def stop(self, seed: int, status: str) -> None:
        writer = self.open.pop(seed)
        writer.add_text("status", status)
        writer.close()

    @classmethod
    def sweep(cls, settings: Mapping[str, Any], sweep: SweepTold) -> str:
        import numpy as np
        from PIL import Image
        from torch.utils.tensorboard import SummaryWriter

        folder = Path(settings["folder"]) / "sweeps" / _file_name(sweep.name)
        shutil.rmtree(folder, ignore_errors=True)
        with SummaryWriter(str(folder)) as writer:
            writer.add_text("comparison", sweep.markdown())
            writer.add_text("verdicts", "\n".join(f"- {sentence}" for sentence in sweep.sentences))
            for name, path in sweep.pictures.items():
                with Image.open(path) as image:
                    writer.add_image(name, np.asarray(image.convert("RGB")), dataformats="HWC")
        return f"tensorboard --logdir {settings['folder']}"


def _file_name(text: str) -> str:
    return re.sub(r"[^\w.-]+", "-", text)
