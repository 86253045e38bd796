"""A training's whole state on disk: enough to continue bit for bit on the CPU."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from powmix.runs.files import SCHEMA, replacing

Weights = dict[str, Tensor]


class CorruptCheckpoint(Exception):
    """A checkpoint that cannot be read or does not fit this training."""


def save(path: Path, state: Mapping[str, Any]) -> None:
    """Writes tensors and plain values; a kill at any moment leaves the previous checkpoint or this one."""
    with replacing(path) as temporary:
        torch.save({"schema": SCHEMA, **state}, temporary)


def load(path: Path) -> dict[str, Any] | None:
    """The state saved at `path`, or None if there is none. Only tensors and plain values are admitted.

    Raises CorruptCheckpoint for anything that `save` of this version did not write.
    """
    if not path.exists():
        return None
    try:
        state = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # a damaged file fails in many ways: zip, unpickler, storage
        raise CorruptCheckpoint(f"{path} cannot be read: {type(error).__name__}") from error
    if not isinstance(state, dict) or state.get("schema") != SCHEMA:
        raise CorruptCheckpoint(f"{path} was not written by this version")
    return state


def snapshot(module: torch.nn.Module) -> Weights:
    """A copy of all parameters and buffers, where they are."""
    return {name: value.detach().clone() for name, value in module.state_dict().items()}


def export(path: Path, weights: Weights, **notes: Any) -> None:
    """Weights as safetensors, with notes as strings in its metadata."""
    from safetensors.torch import save_file

    with replacing(path) as temporary:
        save_file(
            {k: v.cpu().contiguous() for k, v in weights.items()}, temporary, {k: str(v) for k, v in notes.items()}
        )
