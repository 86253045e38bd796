"""Ours: how much each modality counts, as given by the user or as learned while training.

Legend: B mini-batch size, M modalities, C outputs.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from powmix.mistakes import refuse, unknown
from powmix.mixing.convex import without_autocast

RECALL = 0.95
"""How much of what is remembered stays after each mini-batch: about twenty of them count."""

PENALTY = 1.0
"""Of the ridge regression, in units of the mean squared length of the centred vectors."""

TINY = 1e-12


def given(weights: Sequence[float] | Mapping[str, float], names: Sequence[str]) -> list[float]:
    """Numbers for the modalities, by place or by name, in the order of `names` and divided by their sum.

    ValueError where they are not those of the model, with every name that is wrong.
    """
    if isinstance(weights, Mapping):
        missing = [f"modality {name!r} has no number" for name in names if name not in weights]
        refuse([*unknown(weights, names, "modality"), *missing], "label_weights")
        weights = [weights[name] for name in names]
    if len(weights) != len(names):
        raise ValueError(f"label_weights must be {len(names)} numbers ({', '.join(names)}), got {len(weights)}")
    return [float(number) / sum(weights) for number in weights]


@torch.no_grad()
def contributions(hidden: Mapping[str, Tensor], target: Tensor, memory: dict[str, Tensor]) -> Tensor:
    """Shares of the modalities, (M,) float32 that sum to 1, after a mini-batch of at least two examples.

    A linear head on each modality is fitted to the mini-batch and judged on examples that it has not seen
    (leave_one_out). R2_m = 1 - error_m / error of a constant, both averaged over the mini-batches so far, the older
    ones less (RECALL). share_m = max(R2_m, 0) / sum_m' max(R2_m', 0); 1 / M where no modality explains anything.
    memory: keeps the errors, under `error.NAME` and, of the constant, `error`.
    """
    y_BC = target.reshape(len(target), -1).float()
    heads = {f"error.{name}": h.flatten(1).float() for name, h in hidden.items()}
    heads["error"] = y_BC.new_zeros(len(target), 1)
    errors = []
    for name, x_BD in heads.items():
        with without_autocast(target.device.type):
            error = leave_one_out(x_BD, y_BC).square().mean()
        memory[name] = error.lerp(memory[name].to(error.device), RECALL) if name in memory else error
        errors.append(memory[name])
    errors = torch.stack(errors)
    explained_M = (1 - errors[:-1] / errors[-1].clamp(min=TINY)).clamp(min=0)
    return torch.where(explained_M.sum() > 0, explained_M / explained_M.sum().clamp(min=TINY), 1 / len(explained_M))


def leave_one_out(x_BD: Tensor, y_BC: Tensor) -> Tensor:
    """What ridge regression with an intercept errs by on each example, fitted to the others: (B, C).

    In closed form, from one fit to all: the residual over 1 - leverage. The penalty is PENALTY times the mean squared
    length of the centred vectors of all; with vectors of width 0 or constant ones it is the error of the others' mean.
    """
    size = len(x_BD)
    centred_BD = x_BD - x_BD.mean(0)
    gram_BB = centred_BD @ centred_BD.T
    gram_BB = gram_BB / gram_BB.diagonal().mean().clamp(min=TINY)
    identity_BB = torch.eye(size, device=x_BD.device)
    kept_BB = PENALTY * torch.linalg.inv_ex(gram_BB + PENALTY * identity_BB).inverse - 1 / size
    return (kept_BB @ (y_BC - y_BC.mean(0))) / kept_BB.diagonal()[:, None]
