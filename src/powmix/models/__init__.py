"""The architectures, by name. Each is imported when it is built: only the BERT models need transformers."""

from __future__ import annotations

import difflib
import importlib
import inspect
from collections.abc import Mapping
from typing import Any

from powmix.data.splits import Splits
from powmix.models.base import Encoded, FusionModel, Inputs
from powmix.models.dropout import Noise

__all__ = ["NAMES", "Encoded", "FusionModel", "Inputs", "Noise", "build", "inputs_of", "model_class", "needs"]

_CLASSES = {
    "mult": "MulT",
    "lf_dnn": "LFDNN",
    "tfn": "TFN",
    "misa": "MISA",
    "self_mm": "SelfMM",
    "mag_bert": "MagBert",
}
NAMES = tuple(_CLASSES)


def build(name: str, options: Mapping[str, Any], inputs: Inputs, protocol: Mapping[str, Any]) -> FusionModel:
    """A freshly initialised model (the global generator decides its weights).

    options: the keys of conf/model/<name>.yaml except `name`; protocol: the switches of conf/protocol, of which a model
    takes those it declares. Errors: ValueError for an unknown name, option or a missing switch, with the nearest match.
    """
    cls = model_class(name)
    switches = _subset(f"protocol of model {name}", protocol, cls.switches)
    allowed = [key for key in inspect.signature(cls).parameters if key not in ("inputs", *cls.switches)]
    for option in options:
        if option not in allowed:
            raise ValueError(
                f"model {name}: unknown option {option!r}{_nearest(option, allowed)}; options: {', '.join(allowed)}"
            )
    return cls(inputs, **options, **switches)


def needs(name: str) -> tuple[str, ...]:
    """What the model reads of a batch: dense `text` and/or `tokens`, `audio`, `vision`."""
    return model_class(name).needs


def model_class(name: str) -> type[FusionModel]:
    """The class behind a name. Errors: ValueError with the nearest match."""
    if name not in _CLASSES:
        raise ValueError(f"model: unknown name {name!r}{_nearest(name, NAMES)}; models: {', '.join(NAMES)}")
    return getattr(importlib.import_module(f"powmix.models.{name}"), _CLASSES[name])


def inputs_of(splits: Splits) -> Inputs:
    """What a model must know of a dataset."""
    parts = (splits.train, splits.valid, splits.test)
    ids = sorted({i for split in parts if split.tokens is not None for i in split.tokens[:, 0].unique().tolist()})
    vocabulary = ids[-1] + 1 if ids else 0
    return Inputs(splits.dims, splits.steps, splits.outputs, splits.label_range, vocabulary, tuple(ids) or None)


def _subset(owner: str, values: Mapping[str, Any], keys: tuple[str, ...]) -> dict[str, Any]:
    for key in keys:
        if key not in values:
            raise ValueError(f"{owner}: switch {key!r} is missing{_nearest(key, list(values))}")
    return {key: values[key] for key in keys}


def _nearest(word: str, allowed: Any) -> str:
    match = difflib.get_close_matches(word, list(allowed), n=1, cutoff=0.5)
    return f", did you mean {match[0]!r}?" if match else ""
