"""One Hydra job: a single run, or one variant of a sweep, from its composed configuration to its objective."""

from __future__ import annotations

import gc
import logging
import math
import os
import sys
from importlib import import_module
from pathlib import Path
from typing import Any

from hydra.core.hydra_config import HydraConfig
from hydra.types import RunMode
from omegaconf import DictConfig

from powmix import plugins
from powmix.command.composition import plain, register_resolvers, task_overrides
from powmix.command.exits import leave, of_disk
from powmix.command.validation import check_config
from powmix.mistakes import refuse
from powmix.runs.identity import seed_list, short_name, signature, variant
from powmix.runs.provenance import command
from powmix.runs.records import finished_variant, write_job
from powmix.training.listener import Pruned, TrainingFailed

log = logging.getLogger("powmix")

WITH_OWN_CORES = ("basic", "in_process", "slurm", "submitit_slurm")
"""Launchers whose jobs share their cores with no other job, so that `workers` may fill them."""


def job(composed: DictConfig) -> float:
    """One variant, all its seeds; returns the objective (the mean over seeds of the validation metric)."""
    register_resolvers()
    plugins.load_installed()
    plugins.load(composed.plugins)  # a worker process has none yet
    hydra_config = HydraConfig.get()
    config = plain(composed)
    if hydra_config.mode == RunMode.MULTIRUN:
        return _job_of_a_sweep(config, hydra_config)
    folder = Path(hydra_config.runtime.output_dir)
    try:
        return _run(config, hydra_config, folder)["objective"]
    except (ValueError, OSError, TrainingFailed) as error:
        # Raised on, Hydra would print a line of its own before it.
        leave(of_disk(error, str(folder)) if isinstance(error, OSError) else str(error))


def _run(config: dict[str, Any], hydra_config: Any, folder: Path) -> dict[str, Any]:
    """Train what is not yet trained, analyse it, print the table of a single run."""
    multirun = hydra_config.mode == RunMode.MULTIRUN
    config["seeds"] = seed_list(config["seeds"])
    names = variant(config, hydra_config.runtime.choices)
    identity: dict[str, Any] = {
        "signature": signature(config),
        "variant": names,
        "name": short_name(names),
        "overrides": task_overrides(hydra_config),
        "sweep": config["sweep"] if multirun else None,
        "trial": {k: config["trial"][k] for k in ("study", "number") if config["trial"][k] is not None},
    }
    listeners = []
    if config["trial"]["id"] is not None:
        from powmix.search.reporting import TrialReporter

        listeners.append(TrialReporter.from_config(config))
    recorded = {key: value for key, value in config.items() if key != "trial"}  # a storage URL may hold a password
    if multirun and hydra_config.runtime.choices.get("hydra/launcher") not in WITH_OWN_CORES:
        recorded["workers"] = 1
    result = None
    if not listeners and not config["tracker"]:
        told = {key: identity[key] for key in ("overrides", "sweep")} | {"command": command(identity["overrides"])}
        if result := finished_variant(folder, config["seeds"], **told):
            plugins.warn_of_change(result["provenance"].get("plugins", {}))
            log.log(logging.DEBUG if multirun else logging.INFO, "%s: already finished", result["name"])
    if result is None:
        result = _experiment().run(recorded, identity, folder, listeners)
    if config["analyses"]:
        from powmix import analysis

        analysis.run(config["analyses"], folder)
    if not multirun:
        from powmix.report import describe

        sys.stdout.write(describe(folder) + f"\n{folder}/\n")
    return result


def _experiment() -> Any:
    """powmix.experiment, which imports torch.

    Modules stay until the process ends, so Python's collector need not look through them, neither while they are made
    nor at the end: 17 % of the processor time of a process that imports torch (2.32 to 1.92 s, nine interleaved pairs).
    """
    if "powmix.experiment" in sys.modules:
        return sys.modules["powmix.experiment"]
    gc.disable()
    try:
        return import_module("powmix.experiment")
    finally:
        gc.freeze()
        gc.enable()


def _job_of_a_sweep(config: dict[str, Any], hydra_config: Any) -> float:
    """Run, and leave a record in the sweep's folder; a failing job of a plain multirun stops no other."""
    place = Path(hydra_config.runtime.output_dir)
    folder = (Path(config["outputs"]) / "runs" / signature(config)).absolute()
    record: dict[str, Any] = {
        "number": int(hydra_config.job.num),
        "overrides": task_overrides(hydra_config),
        "run": os.path.relpath(folder, place.parent),
        "objective": None,
        "error": None,
    }
    write_job(place, status="running", **record)
    try:
        # The command was checked value by value; only here is it known how swept values go together.
        refuse(check_config(config, hydra_config.runtime.choices))
        record["objective"] = _run(config, hydra_config, folder)["objective"]
        write_job(place, status="finished", **record)
        return record["objective"]
    except KeyboardInterrupt:
        searched = config["trial"]["id"] is not None
        record["error"] = f"{'given back to the study' if searched else 'stopped'}; the same command continues it"
        write_job(place, status="interrupted", **record)
        raise
    except BaseException as error:
        record["error"] = f"{type(error).__name__}: {error}"
        write_job(place, status="pruned" if isinstance(error, Pruned) else "failed", **record)
        if not isinstance(error, Exception) or config["trial"]["id"] is not None:
            raise
        log.error("job %d (%s) failed: %s", record["number"], " ".join(record["overrides"]), record["error"])
        log.debug("job %d", record["number"], exc_info=True)
        return math.nan
