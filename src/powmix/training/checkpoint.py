"""A training's whole state on disk: enough to continue bit for bit on the CPU."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from powmix.runs.files import replacing
from powmix.runs.identity import SCHEMA

Weights = dict[str, Tensor]

DIGEST = hashlib.sha256().digest_size
"""Bytes of the SHA-256 at a checkpoint's end; torch.load itself checks nothing, not even the CRC it wrote."""
CHUNK = 2**22


class CorruptCheckpoint(Exception):
    """A checkpoint that cannot be read or does not fit this training."""


def save(path: Path, state: Mapping[str, Any]) -> None:
    """Writes tensors and plain values, then their SHA-256; a kill leaves the previous checkpoint or this one."""
    with replacing(path) as temporary:
        _write(temporary, {"schema": SCHEMA, **state})
        digest = _sha256(temporary, temporary.stat().st_size)
        with temporary.open("ab") as stream:
            stream.write(digest)


def load(path: Path) -> dict[str, Any] | None:
    """The state saved at `path`, or None if there is none. Only tensors and plain values are admitted.

    Raises CorruptCheckpoint for anything that `save` of this version did not write, to the last bit.
    """
    if not path.exists():
        return None
    size = path.stat().st_size - DIGEST
    with path.open("rb") as stream:
        stream.seek(max(size, 0))
        written = stream.read()
    if size <= 0 or _sha256(path, size) != written:
        raise CorruptCheckpoint(f"{path} cannot be read: its SHA-256 does not fit")
    try:
        state = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # a file of another version fails in many ways: zip, unpickler, storage
        raise CorruptCheckpoint(f"{path} cannot be read: {type(error).__name__}") from error
    if not isinstance(state, dict) or state.get("schema") != SCHEMA:
        raise CorruptCheckpoint(f"{path} was not written by this version")
    return state


def snapshot(module: torch.nn.Module) -> Weights:
    """A copy of all parameters and buffers, where they are."""
    return {name: value.detach().clone() for name, value in module.state_dict().items()}


def export(path: Path, weights: Weights, **notes: Any) -> None:
    """Weights as safetensors; notes as JSON in its metadata, under one key: several would come in random order."""
    from safetensors.torch import save

    with replacing(path) as temporary:  # by bytes, for its save_file tells a full disk as an error of its own
        content = {k: v.cpu().contiguous() for k, v in weights.items()}
        temporary.write_bytes(save(content, {"powmix": json.dumps(notes)}))


def notes_of(path: Path) -> dict[str, Any]:
    """The notes that `export` wrote, without the weights. ValueError where the file is no whole safetensors file."""
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, "pt") as file:
            return json.loads((file.metadata() or {}).get("powmix", "{}"))
    except (SafetensorError, ValueError) as error:
        raise ValueError(f"{path} cannot be read: {error}") from error


def fit(model: torch.nn.Module, path: Path) -> None:
    """Gives a model the weights that `export` wrote. ValueError where they cannot be read, or are another model's."""
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    try:
        weights = load_file(path)
    except SafetensorError as error:
        raise ValueError(f"{path} cannot be read: {error}") from error
    try:
        model.load_state_dict(weights)
    except RuntimeError as error:
        raise ValueError(f"{path} holds the weights of another model than config.yaml describes") from error


def _write(path: Path, state: Mapping[str, Any]) -> None:
    """torch.save; a full disk stays an OSError, and an interrupt one: torch raises a RuntimeError on top of either."""
    try:
        with path.open("wb") as stream:
            torch.save(state, stream)
    except RuntimeError as error:
        told: BaseException | None = error
        while told is not None and not isinstance(told, OSError | KeyboardInterrupt):
            told = told.__context__
        raise told or error from None


def _sha256(path: Path, size: int) -> bytes:
    """Of the first `size` bytes of a file."""
    found = hashlib.sha256()
    with path.open("rb") as stream:
        while size > 0 and (chunk := stream.read(min(CHUNK, size))):
            found.update(chunk)
            size -= len(chunk)
    return found.digest()
