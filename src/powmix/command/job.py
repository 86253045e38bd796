"""One Hydra job: a single run, or one variant of a sweep, from its composed configuration to its objective."""

from __future__ import annotations

import logging
import math
import os
import sys
from pathlib import Path
from typing import Any

from hydra.core.hydra_config import HydraConfig
from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf

from powmix.command.validation import check_config
from powmix.runs.identity import register_resolvers, seed_list, signature, variant

log = logging.getLogger("powmix")


def job(composed: DictConfig) -> float:
    """One variant, all its seeds; returns the objective (the mean over seeds of the validation metric)."""
    register_resolvers()
    hydra_config = HydraConfig.get()
    multirun = hydra_config.mode == RunMode.MULTIRUN
    config = OmegaConf.to_container(composed, resolve=True)
    config["seeds"] = seed_list(config["seeds"])
    folder = _folder(config, hydra_config)
    if not multirun:
        return _run(config, hydra_config, folder)["objective"]
    return _job_of_a_sweep(config, hydra_config, folder)


def _run(config: dict[str, Any], hydra_config: Any, folder: Path) -> dict[str, Any]:
    """Validate, train what is not yet trained, print the table of a single run."""
    choices = dict(hydra_config.runtime.choices)
    errors = check_config(config, choices)
    if errors:
        raise ValueError("; ".join(errors))
    from powmix import experiment

    names = variant(config, choices)
    identity = {
        "signature": signature(config),
        "variant": names,
        "name": "/".join(str(names[k]) for k in ("dataset", "model", "mixer", "ablation") if names[k]),
        "overrides": task_overrides(hydra_config),
        "sweep": config["sweep"] if hydra_config.mode == RunMode.MULTIRUN else None,
        "trial": {k: config["trial"][k] for k in ("study", "number") if config["trial"][k] is not None},
    }
    listeners = []
    if config["trial"]["id"] is not None:
        from powmix.search.reporting import TrialReporter

        listeners.append(TrialReporter.from_config(config))
    recorded = {key: value for key, value in config.items() if key != "trial"}  # a storage URL may hold a password
    result = experiment.run(recorded, identity, folder, listeners)
    if config["analyses"]:
        from powmix import analysis

        analysis.run(config["analyses"], folder)
    if hydra_config.mode == RunMode.RUN:
        from powmix.report import describe

        sys.stdout.write(describe(folder) + f"\n{folder}/\n")
    return result


def _job_of_a_sweep(config: dict[str, Any], hydra_config: Any, folder: Path) -> float:
    """Run, and leave a record in the sweep's folder; a failing job of a plain multirun stops no other."""
    from powmix.runs.provenance import write_job

    place = Path(hydra_config.runtime.output_dir)
    record = {
        "number": int(hydra_config.job.num),
        "overrides": task_overrides(hydra_config),
        "run": os.path.relpath(folder, place.parent),
        "objective": None,
        "error": None,
    }
    write_job(place, status="running", **record)
    try:
        record["objective"] = _run(config, hydra_config, folder)["objective"]
        write_job(place, status="finished", **record)
        return record["objective"]
    except BaseException as error:
        record["error"] = f"{type(error).__name__}: {error}"
        write_job(place, status="pruned" if type(error).__name__ == "Pruned" else "failed", **record)
        if not isinstance(error, Exception) or config["trial"]["id"] is not None:
            raise
        log.error("job %d (%s) failed: %s", record["number"], " ".join(record["overrides"]), record["error"])
        log.debug("job %d", record["number"], exc_info=True)
        return math.nan


def _folder(config: dict[str, Any], hydra_config: Any) -> Path:
    """A single run's folder is Hydra's (by default named by the signature); a sweep's jobs share the runs folder."""
    if hydra_config.mode == RunMode.RUN:
        return Path(hydra_config.runtime.output_dir)
    return (Path(config["outputs"]) / "runs" / signature(config)).absolute()


def task_overrides(hydra_config: Any) -> list[str]:
    """What the user chose; the sweep's name is ours."""
    return [text for text in hydra_config.overrides.task if not text.startswith(("sweep=", "++trial"))]
