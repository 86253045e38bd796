"""Random features of MOSI's real sizes, and MOSI's real tokens where they are at hand.

Shape suffixes: N examples, L time steps, D features.
"""

from __future__ import annotations

import os
from functools import lru_cache
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from powmix.data import unpickler
from powmix.data.splits import CLS, MODALITIES, SEP, SPLITS, Split, Splits

TRAINING = 1284
DIMS = {"text": 768, "audio": 5, "vision": 20}
STEPS = {
    "aligned": {"text": 50, "audio": 50, "vision": 50},
    "unaligned": {"text": 50, "audio": 375, "vision": 500},
}
VOCABULARY, FIRST_WORD = 30522, 1996
MEAN_TOKENS = 14.8


def mosi_sized(setting: str, rows: int | None = None, seed: int = 0) -> Splits:
    """Training data cut to `rows` (a slice of an epoch); validation and test, which no epoch reads, are tiny."""
    generator = torch.Generator().manual_seed(seed)
    sizes = dict(zip(SPLITS, (rows or TRAINING, 16, 16)))
    made = {name: _split(name, size, setting, generator) for name, size in sizes.items()}
    return Splits(
        name="mosi",
        **made,
        dims=dict(DIMS),
        steps=dict(STEPS[setting]),
        label_range=(-3.0, 3.0),
        convention="mosi",
        digest=f"benchmark-{setting}-{seed}",
    )


def _split(name: str, size: int, setting: str, generator: torch.Generator) -> Split:
    steps = STEPS[setting]
    tokens_N3L = _tokens(name, size, steps["text"], generator)
    text_N = tokens_N3L[:, 1].sum(-1)
    lengths = {
        modality: text_N if setting == "aligned" else (text_N * steps[modality] // steps["text"]).clamp_min(1)
        for modality in MODALITIES
    }
    features = {}
    for modality in MODALITIES:
        x_NLD = torch.randn(size, steps[modality], DIMS[modality], generator=generator)
        valid_NL = torch.arange(steps[modality]) < lengths[modality].unsqueeze(-1)
        features[modality] = x_NLD.mul_(valid_NL.unsqueeze(-1))
    return Split(
        features=features,
        tokens=tokens_N3L,
        lengths=lengths,
        side=dict.fromkeys(MODALITIES, "right"),
        target=torch.rand(size, 1, generator=generator) * 6 - 3,
        ids=[f"{name}$_${row}" for row in range(size)],
        raw_text=[""] * size,
    )


def _tokens(name: str, size: int, steps: int, generator: torch.Generator) -> Tensor:
    """(N, 3, L) int64: the real ones, or random ones with lengths like theirs."""
    real = real_tokens()
    return real[name][:size] if real else random_tokens(size, steps, generator)


@lru_cache(maxsize=1)
def real_tokens() -> dict[str, Tensor]:
    """By split; empty where the file is not here."""
    folder = Path(os.environ.get("POWMIX_SHARED", Path(__file__).resolve().parents[2] / "shared"))
    path = folder / "data" / "mosi" / "mosi_std_ta_ctx5.pkl"
    if not path.is_file():
        return {}
    loaded = unpickler.read(path)
    return {name: torch.from_numpy(np.asarray(loaded[name]["text_bert"]).astype(np.int64)) for name in SPLITS}


def random_tokens(size: int, steps: int, generator: torch.Generator) -> Tensor:
    """Lengths are 3 + Gamma of shape 2, so that their mean is MOSI's and few reach the limit."""
    gamma_N = -torch.rand(2, size, generator=generator).log().sum(0) * (MEAN_TOKENS - 3) / 2
    length_N1 = (3 + gamma_N).round().long().clamp(3, steps).unsqueeze(1)
    step_L = torch.arange(steps)
    ids_NL = torch.randint(FIRST_WORD, VOCABULARY, (size, steps), generator=generator)
    ids_NL[:, 0] = CLS
    ids_NL = torch.where(step_L == length_N1 - 1, SEP, ids_NL)
    mask_NL = (step_L < length_N1).long()
    return torch.stack([ids_NL * mask_NL, mask_NL, torch.zeros_like(mask_NL)], dim=1)
