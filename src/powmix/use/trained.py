"""Trained models, ready to predict: one seed's, or all seeds of a run, whose predictions are averaged.

Shape suffixes: N examples, C outputs.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from powmix import models
from powmix.models import FusionModel
from powmix.training import resolve_device
from powmix.training.checkpoint import fit
from powmix.training.preparation import Preparation
from powmix.training.settings import precision
from powmix.training.solver import predict, reproducible
from powmix.use.incoming import SHAPES, Incoming, split_of
from powmix.use.origin import ENSEMBLE, Origin, Seed, load_plugins, origins, preparation_of

if TYPE_CHECKING:
    import numpy as np


class Predicts:
    """What one trained model and several have in common."""

    name: str
    preparation: Preparation
    whose: str
    """Its seed or seeds, in words."""

    @property
    def task(self) -> str:
        return self.preparation.task

    @property
    def classes(self) -> tuple[str, ...]:
        """Names of the C classes or labels; without names their numbers. Empty for regression."""
        return self.preparation.labels

    def __repr__(self) -> str:
        reads = [f"{name} {SHAPES[self.preparation.inputs.kind(name)].format(width)}"
                 for name, width in self.preparation.inputs.dims.items()]  # fmt: skip
        reads += ["tokens (N, 3, L)"] if self.preparation.inputs.vocabulary else []
        says = f"{self.task} of {', '.join(self.classes)}" if self.classes else self.task
        return f"<{self.name}, {self.whose}: {', '.join(reads)} -> {says}>"

    def predict(self, data: Incoming) -> np.ndarray:
        """Predictions of arrays by name, a Split or a Batch.

        Regression: (N,) float32, in the units of the target. Classification: probabilities (N, C), in the order of
        `classes`. Multilabel: the probability of each label (N, C). data: use/incoming.py; ValueError names what does
        not suit the model.
        """
        return in_units(self.task, self.outputs(data)).numpy()

    def outputs(self, data: Incoming) -> Tensor:
        """What the model itself says, (N, C) float32 on the CPU: for classes and labels logits."""
        raise NotImplementedError


@dataclass(frozen=True, repr=False)
class Trained(Predicts):
    """One seed's model. module: the network, in evaluation mode. name: dataset/model/mixer of its run."""

    name: str
    seed: int
    module: FusionModel
    preparation: Preparation
    device: torch.device
    batch_size: int
    amp: str = "off"

    @property
    def whose(self) -> str:
        return f"seed {self.seed}"

    def outputs(self, data: Incoming) -> Tensor:
        split = split_of(data, self.preparation).to(self.device)
        if split.tokens is not None:
            self._admit(split.tokens)
        with reproducible():
            return predict(self.module, split, self.batch_size, precision(self.device, self.amp))

    def _admit(self, tokens_N3L: Tensor) -> None:
        """Lets the text encoders read words that the training data lacked."""
        from powmix.models.bert import TextEncoder

        ids = tokens_N3L[:, 0].unique()
        for encoder in self.module.modules():
            if isinstance(encoder, TextEncoder):
                encoder.admit(ids)


@dataclass(frozen=True, repr=False)
class Ensemble(Predicts):
    """All seeds of a run: the mean of their predictions, of classes and labels the mean of their probabilities."""

    members: Sequence[Trained]

    @property
    def name(self) -> str:
        return self.members[0].name

    @property
    def whose(self) -> str:
        return f"mean of seeds {', '.join(str(member.seed) for member in self.members)}"

    @property
    def preparation(self) -> Preparation:
        return self.members[0].preparation

    def outputs(self, data: Incoming) -> Tensor:
        return averaged(self.task, [member.outputs(data) for member in self.members])


def load(
    folder: Path | str, seed: Seed = None, *, device: str = "auto", plugins: Iterable[str] = ()
) -> Trained | Ensemble:
    """A trained model, ready to predict, of a run's folder or of one that `powmix-export` wrote.

    seed: None is, of several, the one that is best on validation; `ensemble` averages all. device: auto, cpu, cuda or
    cuda:k. plugins: .py files and modules where the model's own code is, if it is not where the run had it. Nothing of
    the training data is needed; predictions of the run's own test split are those in its predictions.csv, to the last
    bit on the same machine with as many threads. ValueError for a folder, a seed or a plugin that is not there.
    """
    found = origins(folder, seed)
    load_plugins(found[0], plugins)
    made = [build(origin, preparation_of(origin), device) for origin in found]
    return Ensemble(made) if seed == ENSEMBLE else made[0]


def build(origin: Origin, prepared: Preparation, device: str = "auto") -> Trained:
    """The model of one seed with its weights, in evaluation mode."""
    module = network(origin, prepared)
    fit(module, origin.weights)
    place, trainer = resolve_device(device), origin.config["trainer"]
    module = module.to(place).eval().requires_grad_(False)
    amp = "bf16" if trainer.get("amp") == "bf16" else "off"
    return Trained(origin.name, origin.seed, module, prepared, place, trainer["batch_size"], amp)


def network(origin: Origin, prepared: Preparation) -> FusionModel:
    """The model that the weights are of, freshly initialised; torch's global generator is left as it was."""
    name, protocol = origin.config["model"]["name"], origin.config["protocol"]
    with torch.random.fork_rng([]):
        return models.build(name, origin.model_options, prepared.inputs, protocol)


def in_units(task: str, output_NC: Tensor) -> Tensor:
    """Outputs as predictions: numbers (N,) or (N, C), or probabilities (N, C)."""
    if task == "classification":
        return output_NC.softmax(-1)
    if task == "multilabel":
        return output_NC.sigmoid()
    return output_NC.squeeze(-1) if output_NC.shape[1] == 1 else output_NC


def averaged(task: str, outputs: Sequence[Tensor]) -> Tensor:
    """Outputs whose prediction is the mean of the members' predictions; computed in float64."""
    stacked = torch.stack(list(outputs)).double()
    if task == "classification":
        mean = stacked.log_softmax(-1).logsumexp(0) - math.log(len(outputs))
    elif task == "multilabel":
        mean = stacked.sigmoid().mean(0).logit(eps=torch.finfo(torch.float64).eps)
    else:
        mean = stacked.mean(0)
    return mean.float()
