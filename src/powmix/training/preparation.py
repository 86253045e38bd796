"""What a trained model must be told of its data once the training data are gone; it is kept with the weights."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from powmix.data.registry import CONVENTIONS
from powmix.data.splits import Side, Splits, Task
from powmix.models.base import Inputs


@dataclass(frozen=True)
class Preparation:
    """How data are prepared for a model, and what it predicts.

    inputs: what the model was built for. scale: by modality the mean and the standard deviation of each feature, where
    features are scaled by them. sides: on which each sequence is padded. convention: which metrics
    (metrics/columns.py). classes: names of the classes or labels, if they have any. encoder: by which raw text is read,
    where it is.
    """

    inputs: Inputs
    scale: Mapping[str, tuple[list[float], list[float]]]
    sides: Mapping[str, Side]
    convention: str
    classes: tuple[str, ...] = ()
    encoder: str | None = None

    @classmethod
    def of(cls, inputs: Inputs, splits: Splits) -> Preparation:
        """The preparation of a dataset for a model that was built for `inputs`."""
        reads = None if splits.name in CONVENTIONS else splits.notes.get("tokenizer", splits.notes.get("text_encoder"))
        encoder = None if reads is None else str(reads)
        return cls(inputs, splits.scale, splits.train.side, splits.convention, splits.classes, encoder)

    @property
    def task(self) -> Task:
        """What is predicted."""
        return self.inputs.task

    @property
    def labels(self) -> tuple[str, ...]:
        """The names of the C classes or labels; their numbers where they have none; empty for regression."""
        return () if self.task == "regression" else self.classes or tuple(map(str, range(self.inputs.outputs)))

    def notes(self) -> dict[str, Any]:
        """As plain values that JSON keeps exactly; `from_notes` reads them."""
        return asdict(self)

    @classmethod
    def from_notes(cls, notes: Mapping[str, Any]) -> Preparation:
        """What `notes` gave, after a way through JSON."""
        inputs = dict(notes["inputs"])
        inputs["label_range"] = tuple(inputs["label_range"])
        inputs["token_ids"] = inputs["token_ids"] and tuple(inputs["token_ids"])
        scale = {name: tuple(pair) for name, pair in notes["scale"].items()}
        classes = tuple(notes["classes"])
        return cls(Inputs(**inputs), scale, notes["sides"], notes["convention"], classes, notes["encoder"])
