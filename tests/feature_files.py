"""Small M-SENA feature files for the tests: right in every key, to be spoiled one key at a time."""

import pickle
from pathlib import Path
from typing import Any

import numpy as np

SIZES = {"train": 12, "valid": 5, "test": 6}


def split(name: str, size: int, rng: np.random.Generator, *, text: bool = True, tokens: bool = True) -> dict[str, Any]:
    """One unaligned split: text 8 steps of 4, audio 10 of 3, vision 6 of 2, right-padded."""
    lengths = {"audio": rng.integers(2, 10, size), "vision": rng.integers(2, 6, size), "text": rng.integers(3, 8, size)}
    made: dict[str, Any] = {
        "raw_text": np.array([f"sentence {row}" for row in range(size)]),
        "id": [f"{name}_video{row % 3}$_${row}" for row in range(size)],
        "regression_labels": rng.uniform(-3, 3, size).astype(np.float32),
    }
    for key, steps, width in (("text", 8, 4), ("audio", 10, 3), ("vision", 6, 2)):
        value = rng.normal(size=(size, steps, width)).astype(np.float32)
        made[key] = value * (np.arange(steps) < lengths[key][:, None])[..., None]
    made["audio_lengths"], made["vision_lengths"] = lengths["audio"].tolist(), lengths["vision"]
    real = np.arange(8) < lengths["text"][:, None]
    ids = np.where(real, rng.integers(200, 1000, (size, 8)), 0)
    ids[:, 0] = 101
    ids[np.arange(size), lengths["text"] - 1] = 102
    made["text_bert"] = np.stack([ids, real, np.zeros_like(ids)], 1).astype(np.float32)
    return {key: value for key, value in made.items() if (key != "text" or text) and (key != "text_bert" or tokens)}


def content(seed: int = 0, **options: bool) -> dict[str, dict[str, Any]]:
    """A whole file's content; options as of `split`."""
    rng = np.random.default_rng(seed)
    return {name: split(name, size, rng, **options) for name, size in SIZES.items()}


def write(path: Path, value: Any, protocol: int = 4) -> Path:
    """Pickle `value` to `path`."""
    path.write_bytes(pickle.dumps(value, protocol=protocol))
    return path
