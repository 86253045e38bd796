"""Weights & Biases beside the local files: one W&B run per seed."""

from __future__ import annotations

import logging
import os
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any

from powmix.training.listener import Listener

log = logging.getLogger("powmix")


class WandbListener(Listener):
    """One W&B run per seed. An interrupted seed continues its W&B run: the id is the signature and the seed.

    Per epoch: the row of history.csv (metrics, mixing statistics); summary: test metrics under `test/`, best epoch.
    """

    def __init__(self, settings: Mapping[str, Any], folder: Path, config: Mapping[str, Any], run: Mapping[str, Any]):
        self.settings, self.folder, self.config, self.run = settings, folder, dict(config), run
        self.open: dict[int, Any] = {}

    def on_seed_start(self, seed: int, max_epochs: int) -> None:
        variant = self.run["variant"]
        tags = [variant["dataset"], variant["model"], variant["mixer"], self.run.get("sweep"), *self.settings["tags"]]
        self.open[seed] = start_wandb(
            self.settings["mode"],
            project=self.settings["project"],
            entity=self.settings["entity"],
            group=f"{self.run['name']} {self.run['signature'][:6]}",
            name=f"{self.run['name']}-{seed}",
            id=f"{self.run['signature']}-{seed}",
            resume="allow",
            tags=[tag for tag in dict.fromkeys(tags) if tag],
            config={**self.config, "seed": seed, "signature": self.run["signature"], **self.run.get("trial", {})},
            dir=str(self.folder),
        )

    def on_epoch(self, seed: int, row: Mapping[str, Any]) -> None:
        grouped = {_slashed(name): value for name, value in row.items() if isinstance(value, int | float)}
        self.open[seed].log(grouped, step=int(row["epoch"]))

    def on_seed_end(self, seed: int, record: Mapping[str, Any]) -> None:
        run = self.open.pop(seed, None)
        if run is None:
            return  # the seed was finished before this process
        run.summary.update({f"test/{name}": value for name, value in record["test"].items()})
        run.summary.update({f"best/validation/{name}": value for name, value in record["validation"].items()})
        run.summary.update({"best_epoch": record["best_epoch"], "status": "finished"})
        run.finish()

    def close(self, status: str) -> None:
        """Finish what an exception left open, so that the next job gets a run of its own."""
        for run in self.open.values():
            run.summary["status"] = status
            run.finish(exit_code=0 if status == "pruned" else 1)
        self.open.clear()


def start_wandb(mode: str, **arguments: Any) -> Any:
    """`wandb.init`; in mode auto, offline with a warning where key or network are missing or refused."""
    import wandb

    quiet = wandb.Settings(silent=True, init_timeout=30, console="off")
    start = partial(wandb.init, reinit="create_new", settings=quiet)
    if mode == "auto" and os.environ.get("WANDB_MODE", "online") != "online":
        return start(**{**arguments, "resume": None})
    obstacle = _obstacle(wandb.setup().settings) if mode == "auto" else None
    if mode != "offline" and obstacle is None:
        try:
            return start(mode="online", **arguments)
        except wandb.errors.Error as error:
            if mode == "online":
                raise
            obstacle, arguments["id"] = str(error), f"{arguments['id']}-offline"  # the attempt keeps its id in use
    if obstacle is not None:
        log.warning("tracker=wandb: %s, so this run is logged offline; `wandb sync` sends it later", obstacle)
    return start(mode="offline", **{**arguments, "resume": None})


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


def _slashed(name: str) -> str:
    """history.csv's `validation_MAE` is W&B's `validation/MAE`: one panel section per prefix."""
    prefix, _, rest = name.partition("_")
    return f"{prefix}/{rest}" if rest and prefix in ("train", "validation", "mixing") else name
