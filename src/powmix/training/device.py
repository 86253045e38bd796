"""Where a training computes, and in which precision."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from functools import partial

import torch

Precision = Callable[[], AbstractContextManager]


def resolve_device(name: str) -> torch.device:
    """`auto` (a GPU where there is one), `cpu`, `cuda` or `cuda:k`; a GPU that is not there is a ValueError."""
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    device = torch.device(name)
    if device.type == "cuda" and (device.index or 0) >= torch.cuda.device_count():
        raise ValueError(
            f"trainer.device={name}: this machine has {torch.cuda.device_count()} CUDA devices; use auto or cpu"
        )
    return device


def precision(device: torch.device, amp: str) -> Precision:
    """Makes the context that encoders and fusion run in: bfloat16 autocast for `bf16`, nothing for `off`."""
    return partial(torch.autocast, device.type, torch.bfloat16) if amp == "bf16" else nullcontext
