"""What the loop must know of the configuration, from plain sections, checked before anything heavy is imported."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, Any

from powmix.metrics.columns import TASKS, keys
from powmix.metrics.losses import name_of
from powmix.mistakes import (
    NOT_NEGATIVE,
    POSITIVE,
    RATE,
    SWITCH,
    TEXT,
    Rule,
    broken,
    choice,
    count,
    is_list,
    is_number,
    optional,
    refuse,
)
from powmix.mistakes import unknown as unknown_names

if TYPE_CHECKING:
    import torch

STREAMS = ("init", "shuffle", "dropout", "mixing")
"""What is random in a training, each with a generator of its own; `split` is the data's."""

VARY = Rule(
    lambda value: (
        value is None or (is_list(value) and len(value) > 0 and all(one in ("split", *STREAMS) for one in value))
    ),
    f"null, or a list of split, {', '.join(STREAMS)}",
)

RULES: dict[str, dict[str, Rule]] = {
    "trainer": {
        "max_epochs": count(1),
        "early_stop": count(1),
        "batch_size": count(1),
        "accumulate": count(1),
        "clip_value": optional(POSITIVE),
        "monitor": Rule(lambda value: isinstance(value, str), "the name of a metric"),
        "amp": choice("off", "bf16"),
        "device": Rule(lambda v: bool(re.fullmatch(r"auto|cpu|cuda(:\d+)?", str(v))), "auto, cpu, cuda or cuda:k"),
        "bucket": SWITCH,
        "checkpoint": Rule(lambda value: value in (True, False, "auto"), "auto, true or false"),
    },
    "schedule": {
        "plateau_patience": optional(count(0)),
        "factor": Rule(lambda value: is_number(value) and 0 < value < 1, "a number between 0 and 1"),
    },
    "": {
        "loss": TEXT,
        "task": choice(*TASKS),
        "accumulation": choice("sum", "mean"),
        "label_smoothing": RATE,
        "vary": VARY,
    },
}
"""What the options of the sections trainer and schedule may be, and the options that stand by themselves."""

CHECKPOINT_SHARE = 0.05
"""Of the time: an epoch of a small model can take less than to write its state and wait for the disk."""

OPTIMIZER = re.compile(r"(learning_rate|weight_decay)(_\w+)?")
"""The keys of the section optimizer: for all parameters, or for a model's groups (`learning_rate_bert`)."""


@dataclass(frozen=True)
class Settings:
    """Hyper-parameters of one training; conf/trainer/default.yaml and conf/protocol say what each one does.

    optimizer: the section a model's `parameter_groups` reads. loss: `auto` is the task's own: mse for regression, cross
    entropy for classification, bce for multilabel, and so are, for the latter two, the `l1` and `mse` of a corpus'
    recipe (metrics/losses.py). label_smoothing: of the cross entropy, in training alone.
    checkpoint: after every epoch, never, or `auto`: as often as takes at most CHECKPOINT_SHARE of the time.
    accumulation: `sum` or `mean` of the gradients of `accumulate` batches. objective: None, or a metric of the task.
    vary: which streams of random numbers follow the seed, None for all; the others are the same for all seeds.
    ValueError names every option that is wrong.
    """

    optimizer: Mapping[str, Any] = field(default_factory=lambda: {"learning_rate": 1e-3, "weight_decay": 0.0})
    max_epochs: int = 100
    early_stop: int = 8
    batch_size: int = 32
    accumulate: int = 1
    clip_value: float | None = None
    monitor: str = "Loss"
    amp: str = "off"
    device: str = "auto"
    bucket: bool = False
    checkpoint: bool | str = True
    plateau_patience: int | None = None
    factor: float = 0.1
    loss: str = "l1"
    task: str = "regression"
    accumulation: str = "sum"
    objective: str | None = None
    vary: Sequence[str] | None = None
    label_smoothing: float = 0.0

    def __post_init__(self) -> None:
        refuse(list(self._mistakes()), "training settings")

    @classmethod
    def from_config(
        cls,
        *,
        trainer: Mapping[str, Any],
        optimizer: Mapping[str, Any],
        schedule: Mapping[str, Any] | None = None,
        loss: str = "l1",
        task: str = "regression",
        protocol: Mapping[str, Any] | None = None,
        objective: str | None = None,
        vary: Sequence[str] | None = None,
        label_smoothing: float = 0.0,
    ) -> Settings:
        """From the composed configuration's sections; an unknown key of trainer or schedule is refused."""
        schedule = schedule or {}
        refuse(
            [
                *unknown_names(trainer, RULES["trainer"], "option of trainer"),
                *unknown_names(schedule, RULES["schedule"], "option of schedule"),
            ],
            "training settings",
        )
        chosen = {**trainer, **schedule}
        if chosen.get("amp", "off") in (None, False):  # YAML 1.1 reads a bare `off` as false
            chosen["amp"] = "off"
        accumulation = (protocol or {}).get("accumulation", cls.accumulation)
        return cls(
            optimizer=dict(optimizer),
            loss=loss,
            task=task,
            accumulation=accumulation,
            objective=objective,
            vary=vary,
            label_smoothing=label_smoothing,
            **chosen,
        )

    @property
    def task_loss(self) -> str:
        """The name of the loss that is trained with: `loss`, or the task's own."""
        return name_of(self.task, self.loss)

    def steps_per_epoch(self, examples: int) -> int:
        """Optimiser steps of a pass over `examples`; under `sum` an incomplete group of batches makes none.

        Raises ValueError where that leaves no step at all.
        """
        batches = math.ceil(examples / self.batch_size)
        steps = batches / self.accumulate
        if self.accumulation == "sum" and steps < 1:
            raise ValueError(
                f"trainer.accumulate={self.accumulate} batches of {self.batch_size} make one optimiser step, and the "
                f"training split has only {batches} batches ({examples} examples): lower accumulate or batch_size, or "
                "take protocol=sound, which steps incomplete groups"
            )
        return math.floor(steps) if self.accumulation == "sum" else math.ceil(steps)

    def _mistakes(self) -> Iterator[str]:
        for section, rules in RULES.items():
            prefix = f"{section}." if section else ""
            yield from broken(rules, {name: getattr(self, name) for name in rules}, prefix)
        for name, value in self.optimizer.items():
            if not OPTIMIZER.fullmatch(name):
                yield f"unknown option of optimizer {name!r}; allowed: learning_rate, weight_decay, also with _GROUP"
            else:
                rule = POSITIVE if name.startswith("learning_rate") else NOT_NEGATIVE
                yield from broken({name: rule}, {name: value}, "optimizer.")
        if self.task in TASKS and isinstance(self.loss, str):
            yield from self._mistakes_of_loss()
        metrics = sorted({metric for convention in TASKS.get(self.task, ()) for metric in keys(convention)})
        for name, metric in (("trainer.monitor", self.monitor), ("objective", self.objective)):
            if metrics and metric is not None and metric not in metrics:
                yield f"{name} must be a metric of task={self.task} ({', '.join(metrics)}), got {metric!r}"

    def _mistakes_of_loss(self) -> Iterator[str]:
        try:
            chosen = self.task_loss
        except ValueError as error:
            yield str(error)
        else:
            if self.label_smoothing and chosen != "cross_entropy":
                yield f"label_smoothing must be 0 with task={self.task} loss={chosen}: it is cross_entropy's"


def resolve_device(name: str) -> torch.device:
    """`auto` (a GPU where there is one), `cpu`, `cuda` or `cuda:k`; a GPU that is not there is a ValueError."""
    import torch

    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    device = torch.device(name)
    if device.type == "cuda" and (device.index or 0) >= torch.cuda.device_count():
        raise ValueError(
            f"trainer.device={name}: this machine has {torch.cuda.device_count()} CUDA devices; use auto or cpu"
        )
    return device


def precision(device: torch.device, amp: str) -> Callable[[], AbstractContextManager]:
    """Makes the context that encoders and fusion run in: bfloat16 autocast for `bf16`, nothing for `off`."""
    import torch

    return partial(torch.autocast, device.type, torch.bfloat16) if amp == "bf16" else nullcontext
