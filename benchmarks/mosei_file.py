"""An M-SENA feature file of MOSEI's sizes, of random numbers: written block by block, never whole in memory.

Shape suffixes: N examples, L time steps, D features.
"""

from __future__ import annotations

import io
import pickle
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import torch

from benchmarks.corpus import random_tokens

SIZES = {"train": 16326, "valid": 1871, "test": 4659}
SHAPES = {"text": (50, 768), "audio": (500, 74), "vision": (500, 35)}
BLOCK = 256
"""Examples that are made at a time."""
BYTES8 = b"\x8e"
"""The opcode of long bytes; their length follows in eight bytes, then they."""


@dataclass(frozen=True)
class Features:
    """Normal numbers (N, L, D) float32, zero behind each example's length."""

    length_N: np.ndarray
    shape_LD: tuple[int, int]
    rng: np.random.Generator

    @property
    def shape(self) -> tuple[int, int, int]:
        return (len(self.length_N), *self.shape_LD)

    def blocks(self) -> Iterator[np.ndarray]:
        for start in range(0, len(self.length_N), BLOCK):
            length_N = self.length_N[start : start + BLOCK]
            x_NLD = self.rng.standard_normal((len(length_N), *self.shape_LD), np.float32)
            x_NLD[np.arange(self.shape_LD[0]) >= length_N[:, None]] = 0
            yield x_NLD


class AsArray:
    """Pickles as an array of the shape, its data given."""

    def __init__(self, shape: tuple[int, ...], data: bytes):
        reconstruct = np.empty(0).__reduce__()[0]
        self.reduced = (reconstruct, (np.ndarray, (0,), b"b"), (1, shape, np.dtype(np.float32), False, data))

    def __reduce__(self) -> tuple[Any, ...]:
        return self.reduced


def write_mosei(path: Path, share: float = 1.0, seed: int = 0) -> dict[str, int]:
    """Writes the file, or a share of its clips; 8.5 GB if whole, 300 MB in memory. Returns the clips by split."""
    sizes = {name: max(2, round(size * share)) for name, size in SIZES.items()}
    with path.open("wb") as stream:
        stream.write(b"\x80\x04}(")  # protocol 4, a dict, its items
        for number, (name, size) in enumerate(sizes.items()):
            stream.write(opcodes(name) + b"}(")
            for key, value in split(name, size, seed + number).items():
                stream.write(opcodes(key))
                if isinstance(value, Features):
                    write_array(stream, value)
                else:
                    stream.write(opcodes(value))
            stream.write(b"u")
        stream.write(b"u.")
    return sizes


def split(name: str, size: int, seed: int) -> dict[str, Any]:
    """One unaligned split, by M-SENA's keys."""
    rng, generator = np.random.default_rng(seed), torch.Generator().manual_seed(seed)
    tokens_N3L = random_tokens(size, SHAPES["text"][0], generator).numpy()
    length_N = tokens_N3L[:, 1].sum(-1)
    lengths = {key: length_N * steps // SHAPES["text"][0] for key, (steps, _) in SHAPES.items()}
    return {
        "raw_text": [" ".join(["word"] * length) for length in length_N],
        "id": [f"{name}$_${row}" for row in range(size)],
        "text_bert": tokens_N3L.astype(np.float32),
        **{key: Features(lengths[key], shape_LD, rng) for key, shape_LD in SHAPES.items()},
        "audio_lengths": lengths["audio"].tolist(),
        "vision_lengths": lengths["vision"].tolist(),
        "regression_labels": rng.uniform(-3, 3, size).astype(np.float32),
    }


def write_array(stream: BinaryIO, features: Features) -> None:
    """The opcodes of an array around its blocks, as `pickle.dump` writes them around its bytes."""
    place = b"the data's own place"
    before, after = opcodes(AsArray(features.shape, place)).split(opcodes(place))
    stream.write(before + BYTES8 + struct.pack("<Q", int(np.prod(features.shape)) * 4))
    for x_NLD in features.blocks():
        stream.write(x_NLD.data)
    stream.write(after)


def opcodes(value: Any) -> bytes:
    """What a pickle says of a value, without head, end and memo: such pieces can stand one after another."""
    stream = io.BytesIO()
    pickler = pickle.Pickler(stream, protocol=3)  # without frames
    pickler.fast = True  # without memo
    pickler.dump(value)
    return stream.getvalue()[2:-1]
