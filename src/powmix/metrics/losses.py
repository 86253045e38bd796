"""The task loss of each row of a batch. R rows, C outputs."""

from __future__ import annotations

from collections.abc import Callable

from torch import Tensor

RowLoss = Callable[[Tensor, Tensor], Tensor]


def l1(prediction_RC: Tensor, target_RC: Tensor) -> Tensor:
    """Absolute error (R,)."""
    return (prediction_RC - target_RC).abs().mean(-1)


def mse(prediction_RC: Tensor, target_RC: Tensor) -> Tensor:
    """Squared error (R,)."""
    return (prediction_RC - target_RC).square().mean(-1)


def cross_entropy(logit_RC: Tensor, target_RC: Tensor) -> Tensor:
    """Cross entropy (R,) of logits against soft targets whose rows sum to 1."""
    return -(target_RC * logit_RC.log_softmax(-1)).sum(-1)


def row_loss(task: str, loss: str) -> RowLoss:
    """The loss of a task: `l1` or `mse` for regression, cross entropy for classification."""
    return cross_entropy if task == "classification" else {"l1": l1, "mse": mse}[loss]
