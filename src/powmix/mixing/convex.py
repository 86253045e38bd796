"""Convex combinations of the mini-batch: from weight matrices to what fusion and the loss see, eqs. (7)-(9).

Legend: G weight matrices (M, or 1 shared by all modalities), O or R generated rows, B mini-batch size.
"""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import AbstractContextManager, nullcontext
from typing import NamedTuple

import torch
from torch import Tensor

from powmix.mixing.mixer import Hidden, Mixed, equal_weight


class Pairs(NamedTuple):
    """Row r is lam[r] of one example and 1 - lam[r] of another. first_R, second_R: indices into the mini-batch."""

    first_R: Tensor
    second_R: Tensor
    lam_R: Tensor

    def weights(self, size: int, device: torch.device) -> Tensor:
        """The pairs as one weight matrix (1, R, B), shared by all modalities."""
        first_R, second_R, lam_R = (part.to(device, non_blocking=True) for part in self)
        examples = torch.arange(size, device=device)
        lam_R1 = lam_R[:, None]
        return (lam_R1 * (first_R[:, None] == examples) + (1 - lam_R1) * (second_R[:, None] == examples))[None]


def combine(weights_OB: Tensor, values: Tensor) -> Tensor:
    """Multiply: W @ values along the first axis, computed in float32 or better, given in the values' dtype."""
    dtype = torch.promote_types(values.dtype, torch.float32)
    with without_autocast(values.device.type):
        rows = weights_OB.to(dtype) @ values.reshape(values.shape[0], -1).to(dtype)
    return rows.to(values.dtype).view(-1, *values.shape[1:])


def without_autocast(device: str) -> AbstractContextManager[object]:
    """Switch autocast off: it would round the weights, and with them the labels, to bfloat16."""
    return torch.autocast(device, enabled=False) if torch.amp.is_autocast_available(device) else nullcontext()


def assemble(
    weights_GOB: Tensor,
    hidden: Hidden,
    target: Tensor,
    *,
    add: bool = False,
    fallbacks: Mapping[str, Tensor | int] | None = None,
    mean_k: Tensor | None = None,
    label_weights: Tensor | None = None,
) -> Mixed:
    """Mix hidden states and targets: mixed_m = W_m H_m, y = mean_m W_m y, eqs. (7)-(9); rows weigh 1 / O.

    label_weights: y = sum_m c_m W_m y instead, c (M,), or (M, O) by row; over the modalities they sum to 1.

    add: the B clean rows come first, then the O mixed ones; the weights are [identity; W] and each group carries
    half of the loss: the mean of the two means. mean_k: survivors per row, counted from W where not given.
    """
    check(hidden, target)
    matrices = dict(zip(hidden, weights_GOB.expand(len(hidden), -1, -1)))
    mixed = {name: combine(matrices[name], h) for name, h in hidden.items()}
    if label_weights is None:
        label_OB = weights_GOB.mean(0)
    else:
        label_OB = (label_weights.view(len(hidden), -1, 1) * weights_GOB).sum(0)
    mixed_target = combine(label_OB, target)
    if mean_k is None:
        mean_k = torch.count_nonzero(weights_GOB) / (weights_GOB.shape[0] * weights_GOB.shape[1])
    statistics: dict[str, Tensor | float] = {"mean_k": mean_k, "label_spread": spread(mixed_target)}
    if label_weights is not None:
        statistics |= {f"label_weight_{name}": c.mean() for name, c in zip(hidden, label_weights)}
    row_weight = equal_weight(mixed_target)
    if add:
        identity = torch.eye(target.shape[0], device=weights_GOB.device, dtype=weights_GOB.dtype)
        matrices = {name: torch.cat([identity, w_OB]) for name, w_OB in matrices.items()}
        mixed = {name: torch.cat([hidden[name], h]) for name, h in mixed.items()}
        mixed_target = torch.cat([target, mixed_target])
        row_weight = torch.cat([equal_weight(target), row_weight]) / 2
    return Mixed(mixed, mixed_target, row_weight, matrices, dict(fallbacks or {}), statistics)


def spread(target: Tensor) -> Tensor:
    """Standard deviation of the mixed targets over the rows (mean over classes), 0-d."""
    return target.float().std(0, correction=0).mean()


def check(hidden: Hidden, target: Tensor) -> None:
    """ValueError for a mini-batch that cannot be mixed."""
    if not target.is_floating_point():
        raise ValueError(
            f"target must be floating point to be mixed, got {target.dtype}: "
            "class targets mix as soft targets, one_hot(target, C).float()"
        )
    if not hidden:
        raise ValueError("hidden must hold at least one modality, got none")
    for name, h in hidden.items():
        if h.ndim < 2 or h.shape[0] != target.shape[0]:
            raise ValueError(
                f"hidden[{name!r}] must be ({target.shape[0]}, ..., D) as the target, got {tuple(h.shape)}"
            )
