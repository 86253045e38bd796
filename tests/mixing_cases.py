"""Mini-batches for the mixers' tests: five families of features, any number of examples and modalities."""

import torch
from hypothesis import strategies as st
from torch.nn.functional import layer_norm

FAMILIES = {
    "gaussian": lambda x: x,
    "tanh": torch.tanh,
    "layer_norm": lambda x: layer_norm(x, x.shape[-1:]),
    "relu": lambda x: torch.relu(x - 1),
    "sigmoid": torch.sigmoid,
}

sizes = st.sampled_from([1, 2, 3, 4, 16, 32, 64])
modalities = st.sampled_from([1, 2, 3, 6])
families = st.sampled_from(sorted(FAMILIES))
seeds = st.integers(0, 2**31)


def seeded(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def batch(size: int, count: int = 3, family: str = "gaussian", seed: int = 0, classes: int = 1):
    """hidden {m0: (B, 4), m1: (B, 7), ...} and a target (B, 1) in [-3, 3], or soft classes (B, C)."""
    source = seeded(seed)
    widths = [4 + 3 * index for index in range(count)]
    hidden = {
        f"m{index}": FAMILIES[family](torch.randn(size, width, generator=source)) for index, width in enumerate(widths)
    }
    target = torch.rand(size, classes, generator=source) * 6 - 3
    return hidden, target if classes == 1 else target.softmax(1)
