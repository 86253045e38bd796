"""What the loop must know of the configuration, from plain sections, checked before anything heavy is imported."""

from __future__ import annotations

import difflib
import math
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from powmix.metrics.values import LABELS

TASKS = {"regression": ("mosi", "sims"), "classification": ("classification",)}
TRAINER = (
    "max_epochs",
    "early_stop",
    "batch_size",
    "accumulate",
    "clip_value",
    "monitor",
    "amp",
    "device",
    "bucket",
    "checkpoint",
    "stack",
)


@dataclass(frozen=True)
class Settings:
    """Hyper-parameters of one training; conf/trainer/default.yaml and conf/protocol say what each one does.

    stack: `auto`, `off`, or how many seeds `train_seeds` trains side by side. optimizer: the section a model's
    `parameter_groups` reads. loss: of a regression; classification is cross entropy. accumulation: `sum` or `mean` of
    the gradients of `accumulate` batches. objective: None, or a metric of the task.
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
    checkpoint: bool = True
    stack: int | str = "auto"
    plateau_patience: int | None = None
    factor: float = 0.1
    loss: str = "l1"
    task: str = "regression"
    accumulation: str = "sum"
    objective: str | None = None

    def __post_init__(self) -> None:
        if problems := list(self._problems()):
            raise ValueError("training settings: " + "; ".join(problems))

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
    ) -> Settings:
        """From the composed configuration's sections; an unknown key of trainer or schedule is refused."""
        chosen = {
            **_known("trainer", trainer, TRAINER),
            **_known("schedule", schedule or {}, ("plateau_patience", "factor")),
        }
        for name in ("amp", "stack"):
            if name in chosen and chosen[name] in (None, False):  # YAML 1.1 reads a bare `off` as false
                chosen[name] = "off"
        accumulation = (protocol or {}).get("accumulation", cls.accumulation)
        return cls(
            optimizer=dict(optimizer), loss=loss, task=task, accumulation=accumulation, objective=objective, **chosen
        )

    def metric_names(self, convention: str) -> list[str]:
        """The metrics a training on a dataset of this convention reports, Loss included."""
        return list(LABELS["classification" if self.task == "classification" else convention])

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

    def _problems(self) -> Iterator[str]:
        for names, fine, allowed in _RULES:
            for name in names:
                if not fine(getattr(self, name)):
                    yield f"{name} must be {allowed}, got {getattr(self, name)!r}"
        metrics = sorted({metric for convention in TASKS.get(self.task, ()) for metric in LABELS[convention]})
        for name, metric in (("monitor", self.monitor), ("objective", self.objective)):
            if metrics and metric is not None and metric not in metrics:
                yield f"{name} must be a metric of task={self.task} ({', '.join(metrics)}), got {metric!r}"


def _known(section: str, values: Mapping[str, Any], allowed: tuple[str, ...]) -> dict[str, Any]:
    for key in values:
        if key not in allowed:
            near = difflib.get_close_matches(key, allowed, 1)
            hint = f"; did you mean {near[0]}?" if near else ""
            raise ValueError(f"{section}.{key} is unknown; allowed: {', '.join(allowed)}{hint}")
    return dict(values)


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _is_count(value: Any, least: int = 1) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= least


def _one_of(*allowed: str) -> tuple[Callable[[Any], bool], str]:
    return lambda value: value in allowed, f"one of {', '.join(allowed)}"


_RULES: tuple[tuple[tuple[str, ...], Callable[[Any], bool], str], ...] = (
    (("max_epochs", "early_stop", "batch_size", "accumulate"), _is_count, "a whole number >= 1"),
    (("clip_value",), lambda v: v is None or (_is_number(v) and v > 0), "null or a number > 0"),
    (("plateau_patience",), lambda v: v is None or _is_count(v, 0), "null or a whole number >= 0"),
    (("factor",), lambda v: _is_number(v) and 0 < v < 1, "a number between 0 and 1"),
    (("bucket", "checkpoint"), lambda v: isinstance(v, bool), "true or false"),
    (("device",), lambda v: bool(re.fullmatch(r"auto|cpu|cuda(:\d+)?", str(v))), "auto, cpu, cuda or cuda:k"),
    (("amp",), *_one_of("off", "bf16")),
    (("stack",), lambda v: v in ("auto", "off") or _is_count(v), "auto, off or a whole number >= 1"),
    (("loss",), *_one_of("l1", "mse")),
    (("task",), *_one_of(*TASKS)),
    (("accumulation",), *_one_of("sum", "mean")),
)
