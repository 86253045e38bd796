"""How a W&B run is opened: online or offline, new or again, beside a W&B agent. Nothing else calls `wandb.init`."""

from __future__ import annotations

import logging
import os
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import yaml

log = logging.getLogger("powmix")

EPOCHS = "epochs.txt"
"""In an offline run's folder: the last epoch that it holds. `wandb sync` leaves `*.wandb.synced` beside it."""


@dataclass(frozen=True)
class AgentTrial:
    """What `wandb agent` asks of this process: one trial of its sweep. values: by the sweep's parameter."""

    sweep_id: str
    run_id: str
    values: Mapping[str, Any]


def is_agents(environment: Mapping[str, str]) -> bool:
    """Whether `wandb agent` has started the process of this environment, as one trial of its sweep."""
    return bool(environment.get("WANDB_SWEEP_ID") and environment.get("WANDB_RUN_ID"))


@cache
def agent_trial() -> AgentTrial | None:
    """The trial of the agent that started this process, or None.

    Its variables are taken away: with them every run of this process, each seed's too, would be the agent's one run.
    """
    taken = {name: os.environ.pop(f"WANDB_{name}", None) for name in ("SWEEP_ID", "RUN_ID", "SWEEP_PARAM_PATH")}
    if not (taken["SWEEP_ID"] and taken["RUN_ID"]):
        return None
    told: dict[str, Any] = {}
    if taken["SWEEP_PARAM_PATH"] and Path(taken["SWEEP_PARAM_PATH"]).is_file():
        told = yaml.safe_load(Path(taken["SWEEP_PARAM_PATH"]).read_text("utf-8")) or {}
    values = {key: one["value"] for key, one in told.items() if isinstance(one, Mapping) and "value" in one}
    return AgentTrial(taken["SWEEP_ID"], taken["RUN_ID"], values)


def open_run(mode: str, folder: Path, identity: str, is_live: bool, sweep_id: str | None = None, **what: Any) -> Any:
    """A W&B run by its id, as it was left where there is one already.

    mode: auto (offline with a warning where key or network are missing or refused), online, offline. is_live: whether
    this machine's load is part of it. what: as of `wandb.init`, but `tags`, which are added to those that it has.
    ValueError where mode is online and the server does not take it.
    """
    import wandb

    agent_trial()
    settings = wandb.Settings(
        silent=True, init_timeout=30, console="off", x_disable_stats=not is_live, sweep_id=sweep_id
    )
    tags = what.pop("tags")
    arguments = {**what, "id": identity, "dir": str(folder), "reinit": "create_new", "settings": settings}
    if mode == "auto" and os.environ.get("WANDB_MODE", "online") != "online":
        return _offline(arguments, tags)
    obstacle = _obstacle(wandb.setup().settings) if mode == "auto" else None
    if mode != "offline" and obstacle is None:
        try:
            run = wandb.init(mode="online", resume="allow", **arguments)
            _forget(folder, identity)
            run.tags = tuple(dict.fromkeys([*(run.tags or ()), *tags]))
            return run
        except wandb.errors.Error as error:
            if mode == "online":
                raise ValueError(f"tracker.wandb.mode=online: {str(error).splitlines()[0]}") from error
            obstacle = str(error)
            wandb.teardown()  # the attempt keeps its id in use
    if obstacle is not None:
        log.warning("tracker=wandb: %s, so this run is logged offline; `wandb sync` sends it later", obstacle)
    return _offline(arguments, tags)


def logged_epochs(run: Any, folder: Path, identity: str) -> int:
    """The last epoch that a run holds: of an online one as the server says, else in logs that were sent already."""
    if not run.offline:
        return max(run.starting_step - 1, 0)
    sent = [log for log in _logs(folder, identity) if _is_sent(log)]
    return max((_epochs(log) for log in sent), default=0)


def note_epoch(run: Any, epoch: int) -> None:
    """Says beside an offline run's log what it holds."""
    if run.offline:
        (Path(run.dir).parent / EPOCHS).write_text(str(epoch))


def _offline(arguments: Mapping[str, Any], tags: list[str]) -> Any:
    """An offline run; an earlier one of this id that was not sent yet is replaced, for this one holds all of it."""
    import wandb

    _forget(Path(arguments["dir"]), arguments["id"])
    return wandb.init(mode="offline", tags=tags, **arguments)


def _logs(folder: Path, identity: str) -> list[Path]:
    return sorted((folder / "wandb").glob(f"offline-run-*-{identity}"))


def _is_sent(log_folder: Path) -> bool:
    return any(log_folder.glob("*.wandb.synced"))


def _epochs(log_folder: Path) -> int:
    try:
        return int((log_folder / EPOCHS).read_text())
    except (OSError, ValueError):
        return 0


def _forget(folder: Path, identity: str) -> None:
    import shutil

    for log_folder in _logs(folder, identity):
        if not _is_sent(log_folder):
            shutil.rmtree(log_folder)


def _obstacle(settings: Any) -> str | None:
    """What keeps W&B from its server, found without asking or waiting long; None: nothing."""
    from urllib.error import HTTPError
    from urllib.request import urlopen

    if not _has_key(settings):
        return "no API key (`wandb login`)"
    try:
        with urlopen(settings.base_url, timeout=5):
            return None
    except HTTPError:
        return None  # it answered
    except (OSError, ValueError) as error:
        return f"{settings.base_url} does not answer ({getattr(error, 'reason', error)})"


def _has_key(settings: Any) -> bool:
    """Whether W&B would find a key: in the environment or settings, or in netrc."""
    from netrc import NetrcParseError, netrc
    from urllib.parse import urlsplit

    try:
        stored = netrc(os.environ.get("NETRC")).authenticators(urlsplit(settings.base_url).hostname or "")
    except (OSError, NetrcParseError):
        stored = None
    return bool(settings.api_key or stored)
