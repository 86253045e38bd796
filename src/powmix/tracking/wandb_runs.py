"""Weights & Biases beside the local files: one W&B run per seed, one per sweep, and one per trial of a W&B agent."""

from __future__ import annotations

import csv
import hashlib
import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import fmean
from typing import Any

from powmix.metrics.columns import direction
from powmix.runs.files import SeedFolder
from powmix.runs.identity import sweep_tag
from powmix.tracking.tracker import SweepTold, Told, Tracker, results
from powmix.tracking.wandb_session import agent_trial, logged_epochs, note_epoch, open_run

log = logging.getLogger("powmix")

ENDED = {"pruned": 0, "interrupted": 255}
"""Exit codes of runs without a result; any other status is a failure. W&B calls 255 killed."""


class WandbTracker(Tracker):
    """One W&B run per seed, its id the signature and the seed, so that it is the same run from any command.

    Per epoch: the row of history.csv. Summary: test metrics under `test/`, validation metrics of the best epoch under
    `best/validation/`, the predictions as a table. Tags and config say every sweep that it belongs to.
    """

    name = "wandb"

    def __init__(self, settings: Mapping[str, Any], told: Told) -> None:
        super().__init__(settings, told)
        self.open: dict[int, Any] = {}
        self.finished: dict[int, Mapping[str, Any]] = {}
        self.agent = agent_trial()
        self.trial: Any = None

    def start(self, seed: int, is_live: bool) -> int:
        if self.agent and not self.trial:
            self._start_trial()
        told = self.told
        run = self._wandb_run(
            told.seed_id(seed),
            is_live,
            name=f"{told.name}-{seed}",
            job_type="seed",
            notes=told.command,
            config={**_config(told), "seed": seed},
        )
        self.open[seed] = run
        if not run.offline:
            log.log(logging.DEBUG if told.in_sweep else logging.INFO, "%s seed %d: %s", told.name, seed, run.url)
        run.define_metric("epoch", hidden=True)
        for section in ("train", "mixing"):
            run.define_metric(f"{section}/*", step_metric="epoch")
        return logged_epochs(run, told.folder, told.seed_id(seed))

    def row(self, seed: int, epoch: int, values: Mapping[str, float]) -> None:
        run = self.open[seed]
        if epoch == 1:
            for name in (name for name in values if name.startswith("validation/")):
                better = "max" if direction(name.partition("/")[2]) == "maximize" else "min"
                run.define_metric(name, step_metric="epoch", summary=better)
        run.log(dict(values), step=epoch)
        note_epoch(run, epoch)

    def result(self, seed: int, record: Mapping[str, Any]) -> None:
        run, place = self.open.pop(seed), SeedFolder(self.told.folder / record["folder"])
        run.summary.update({**results(record), "status": "finished"})
        known = dict(run.summary)
        if place.predictions.is_file() and "predictions" not in known:
            run.summary["predictions"] = _table(place.predictions)
        if self.settings["weights"] and not known.get("weights"):
            run.log_artifact(str(place.weights), name=f"weights-{self.told.seed_id(seed)}", type="model")
            run.summary["weights"] = True
        run.finish()
        self.finished[seed] = record
        if self.trial:
            self._tell_trial()

    def stop(self, seed: int, status: str) -> None:
        """Finishes what an exception left open, so that the next job gets a run of its own."""
        run = self.open.pop(seed)
        run.summary["status"] = status
        if status == "failed" and self.settings["alert"]:
            run.alert(f"{self.told.name} seed {seed} failed", self.told.command, level="ERROR")
        run.finish(exit_code=ENDED.get(status, 1))

    def end(self, status: str) -> None:
        if self.trial:
            self.trial.summary["status"] = status
            self.trial.finish(exit_code=0 if status == "finished" else ENDED.get(status, 1))
            self.trial = None
        if (self.told.folder / "wandb").is_dir() and not self.told.in_sweep and _unsent(self.told.folder):
            log.info("tracker=wandb: `wandb sync %s` sends what was logged offline", self.told.folder / "wandb")

    def _wandb_run(self, identity: str, is_live: bool, **what: Any) -> Any:
        told, project = self.told, {key: self.settings[key] for key in ("project", "entity")}
        names = [told.variant["dataset"], told.variant["model"], told.variant["mixer"]]
        tags = dict.fromkeys([*names, *map(sweep_tag, told.sweeps), *self.settings["tags"]])
        what = {**project, **what, "group": told.group, "tags": list(tags)}
        return open_run(self.settings["mode"], told.folder, identity, is_live, **what)

    # --- one trial of a W&B agent -------------------------------------------------------------------------------------

    def _start_trial(self) -> None:
        """The agent's own run. Its seeds are runs beside it, in one group; its metric is their mean."""
        agent = self.agent
        assert agent is not None
        self.trial = self._wandb_run(
            agent.run_id,
            True,
            sweep_id=agent.sweep_id,
            name=None,
            job_type="trial",
            notes=self.told.command,
            config={**_config(self.told), **agent.values},
        )
        self.trial.define_metric("seeds", hidden=True)

    def _tell_trial(self) -> None:
        """The means over the seeds so far, one row for each seed; `objective` is what the agent's sweep optimises."""
        count = len(self.finished)
        each = [results(record) for record in self.finished.values()]
        means = {key: fmean(one[key] for one in each) for key in each[0]}
        row = {"seeds": count, "objective": means[f"best/validation/{self.told.objective}"], **means}
        if count >= self.trial.starting_step:
            self.trial.log(row, step=count)
        self.trial.summary.update(row)

    # --- a sweep ------------------------------------------------------------------------------------------------------

    @classmethod
    def sweep(cls, settings: Mapping[str, Any], sweep: SweepTold) -> str:
        """One run: the comparison table, the forest plot, the sweep's pictures. A row more where they have changed."""
        import wandb

        run = open_run(
            settings["mode"],
            sweep.folder,
            f"sweep-{sweep.identity}",
            False,
            project=settings["project"],
            entity=settings["entity"],
            name=f"sweep {sweep.name}",
            job_type="sweep",
            group="sweeps",
            notes=sweep.command,
            config={"sweep": sweep.name, "sweeps": [sweep.name], "command": sweep.command},
            tags=list(dict.fromkeys([sweep_tag(sweep.name), *settings["tags"]])),
        )
        shown = [repr(sweep.rows), *(path.read_bytes().hex() for path in sweep.pictures.values())]
        state = hashlib.sha256("\n".join(shown).encode()).hexdigest()[:16]
        if dict(run.summary).get("state") != state:
            row = {f"pictures/{name}": wandb.Image(str(path)) for name, path in sweep.pictures.items()}
            run.log({**row, "comparison": _as_table(sweep.columns, sweep.rows)})
            run.summary.update({"state": state, "verdicts": "\n".join(sweep.sentences)})
        url = f"`wandb sync {sweep.folder / 'wandb'}`" if run.offline else run.url
        run.finish()
        return url


def _config(told: Told) -> dict[str, Any]:
    return {**told.config, "signature": told.signature, "sweeps": list(told.sweeps), **told.trial}


def _table(predictions: Path) -> Any:
    with predictions.open(newline="", encoding="utf-8") as file:
        header, *rows = csv.reader(file)
    return _as_table(header, [[row[0], *map(float, row[1:])] for row in rows])


def _as_table(columns: Sequence[str], rows: Sequence[Sequence[Any]]) -> Any:
    import wandb

    return wandb.Table(columns=list(columns), data=[list(row) for row in rows], allow_mixed_types=True)


def _unsent(folder: Path) -> bool:
    logs = (folder / "wandb").glob("offline-run-*")
    return any(not any(one.glob("*.synced")) for one in logs)
