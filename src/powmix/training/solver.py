"""One seed's training: its state, and the steps that advance it. The loop itself, for one seed or several: loop.py."""

from __future__ import annotations

import json
import math
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from powmix.data.splits import Batch, Split, Splits
from powmix.mixing.mixed import Mixer
from powmix.models.base import Encoded, FusionModel
from powmix.models.dropout import Noise
from powmix.training import checkpoint, metrics
from powmix.training.batches import training_batches
from powmix.training.device import precision, resolve_device
from powmix.training.files import SCHEMA, read_json, write_history, write_json, write_predictions
from powmix.training.listener import Listener, TrainingFailed
from powmix.training.loop import run, train_epoch
from powmix.training.losses import row_loss
from powmix.training.optimisation import Optimisation
from powmix.training.seeds import Generators
from powmix.training.settings import Settings
from powmix.training.stack import Alone
from powmix.training.statistics import mean_of_epochs
from powmix.training.step import Step, fuse, predict
from powmix.training.stopping import EarlyStopping

Record = dict[str, Any]
BuildModel = Callable[[], FusionModel]


def train(
    build_model: BuildModel,
    splits: Splits,
    mixer: Mixer,
    settings: Settings,
    seed: int,
    folder: Path,
    listener: Listener | None = None,
) -> Record:
    """Trains one seed in `folder` and returns its record; what the folder already holds is not computed again.

    A finished folder's record is returned as it is, an interrupted training continues after its last epoch (bit for bit
    on the CPU). Leaves history.csv, weights.safetensors (the best epoch's), predictions.csv (test) and result.json.
    Raises TrainingFailed where the validation metric was never finite, and whatever a listener raises.
    """
    folder = Path(folder)
    if record := finished(folder, seed):
        return record
    return Solver(build_model, splits, mixer, settings, seed, folder, listener).run()


def finished(folder: Path, seed: int) -> Record | None:
    """The record of a seed that was trained to its end in `folder`, else None."""
    result = read_json(folder / "result.json")
    if result is None or result.pop("schema", None) != SCHEMA or result.pop("status", None) != "finished":
        return None
    return result if result.get("seed") == seed else None


class Solver:
    """The state of one seed's training and the steps that advance it."""

    def __init__(
        self,
        build_model: BuildModel,
        splits: Splits,
        mixer: Mixer,
        settings: Settings,
        seed: int,
        folder: Path,
        listener: Listener | None = None,
    ):
        self.build_model, self.mixer, self.settings, self.seed, self.folder = build_model, mixer, settings, seed, folder
        self.device = resolve_device(settings.device)
        self.precision = precision(self.device, settings.amp)
        self.splits = splits.to(self.device)
        self.row_loss = row_loss(settings.task, settings.loss)
        self.on_epoch = listener.on_epoch if listener else None
        self.on_batch = getattr(listener, "on_batch", None)
        if settings.monitor not in (allowed := settings.metric_names(splits.convention)):
            raise ValueError(f"trainer.monitor: {splits.name} has no {settings.monitor}; allowed: {', '.join(allowed)}")

    def run(self) -> Record:
        return run([self])[0]

    def restore(self) -> None:
        """Continues from the folder's checkpoint; where it is missing, or damaged (reported), begins anew."""
        (self.folder / "result.json").unlink(missing_ok=True)
        try:
            if state := checkpoint.load(self._checkpoint):
                self.begin()
                self._load(state)
                return
        except checkpoint.CorruptCheckpoint as error:
            warnings.warn(f"{error}: seed {self.seed} starts again from its first epoch", stacklevel=2)
        for name in ("checkpoint.pt", "history.csv", "weights.safetensors", "predictions.csv"):
            (self.folder / name).unlink(missing_ok=True)
        self.begin()

    def begin(self) -> None:
        """The state before the first epoch."""
        self.generators = Generators(self.seed, self.device)
        self.noise = Noise(self.generators.dropout)
        self.model = self.generators.initialised(self.build_model).to(self.device)
        self.model.prepare(self.splits.train.target)
        self.optimisation = Optimisation(self.model, self.settings)
        self.stopping = EarlyStopping(self.settings.monitor, self.settings.early_stop)
        self.best: checkpoint.Weights | None = None
        self.history: list[dict[str, Any]] = []
        self.seconds = 0.0

    @property
    def epoch(self) -> int:
        """How many epochs are done."""
        return len(self.history)

    def is_over(self) -> bool:
        return self.epoch >= self.settings.max_epochs or self.stopping.is_over(self.epoch)

    def train_epoch(self) -> dict[str, Any]:
        """One pass over the training split, then validation: the epoch's row of history.csv."""
        return train_epoch(Alone(self))[0]

    def batches(self) -> list[torch.Tensor]:
        """The epoch's batches; a mixer that pairs mini-batches gets them together, once it mixes at all."""
        mixes = self.mixer.p_mix > 0 and self.epoch >= self.mixer.start_epoch
        size = self.settings.batch_size * (self.mixer.batch_factor if mixes else 1)
        return training_batches(self.splits.train, size, self.generators.shuffle, self.settings.bucket)

    def step(self, batch: Batch, encoded: Encoded) -> Step:
        """Mixing, fusion and losses of an encoded mini-batch."""
        return fuse(
            self.model,
            self.mixer,
            batch,
            encoded,
            self.row_loss,
            self.noise,
            self.generators.mixing,
            self.epoch,
            self.precision,
        )

    def end_epoch(self, trained: dict[str, float | None], seconds: float) -> dict[str, Any]:
        """Validates after a pass that took `seconds`, and adjusts the learning rate: the epoch's row of history.csv."""
        start, rate = time.perf_counter(), self.optimisation.learning_rate
        validation, _ = self.evaluate(self.splits.valid)
        self.optimisation.schedule(validation["Loss"])
        seconds += time.perf_counter() - start
        row = {"epoch": self.epoch + 1, "seconds": seconds, "learning_rate": rate, "train_loss": trained.pop("loss")}
        return row | _prefixed("validation_", validation) | _prefixed("mixing_", trained)

    def evaluate(self, split: Split) -> tuple[dict[str, float], torch.Tensor]:
        """Metrics of a whole split, Loss being the exact mean over its examples, and the predictions (N, C) on the CPU.

        Every metric is NaN where a prediction is not finite.
        """
        self.model.eval()
        prediction_NC = predict(self.model, split, self.settings.batch_size, self.precision)
        target_NC = split.target.cpu()
        loss = self.row_loss(prediction_NC, target_NC).double().mean().item()
        names = self.settings.metric_names(self.splits.convention)
        if not prediction_NC.isfinite().all():
            return dict.fromkeys(names, math.nan), prediction_NC
        arrays = prediction_NC.numpy(), target_NC.numpy()
        if self.settings.task == "classification":
            return metrics.evaluate_classes(*arrays) | {"Loss": loss}, prediction_NC
        return metrics.evaluate(self.splits.convention, *arrays) | {"Loss": loss}, prediction_NC

    def commit(self, row: dict[str, Any]) -> None:
        """Makes an epoch part of the training: in memory, then on disk, then for who listens."""
        self.history.append(row)
        self.seconds += row["seconds"]
        if self.stopping.update(self.epoch, row[f"validation_{self.settings.monitor}"]):
            self.best = checkpoint.snapshot(self.model)
        if self.settings.checkpoint:
            checkpoint.save(self._checkpoint, self._state())
        write_history(self.folder / "history.csv", self.history)
        if self.on_epoch:
            self.on_epoch(self.seed, row)

    def finish(self) -> Record:
        """Restores the best weights, evaluates the test split, once, and writes the result, also that it failed."""
        try:
            record, prediction_NC = self._tested()
        except TrainingFailed as error:
            self._write_result("failed", self.record(), error=str(error))
            self._checkpoint.unlink(missing_ok=True)
            raise
        self._write_outcome(record, prediction_NC)
        return record

    def give_up(self) -> None:
        """Leaves a result that says pruned, beside the checkpoint."""
        self._write_result("pruned", self.record())

    def record(self, test: dict[str, float] | None = None) -> Record:
        """The seed's entry in the run's result; `test` is None until it is finished."""
        best = self.history[self.stopping.best_epoch - 1] if self.stopping.best_epoch else {}
        return {
            "seed": self.seed,
            "best_epoch": self.stopping.best_epoch,
            "epochs": self.epoch,
            "seconds": self.seconds,
            "validation": {k.removeprefix("validation_"): v for k, v in best.items() if k.startswith("validation_")},
            "test": test,
            "mixing": mean_of_epochs(self.history),
            "folder": self.folder.name,
        }

    def _tested(self) -> tuple[Record, torch.Tensor]:
        if self.best is None:
            raise TrainingFailed(
                f"seed {self.seed}: validation {self.settings.monitor} was not finite in any of {self.epoch} epochs; "
                f"the training diverged (learning rate {self.optimisation.learning_rate:g})"
            )
        start = time.perf_counter()
        self.model.load_state_dict(self.best)
        test, prediction_NC = self.evaluate(self.splits.test)
        if not prediction_NC.isfinite().all():
            raise TrainingFailed(
                f"seed {self.seed}: predictions on the test split are not finite (epoch {self.stopping.best_epoch})"
            )
        self.seconds += time.perf_counter() - start
        return self.record(test), prediction_NC

    @property
    def _checkpoint(self) -> Path:
        return self.folder / "checkpoint.pt"

    def _state(self) -> dict[str, Any]:
        return {
            "seed": self.seed,
            "seconds": self.seconds,
            "history": json.dumps(self.history),
            "stopping": self.stopping.state(),
            "best": self.best,
            "model": self.model.state_dict(),
            "optimisation": self.optimisation.state(),
            "generators": self.generators.state(),
        }

    def _load(self, state: dict[str, Any]) -> None:
        try:
            if state["seed"] != self.seed:
                raise ValueError("it belongs to another seed")
            self.model.load_state_dict(state["model"])
            self.optimisation.restore(state["optimisation"])
            self.generators.restore(state["generators"])
            self.stopping = EarlyStopping(**state["stopping"])
            self.best, self.history, self.seconds = state["best"], json.loads(state["history"]), state["seconds"]
        except (KeyError, TypeError, ValueError, RuntimeError) as error:
            raise checkpoint.CorruptCheckpoint(f"{self._checkpoint} does not fit this training: {error}") from error

    def _write_outcome(self, record: Record, prediction_NC: torch.Tensor) -> None:
        """The result comes last: whoever finds it finds everything."""
        assert self.best is not None
        test = self.splits.test
        checkpoint.export(
            self.folder / "weights.safetensors", self.best, seed=self.seed, epoch=self.stopping.best_epoch
        )
        write_predictions(self.folder / "predictions.csv", test.ids, test.target.cpu().numpy(), prediction_NC.numpy())
        write_history(self.folder / "history.csv", self.history)
        self._write_result("finished", record)
        self._checkpoint.unlink(missing_ok=True)

    def _write_result(self, status: str, record: Record, **more: str) -> None:
        write_json(self.folder / "result.json", {"schema": SCHEMA, "status": status, **record, **more})


def _prefixed(prefix: str, values: dict[str, Any]) -> dict[str, Any]:
    return {f"{prefix}{name}": value for name, value in values.items()}
