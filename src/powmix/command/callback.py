"""What a multirun leaves beside its jobs: sweep.json, and the comparison of its variants. A Hydra callback."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

from hydra.experimental.callback import Callback
from omegaconf import DictConfig

from powmix.command.job import task_overrides
from powmix.runs.files import read_json, write_json
from powmix.runs.provenance import command, now


class Comparison(Callback):
    """Opens the sweep's folder when a multirun starts; writes its table when it ends, also when interrupted."""

    def on_multirun_start(self, config: DictConfig, **_: Any) -> None:
        folder = Path(config.hydra.sweep.dir)
        known = read_json(folder / "sweep.json") or {"schema": 1, "name": config.sweep, "created": now()}
        write_json(
            folder / "sweep.json",
            {
                **known,
                "command": command(task_overrides(config.hydra), multirun=True),
                "jobs": collect(folder),
                "baseline_rule": "mixer=none",
            },
        )

    def on_multirun_end(self, config: DictConfig, **_: Any) -> None:
        folder = Path(config.hydra.sweep.dir)
        known = read_json(folder / "sweep.json") or {}
        write_json(folder / "sweep.json", {**known, "jobs": collect(folder)})
        from powmix.report.comparison import write_comparison

        sys.stdout.write(write_comparison(folder) + f"\n{folder}/\n")


def collect(folder: Path) -> list[dict[str, Any]]:
    """The records the jobs have written, in the order of their numbers."""
    records = [read_json(path) for path in folder.glob("*/job.json")]
    return sorted((record for record in records if record), key=lambda record: record["number"])
