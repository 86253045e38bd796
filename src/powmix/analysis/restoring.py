"""A finished run's folder -> its data, and for each seed the solver that trained it, with the best weights in place."""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from powmix import plugins
from powmix.experiment import Parts, parts
from powmix.runs.files import SeedFolder
from powmix.runs.records import Record
from powmix.runs.seed_records import SeedResult, check_weights
from powmix.training import Solver
from powmix.training.checkpoint import fit

TOLERANCE = 1e-2
"""How far the test Loss may be from the recorded one before the weights are not those of the record: other devices,
threads and precisions round differently; another code or other data is far outside."""


@dataclass(frozen=True)
class FinishedRun:
    """What was trained, without its weights."""

    parts: Parts

    def solver(self, seed: SeedResult) -> Solver:
        """The seed's solver as it stood when it evaluated the test split; `solver.evaluate` is that very evaluation.

        ValueError where the weights are missing or are not those of the record; a warning where the test Loss is the
        recorded one only up to rounding.
        """
        made = self.parts
        solver = Solver(made.build, made.splits_of(seed.seed), made.mixer, made.settings, seed.seed, seed.folder)
        solver.begin()
        check_weights(SeedFolder(seed.folder))
        fit(solver.model, SeedFolder(seed.folder).weights)
        loss, recorded = solver.evaluate(solver.splits.test)[0]["Loss"], seed.test["Loss"]
        if not abs(loss - recorded) <= TOLERANCE * max(1, abs(recorded)):
            raise ValueError(
                f"{seed.folder}: the test Loss is {loss:.4f}, the run recorded {recorded:.4f}: "
                "the weights, or the code since then, have changed"
            )
        if loss != recorded:
            warnings.warn(
                f"{seed.folder}: the test Loss is the recorded one up to rounding only ({loss - recorded:+.1e}): "
                "this device, or its number of threads, is not the run's",
                stacklevel=2,
            )
        return solver


def restore(record: Record, device: str = "auto", dataset_path: Path | None = None) -> FinishedRun:
    """The run behind a record, its plugins loaded. ValueError where these or its data are gone, or are other data."""
    config = record.config
    if not config:
        raise ValueError(f"{record.folder}: config.yaml is missing or unreadable")
    plugins.load_of_run(record.folder, config.get("plugins") or (), record.provenance.get("plugins", {}))
    trainer = config["trainer"] | {"device": _device(record, device)}
    dataset = _data(record, dataset_path)
    made = parts({**config, "dataset": dataset, "trainer": trainer})
    trained, now = record.provenance.get("dataset", {}).get("digest"), made.splits.digest
    if now != trained:
        raise ValueError(
            f"{record.folder}: trained on data {str(trained)[:12]}..., {dataset.get('path') or record.dataset} is "
            f"{now[:12]}...: not the same data"
        )
    return FinishedRun(made)


def _device(record: Record, asked: str) -> str:
    """`auto`: where the run was trained, so that its numbers come back exactly; else what this machine has."""
    own = str(record.provenance.get("device", "auto"))
    if asked != "auto":
        return asked
    return own if not own.startswith("cuda") or torch.cuda.is_available() else "cpu"


def _data(record: Record, path: Path | None) -> dict[str, Any]:
    """The run's section `dataset`, with the path where its data are now."""
    dataset = dict(record.config["dataset"])
    if path is not None:
        if "path" not in dataset:
            raise ValueError(f"--dataset-path: the {record.dataset} corpus of {record.folder} has no file")
        dataset["path"] = str(path)
    if dataset.get("path") and not Path(dataset["path"]).expanduser().exists():
        raise ValueError(
            f"{record.folder}: no file {dataset['path']!r}: its data have moved; name them by --dataset-path FILE"
        )
    return dataset
