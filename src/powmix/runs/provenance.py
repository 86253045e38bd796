"""Where a run lives, what is already done, and what is written about it. Every write is write-then-rename."""

from __future__ import annotations

import fcntl
import math
import platform
import shlex
import statistics
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from powmix.runs.files import write_json
from powmix.runs.identity import PACKAGE

PACKAGES = ("powmix", "torch", "numpy", "hydra-core", "optuna", "transformers", "wandb")


@contextmanager
def alone_in(folder: Path) -> Iterator[None]:
    """Hold a folder: a second process that wants the same run waits, and then finds it finished."""
    folder.mkdir(parents=True, exist_ok=True)
    with open(folder / ".lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


# --- what is written of a variant -------------------------------------------------------------------------------------


def spread(records: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Over seeds: mean, std (ddof=1, None for one seed), Student's 95 % interval of the mean (None for one seed)."""
    from scipy.stats import t as student

    out: dict[str, Any] = {"mean": {}, "std": {}, "ci95": {}}
    quantile = float(student.ppf(0.975, len(records) - 1)) if len(records) > 1 else None
    for split in ("validation", "test"):
        for name in records[0].get(split, {}):
            values = [record[split][name] for record in records]
            mean = statistics.fmean(values)
            std = statistics.stdev(values) if len(values) > 1 else None
            half = None if std is None else quantile * std / math.sqrt(len(values))
            out["mean"].setdefault(split, {})[name] = mean
            out["std"].setdefault(split, {})[name] = std
            out["ci95"].setdefault(split, {})[name] = None if half is None else [mean - half, mean + half]
    return out


def provenance(device: str, dataset: Mapping[str, Any]) -> dict[str, Any]:
    """What somebody needs to get the same numbers: code, versions, machine, data."""
    return {
        "git": _git("rev-parse", "HEAD"),
        "dirty": bool(_git("status", "--porcelain", "--untracked-files=no")),
        "versions": {"python": platform.python_version(), **_versions()},
        "dataset": dict(dataset),
        "device": device,
        "created": now(),
    }


def now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")


def command(overrides: Sequence[str], multirun: bool = False) -> str:
    """The command line that runs these overrides again."""
    return shlex.join(["powmix", *(["-m"] if multirun else []), *overrides])


@cache
def _versions() -> dict[str, str]:
    found = {}
    for name in PACKAGES:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return found


@cache
def _git(*arguments: str) -> str | None:
    """What git says of the clone this package runs from; None where it is installed without one."""
    if not (PACKAGE.parents[1] / ".git").exists():
        return None
    try:
        return subprocess.run(
            ["git", *arguments], cwd=PACKAGE, capture_output=True, text=True, check=True, timeout=10
        ).stdout.strip()
    except (OSError, subprocess.SubprocessError):
        return None


# --- a job of a sweep -------------------------------------------------------------------------------------------------


def write_job(folder: Path, *, number: int, overrides: Sequence[str], status: str, **more: Any) -> None:
    """`job.json`: a sweep's record of one job; `run` is the run's folder, relative to the sweep's."""
    write_json(folder / "job.json", {"number": number, "overrides": list(overrides), "status": status, **more})


def watched() -> bool:
    """Whether a person is looking: progress bars where true, quiet lines where not."""
    return sys.stderr.isatty()
