"""MLflow beside the local files: a run per seed, below one for its variant, and a run per sweep."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cached_property
from time import time
from typing import Any

from powmix.runs.files import SeedFolder
from powmix.tracking.tracker import SweepTold, Told, Tracker, results

ID, SWEEP, PARENT, NAME = "powmix.id", "powmix.sweep.", "mlflow.parentRunId", "mlflow.runName"
LONGEST = 500
"""Characters of a parameter that every MLflow store takes."""
ENDED = {"finished": "FINISHED", "pruned": "FINISHED", "interrupted": "KILLED"}


class MlflowTracker(Tracker):
    """A run per seed, found again by its tag `powmix.id`; the tags `powmix.sweep.NAME` say which sweeps it is of."""

    name = "mlflow"

    def __init__(self, settings: Mapping[str, Any], told: Told) -> None:
        super().__init__(settings, told)
        self.open: dict[int, str] = {}

    @cached_property
    def store(self) -> Store:
        return Store(self.settings)

    def start(self, seed: int, is_live: bool) -> int:
        told = self.told
        parent = self.store.run(told.signature, told.group, {})
        run = self.store.run(told.seed_id(seed), f"{told.name}-{seed}", {PARENT: parent})
        self.open[seed] = run
        for one in (parent, run):
            for name in told.sweeps:
                self.store.client.set_tag(one, f"{SWEEP}{name}", "true")
            self.store.client.set_tag(one, "mlflow.note.content", f"`{told.command}`")
        self.store.tell(run, {**told.flat_config(), "seed": seed})
        steps = [metric.step for metric in self.store.client.get_metric_history(run, "epoch")]
        return max(steps, default=0)

    def row(self, seed: int, epoch: int, values: Mapping[str, float]) -> None:
        self.store.log(self.open[seed], values, epoch)

    def result(self, seed: int, record: Mapping[str, Any]) -> None:
        run, place = self.open.pop(seed), SeedFolder(self.told.folder / record["folder"])
        client, found = self.store.client, results(record)
        known = client.get_run(run).data.metrics
        self.store.log(run, {k: v for k, v in found.items() if known.get(k) != v}, record["epochs"])
        kept = {file.path for file in client.list_artifacts(run)}
        for path in (place.predictions, *([place.weights] if self.settings["weights"] else [])):
            if path.is_file() and path.name not in kept:
                client.log_artifact(run, str(path))
        client.set_terminated(run, "FINISHED")

    def stop(self, seed: int, status: str) -> None:
        self.store.client.set_terminated(self.open.pop(seed), ENDED.get(status, "FAILED"))

    def end(self, status: str) -> None:
        run = self.store.run(self.told.signature, self.told.group, {})
        self.store.client.set_terminated(run, ENDED.get(status, "FAILED"))

    @classmethod
    def sweep(cls, settings: Mapping[str, Any], sweep: SweepTold) -> str:
        store = Store(settings)
        run = store.run(f"sweep-{sweep.identity}", f"sweep {sweep.name}", {f"{SWEEP}{sweep.name}": "true"})
        store.client.log_text(run, sweep.markdown(), "comparison.md")
        store.client.log_text(run, "\n".join(sweep.sentences), "verdicts.txt")
        for path in sweep.pictures.values():
            store.client.log_artifact(run, str(path), "pictures")
        store.client.set_terminated(run, "FINISHED")
        return f"mlflow ui --backend-store-uri {settings['uri']}"


class Store:
    """The experiment in MLflow's store, whose runs are known by their tag `powmix.id`."""

    def __init__(self, settings: Mapping[str, Any]) -> None:
        from mlflow import MlflowClient

        self.client, name = MlflowClient(tracking_uri=settings["uri"]), settings["experiment"]
        known = self.client.get_experiment_by_name(name)
        self.experiment = known.experiment_id if known else self.client.create_experiment(name)

    def run(self, identity: str, name: str, tags: Mapping[str, str]) -> str:
        """The key of the run of that id, made where there is none; it counts as running."""
        [*found] = self.client.search_runs([self.experiment], f"tags.`{ID}` = '{identity}'", max_results=1)
        if not found:
            made = self.client.create_run(self.experiment, tags={ID: identity, NAME: name, **tags})
            return made.info.run_id
        self.client.update_run(found[0].info.run_id, status="RUNNING")
        return found[0].info.run_id

    def tell(self, run: str, options: Mapping[str, Any]) -> None:
        """Parameters that it does not have yet; MLflow changes none."""
        from mlflow.entities import Param

        known = self.client.get_run(run).data.params
        new = [Param(key, str(value)[:LONGEST]) for key, value in options.items() if key not in known and value != ""]
        self.client.log_batch(run, params=new)

    def log(self, run: str, values: Mapping[str, float], step: int) -> None:
        from mlflow.entities import Metric

        now = int(1000 * time())
        self.client.log_batch(run, [Metric(name, float(value), now, step) for name, value in values.items()])
