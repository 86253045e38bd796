"""What somebody needs to get the same numbers: the command, the code, the versions, the machine, the data."""

from __future__ import annotations

import platform
import shlex
import subprocess
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from typing import Any

from powmix.places import CLONE

PACKAGES = ("powmix", "torch", "numpy", "hydra-core", "optuna", "transformers", "wandb")


def provenance(device: str, dataset: Mapping[str, Any], plugins: Mapping[str, str]) -> dict[str, Any]:
    """Git commit, package versions, device, time, what `dataset` tells of the data, the plugins' SHA-256 by name."""
    return {
        "git": _git("rev-parse", "HEAD"),
        "dirty": bool(_git("status", "--porcelain", "--untracked-files=no")),
        "versions": {"python": platform.python_version(), **_versions()},
        "dataset": dict(dataset),
        "plugins": dict(plugins),
        "device": device,
        "created": now(),
    }


def now() -> str:
    """The time in UTC, to the second."""
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
    """What git says of the clone; None where the package is installed without one."""
    if not (CLONE / ".git").exists():
        return None
    try:
        return subprocess.run(
            ["git", *arguments], cwd=CLONE, capture_output=True, text=True, check=True, timeout=10
        ).stdout.strip()
    except (OSError, subprocess.SubprocessError):
        return None
