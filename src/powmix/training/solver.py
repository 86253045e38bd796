"""One seed's training: the loop, from the first batch to the test metrics, and all seeds of a variant.

Shape suffixes: B batch, R rows given to fusion (clean or mixed), N examples of a split, C outputs.
"""

from __future__ import annotations

import copy
import json
import math
import time
import warnings
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from powmix.data.splits import Batch, Split, Splits
from powmix.metrics import columns
from powmix.metrics.losses import LOSSES
from powmix.mixing import Mixed, Mixer
from powmix.models import Encoded, FusionModel, Noise, inputs_of
from powmix.runs.files import SeedFolder, write_history, write_predictions
from powmix.runs.seed_records import finished_seed, write_seed
from powmix.training import checkpoint
from powmix.training.batches import evaluation_batches, training_batches
from powmix.training.interruption import sigterm_as_interrupt
from powmix.training.listener import Listener, Pruned, TrainingFailed
from powmix.training.mixing_statistics import MixingStatistics, mean_of_epochs
from powmix.training.optimisation import EarlyStopping, Optimisation
from powmix.training.preparation import Preparation
from powmix.training.seeds import Generators
from powmix.training.settings import CHECKPOINT_SHARE, Settings, precision, resolve_device

Record = dict[str, Any]
BuildModel = Callable[[], FusionModel]


def train_seeds(
    build_model: BuildModel,
    splits: Splits | Callable[[int], Splits],
    mixer: Mixer,
    settings: Settings,
    seeds: Sequence[int],
    folder_of: Callable[[int], Path],
    listener: Listener | None = None,
) -> list[Record]:
    """Trains every seed that its folder does not hold finished; the records of `seeds`, in their order.

    splits: of all seeds, or what gives each seed its own. A seed that diverges does not keep the others from training:
    TrainingFailed names all that did, at the end.
    """
    records = {seed: record for seed in seeds if (record := finished_seed(folder_of(seed), seed))}
    for seed, record in records.items():
        if listener:
            listener.on_seed_end(seed, record)
    failures = []
    for seed in seeds:
        if seed in records:
            continue
        if listener:
            listener.on_seed_start(seed, settings.max_epochs)
        try:
            own = splits(seed) if callable(splits) else splits
            records[seed] = train(build_model, own, mixer, settings, seed, folder_of(seed), listener)
        except TrainingFailed as error:
            failures.append(str(error))
            continue
        if listener:
            listener.on_seed_end(seed, records[seed])
    if failures:
        raise TrainingFailed("; ".join(failures))
    return [records[seed] for seed in seeds]


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
    return finished_seed(folder, seed) or Solver(build_model, splits, mixer, settings, seed, folder, listener).run()


class Solver:
    """The state of one seed's training and the loop that advances it."""

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
        self.build_model, self.mixer, self.settings, self.seed = build_model, mixer, settings, seed
        self.folder = SeedFolder(folder)
        self.device = resolve_device(settings.device)
        self.precision = precision(self.device, settings.amp)
        self.splits = splits.to(self.device)
        self.task_loss = LOSSES[settings.task_loss]
        self.listener = listener
        if settings.monitor not in (allowed := columns.keys(splits.convention)):
            raise ValueError(f"trainer.monitor: {splits.name} has no {settings.monitor}; allowed: {', '.join(allowed)}")

    # --- the loop -----------------------------------------------------------------------------------------------------

    def run(self) -> Record:
        """Restores what is on disk; trains and validates epoch by epoch; tests the best weights once."""
        with sigterm_as_interrupt(), reproducible():
            self.restore()
            try:
                while not self.is_over():
                    self.commit(self.train_epoch())
            except Pruned:
                self._write_result("pruned", self.record())
                raise
            return self.finish()

    def train_epoch(self) -> dict[str, Any]:
        """One pass over the training split, then validation: the epoch's row of history.csv."""
        start, rate = time.perf_counter(), self.optimisation.learning_rate
        loss, mixing = self.train_pass()
        validation, _ = self.evaluate(self.splits.valid)
        self.optimisation.schedule(validation["Loss"])
        seconds = time.perf_counter() - start
        row = {"epoch": self.epoch + 1, "seconds": seconds, "learning_rate": rate, "train_loss": loss}
        return row | _prefixed("validation_", validation) | _prefixed("mixing_", mixing)

    def train_pass(self) -> tuple[float, dict[str, float | None]]:
        """Trains on every batch once: the mean of the optimised losses, and the epoch's mixing statistics."""
        self.model.train()
        losses, statistics = [], MixingStatistics()
        for index_B in self.batches():
            batch = self.splits.train.batch(index_B)
            encoded = self.encode(batch)
            mixed = self.mixer(encoded.hidden, batch.target, generator=self.generators.mixing, epoch=self.epoch)
            loss = self.loss(batch, encoded, mixed)
            self.optimisation.backward(loss)
            self.model.observe(encoded, batch, self.epoch + 1, self.noise)
            self.optimisation.step_if_due()
            statistics.add(mixed)
            losses.append(loss.detach())  # read at the end of the epoch: a step does not wait for the device
        self.optimisation.end_epoch()
        return torch.stack(losses).double().mean().item(), statistics.row()

    def batches(self) -> list[Tensor]:
        """The epoch's batches, as indices (B,); a mixer that pairs mini-batches gets two in one while it mixes."""
        mixes = self.mixer.probability(self.epoch) > 0
        size = self.settings.batch_size * (self.mixer.batch_factor if mixes else 1)
        return training_batches(self.splits.train, size, self.generators.shuffle, self.settings.bucket)

    def encode(self, batch: Batch) -> Encoded:
        """What the encoders give, in float32 whatever their precision: mixing and losses are computed in it."""
        with self.precision():
            encoded = self.model.encode(batch, self.noise)
        return Encoded(_in_float32(encoded.hidden), _in_float32(encoded.clean))

    def loss(self, batch: Batch, encoded: Encoded, mixed: Mixed) -> Tensor:
        """What is minimised: the task loss of the rows that the mixer gives, plus the model's auxiliary losses."""
        with self.precision():
            prediction_RC = self.model.fuse(mixed.hidden, self.noise)
            auxiliary = self.model.auxiliary_losses(encoded, mixed, batch, self.noise)
        criterion = self.task_loss.smoothed(self.settings.label_smoothing)
        task = criterion(prediction_RC.float(), mixed.target, mixed.row_weight)
        return task + sum(value.float() for value in auxiliary.values())

    # --- evaluation ---------------------------------------------------------------------------------------------------

    def predict(self, split: Split) -> Tensor:
        """Predictions (N, C) float32 on the CPU, in the split's order, without dropout or mixing."""
        return predict(self.model, split, self.settings.batch_size, self.precision)

    def score(self, split: Split, prediction_NC: Tensor) -> dict[str, float]:
        """Metrics of predictions of a whole split, Loss being the exact mean over its examples, targets as they are.

        Every metric is NaN where a prediction is not finite.
        """
        convention = self.splits.convention
        if not prediction_NC.isfinite().all():
            return dict.fromkeys(columns.keys(convention), math.nan)
        target_NC = split.target.cpu()
        loss = self.task_loss.over(prediction_NC, target_NC)
        return columns.evaluate(convention, prediction_NC.numpy(), target_NC.numpy()) | {"Loss": loss}

    def evaluate(self, split: Split) -> tuple[dict[str, float], Tensor]:
        """Metrics of a whole split and the predictions (N, C) that they are of."""
        prediction_NC = self.predict(split)
        return self.score(split, prediction_NC), prediction_NC

    # --- beginning, continuing, ending --------------------------------------------------------------------------------

    def begin(self) -> None:
        """The state before the first epoch."""
        self.generators = Generators(self.seed, self.device, self.settings.vary)
        self.noise = Noise(self.generators.dropout)
        self.model = self.generators.initialised(self.build_model).to(self.device)
        if self.splits.task not in self.model.tasks:
            able = ", ".join(self.model.tasks)
            raise ValueError(
                f"{type(self.model).__name__} cannot be trained with task={self.splits.task}, only with {able}"
            )
        self.model.prepare(self.splits.train.target)
        self.optimisation = Optimisation(self.model, self.settings)
        self.mixer = copy.copy(self.mixer)  # a seed's own: it remembers nothing of the others
        self.mixer.memory, self.mixer.epochs = {}, self.settings.max_epochs
        self.stopping = EarlyStopping(self.settings.monitor, self.settings.early_stop)
        self.best: checkpoint.Weights | None = None
        self.history: list[dict[str, Any]] = []
        self.seconds = 0.0
        self.saved: float | None = None  # when the last checkpoint was written
        self.saving = 0.0  # how long that took, in seconds

    def restore(self) -> None:
        """Continues from the folder's checkpoint; where it is missing, or damaged (reported), begins anew."""
        self.folder.result.unlink(missing_ok=True)
        self.begin()
        try:
            if state := checkpoint.load(self.folder.checkpoint):
                self._load(state)
                if self.listener:
                    self.listener.on_seed_continued(self.seed, self.history)
                return
        except checkpoint.CorruptCheckpoint as error:
            warnings.warn(f"{error}: seed {self.seed} starts again from its first epoch", stacklevel=2)
            self.begin()
        self.folder.clear()

    @property
    def epoch(self) -> int:
        """How many epochs are done."""
        return len(self.history)

    def is_over(self) -> bool:
        return self.epoch >= self.settings.max_epochs or self.stopping.is_over(self.epoch)

    def commit(self, row: dict[str, Any]) -> None:
        """Makes an epoch part of the training: in memory, then on disk, then for who listens."""
        self.history.append(row)
        self.seconds += row["seconds"]
        if self.stopping.update(self.epoch, row[f"validation_{self.settings.monitor}"]):
            self.best = checkpoint.snapshot(self.model)
        if self.is_time_to_save():
            start = time.perf_counter()
            if self.settings.checkpoint:
                checkpoint.save(self.folder.checkpoint, self._state())
            write_history(self.folder.history, self.history)
            self.saved, self.saving = time.perf_counter(), time.perf_counter() - start
        if self.listener:
            self.listener.on_epoch(self.seed, row)

    def is_time_to_save(self) -> bool:
        """After the first epoch, then as the settings say; an interrupted training repeats the epochs since."""
        if self.settings.checkpoint != "auto" or self.saved is None:
            return True
        return (time.perf_counter() - self.saved) * CHECKPOINT_SHARE >= self.saving

    def finish(self) -> Record:
        """Restores the best weights, evaluates the test split, once, and writes the result, also that it failed."""
        try:
            record, prediction_NC = self._tested()
        except TrainingFailed as error:
            self._write_result("failed", self.record(), error=str(error))
            self.folder.checkpoint.unlink(missing_ok=True)
            raise
        assert self.best is not None
        test = self.splits.test
        prepared = Preparation.of(self.model.inputs or inputs_of(self.splits), self.splits)
        checkpoint.export(
            self.folder.weights, self.best, seed=self.seed, epoch=self.stopping.best_epoch, data=prepared.notes()
        )
        write_predictions(
            self.folder.predictions, test.ids, test.target.cpu().numpy(), prediction_NC.numpy(), self.splits.task
        )
        write_history(self.folder.history, self.history)
        self._write_result("finished", record)  # last: whoever finds it finds everything
        self.folder.checkpoint.unlink(missing_ok=True)
        return record

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
            "folder": self.folder.path.name,
        }

    def _tested(self) -> tuple[Record, Tensor]:
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

    def _write_result(self, status: str, record: Record, **more: str) -> None:
        write_seed(self.folder, status, record, **more)

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
            "mixer": self.mixer.memory,
        }

    def _load(self, state: dict[str, Any]) -> None:
        try:
            if state["seed"] != self.seed:
                raise ValueError("it belongs to another seed")
            self.model.load_state_dict(state["model"])
            self.optimisation.restore(state["optimisation"])
            self.generators.restore(state["generators"])
            self.mixer.memory = dict(state["mixer"])
            self.stopping = EarlyStopping(**state["stopping"])
            self.best, self.history, self.seconds = state["best"], json.loads(state["history"]), state["seconds"]
        except (KeyError, TypeError, ValueError, RuntimeError, AttributeError) as error:
            raise checkpoint.CorruptCheckpoint(
                f"{self.folder.checkpoint} does not fit this training: {error}"
            ) from error


@torch.no_grad()
def predict(
    model: FusionModel, split: Split, batch_size: int, precision: Callable[[], AbstractContextManager]
) -> Tensor:
    """What a model says of a whole split, (N, C) float32 on the CPU, in the split's order: no dropout, no mixing.

    batch_size: of its training; another one may round otherwise.
    """
    model.eval()
    with precision():
        parts = [model(split.batch(index)).float() for index in evaluation_batches(split, batch_size)]
    return torch.cat(parts).cpu()


def reproducible() -> Any:
    """A context in which cuDNN chooses and computes its kernels the same way every time."""
    return torch.backends.cudnn.flags(benchmark=False, deterministic=True)


def _in_float32(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    return {name: x.float() if x.dtype == torch.bfloat16 else x for name, x in tensors.items()}


def _prefixed(prefix: str, values: dict[str, Any]) -> dict[str, Any]:
    return {f"{prefix}{name}": value for name, value in values.items()}
