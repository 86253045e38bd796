"""Anybody's nn.Module as a model of the laboratory: it encodes, a mixer may mix, it fuses.

Shape suffixes: B batch, R rows given to fusion, C outputs.
"""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import AbstractContextManager, nullcontext
from typing import Any

from torch import Tensor, nn

from powmix.data.splits import Batch
from powmix.models.base import Encoded, FusionModel, Inputs
from powmix.models.dropout import Noise


class PlainModel(FusionModel):
    """A module whose `encode(batch)` gives `{name: (B, ..., D)}` and whose `fuse(hidden)` gives (R, C).

    encode, fuse: the names of its methods or submodules that do so. What draws at random in them (nn.Dropout) draws
    from the seed's own generator, so that a training can be repeated and continued to the last bit; what it remembers
    beside its parameters must be buffers. Of its own it may have `parameter_groups(optimizer)`, as FusionModel's.
    """

    needs = ("*",)

    def __init__(self, module: nn.Module, inputs: Inputs, encode: str = "encode", fuse: str = "fuse"):
        super().__init__()
        owner = type(module).__name__
        if not isinstance(module, nn.Module):
            raise ValueError(f"model {owner}: expected a torch.nn.Module, got {owner}")
        if absent := [name for name in (encode, fuse) if not callable(getattr(module, name, None))]:
            raise ValueError(
                f"model {owner} has no {' and no '.join(absent)}: expected encode(batch) -> {{name: (B, ..., D)}} and "
                "fuse(hidden) -> (R, C), or register_model(..., encode=NAME, fuse=NAME)"
            )
        self.module, self.outputs, self.names = module, inputs.outputs, (encode, fuse)

    def encode(self, batch: Batch, noise: Noise | None = None) -> Encoded:
        with self._randomness(noise, batch.target):
            hidden = getattr(self.module, self.names[0])(batch)
        rows = len(batch.target)
        if not isinstance(hidden, Mapping) or not hidden:
            raise ValueError(f"{self._said(0)}: expected a dict of tensors, got {_shown(hidden)}")
        for name, value in hidden.items():
            if not isinstance(value, Tensor) or value.ndim < 2 or len(value) != rows:
                raise ValueError(f"{self._said(0)}: {name!r}: expected ({rows}, ..., D), got {_shown(value)}")
        return Encoded(dict(hidden))

    def fuse(self, hidden: Mapping[str, Tensor], noise: Noise | None = None) -> Tensor:
        first = next(iter(hidden.values()))
        with self._randomness(noise, first):
            prediction = getattr(self.module, self.names[1])(hidden)
        if not isinstance(prediction, Tensor) or prediction.shape != (len(first), self.outputs):
            expected = f"({len(first)}, {self.outputs})"
            raise ValueError(f"{self._said(1)}: expected a prediction {expected}, got {_shown(prediction)}")
        return prediction

    def parameter_groups(self, optimizer: Mapping[str, Any]) -> list[dict[str, Any]]:
        own = getattr(self.module, "parameter_groups", None)
        return own(optimizer) if own else super().parameter_groups(optimizer)

    def _randomness(self, noise: Noise | None, like: Tensor) -> AbstractContextManager:
        return nullcontext() if noise is None else noise.as_global(like.device)

    def _said(self, which: int) -> str:
        return f"model {type(self.module).__name__}.{self.names[which]}"


def _shown(value: Any) -> str:
    return str(tuple(value.shape)) if isinstance(value, Tensor) else type(value).__name__
