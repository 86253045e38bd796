"""Fractions of a training set that nest and keep the label distribution (the limited-data study)."""

from __future__ import annotations

import torch
from torch import Tensor

STRATUM = 10


def fraction_rows(target_NC: Tensor, fraction: float, seed: int = 0) -> list[int]:
    """Rows of the fraction, ascending: round(fraction * N) of them, at least one; fractions of one seed nest.

    Examples sorted by label (the most likely class for soft targets) form strata of ten; one shuffled order takes
    evenly from all of them, and a fraction is its beginning. Raises ValueError for a fraction outside (0, 1].
    """
    if not 0 < fraction <= 1:
        raise ValueError(f"dataset.fraction must be within (0, 1], got {fraction!r}")
    order_N = _stratified_order(target_NC, seed)
    return sorted(order_N[: max(1, round(fraction * len(order_N)))].tolist())


def _stratified_order(target_NC: Tensor, seed: int) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    label_N = target_NC[:, 0] if target_NC.shape[1] == 1 else target_NC.argmax(1)
    shuffled_N = torch.randperm(len(label_N), generator=generator)
    by_label_N = shuffled_N[label_N[shuffled_N].argsort(stable=True)]
    key_N = torch.empty(len(label_N), dtype=torch.float64)
    for stratum in by_label_N.split(STRATUM):
        place = torch.randperm(len(stratum), generator=generator).double()
        key_N[stratum] = (place + torch.rand((), generator=generator, dtype=torch.float64)) / len(stratum)
    return key_N.argsort(stable=True)
