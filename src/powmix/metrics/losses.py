"""The losses, of each row of a batch or of a batch as a whole, and those of users. No torch until one is used.

Shape suffixes: R rows of a batch, N examples of a split, C outputs.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

from powmix.metrics.columns import TASKS
from powmix.mistakes import check_one_of, refuse, taken

if TYPE_CHECKING:
    from torch import Tensor

    RowLoss = Callable[[Tensor, Tensor], Tensor]


def l1(prediction_RC: Tensor, target_RC: Tensor) -> Tensor:
    """Absolute error (R,)."""
    return (prediction_RC - target_RC).abs().mean(-1)


def mse(prediction_RC: Tensor, target_RC: Tensor) -> Tensor:
    """Squared error (R,)."""
    return (prediction_RC - target_RC).square().mean(-1)


def huber(prediction_RC: Tensor, target_RC: Tensor) -> Tensor:
    """Huber's loss (R,): half the squared error up to an error of 1, from there on the absolute error - 1/2."""
    from torch.nn.functional import huber_loss

    return huber_loss(prediction_RC, target_RC, reduction="none").mean(-1)


def ccc(prediction_RC: Tensor, target_RC: Tensor, row_weight_R: Tensor) -> Tensor:
    """1 - Lin's concordance correlation coefficient of the weighted rows, in float64; the mean over outputs.

    1 where every prediction and every label is the same, as of a single row: it has no gradient there.
    """
    x_RC, y_RC, weight_R1 = prediction_RC.double(), target_RC.double(), row_weight_R.double().unsqueeze(-1)
    weight_R1 = weight_R1 / weight_R1.sum()
    x_C, y_C = (weight_R1 * x_RC).sum(0), (weight_R1 * y_RC).sum(0)
    x_RC, y_RC = x_RC - x_C, y_RC - y_C
    covariance_C = (weight_R1 * x_RC * y_RC).sum(0)
    spread_C = (weight_R1 * (x_RC.square() + y_RC.square())).sum(0) + (x_C - y_C).square()
    return (1 - 2 * covariance_C / spread_C.clamp_min(1e-12)).mean().to(prediction_RC.dtype)


def cross_entropy(logit_RC: Tensor, target_RC: Tensor, smoothing: float = 0.0) -> Tensor:
    """Cross entropy (R,) of logits against soft targets whose rows sum to 1.

    smoothing: the share of every target that is spread evenly over the classes (Szegedy et al. 2016).
    """
    if smoothing:
        target_RC = (1 - smoothing) * target_RC + smoothing / target_RC.shape[-1]
    return -(target_RC * logit_RC.log_softmax(-1)).sum(-1)


def bce(logit_RC: Tensor, target_RC: Tensor) -> Tensor:
    """Binary cross entropy (R,) of logits against labels within [0, 1], the mean over labels."""
    from torch.nn.functional import binary_cross_entropy_with_logits

    return binary_cross_entropy_with_logits(logit_RC, target_RC, reduction="none").mean(-1)


@dataclass(frozen=True)
class Loss:
    """A loss. kind: the function. tasks: those that it is a loss of.

    by_row: the function gives (R,); otherwise it takes the rows' weights, too, and gives a scalar.
    """

    kind: Callable[..., Tensor]
    tasks: tuple[str, ...]
    by_row: bool = True

    def __call__(self, prediction_RC: Tensor, target_RC: Tensor, row_weight_R: Tensor) -> Tensor:
        """What training minimises, a scalar: sum(row_weight * loss of each row), or the loss of the weighted batch."""
        if self.by_row:
            return (self.kind(prediction_RC, target_RC) * row_weight_R).sum()
        return self.kind(prediction_RC, target_RC, row_weight_R)

    def smoothed(self, smoothing: float) -> Loss:
        """The same with a part of every target spread evenly over the classes; 0: the loss itself."""
        return Loss(partial(self.kind, smoothing=smoothing), self.tasks) if smoothing else self

    def over(self, prediction_NC: Tensor, target_NC: Tensor) -> float:
        """The exact mean over a split, or the loss of the split as one batch whose rows weigh the same."""
        if self.by_row:
            return self.kind(prediction_NC, target_NC).double().mean().item()
        weight_N = prediction_NC.new_full((len(prediction_NC),), 1 / len(prediction_NC))
        return float(self.kind(prediction_NC, target_NC, weight_N))


LOSSES = {
    "l1": Loss(l1, ("regression",)),
    "mse": Loss(mse, ("regression",)),
    "huber": Loss(huber, ("regression",)),
    "ccc": Loss(ccc, ("regression",), by_row=False),
    "cross_entropy": Loss(cross_entropy, ("classification",)),
    "bce": Loss(bce, ("multilabel",)),
}
AUTO = {"regression": "mse", "classification": "cross_entropy", "multilabel": "bce"}
"""The loss of each task where none is named."""
OF_RECIPES = ("auto", "l1", "mse")
"""What means the task's own loss where it is none of the task's: recipes say how a corpus' regression is trained."""


def register_loss(name: str, function: Callable[..., Any] | None = None) -> Any:
    """Makes a loss known as `loss=NAME`, for every task; a call with the function, or a decorator of it.

    function: (prediction, target, row_weight) -> scalar that gradients flow through. prediction and target: (R, C)
    float32, on the device that trains; of a mixer, the target is mixed. row_weight: (R,), sums to 1; a loss of rows is
    `(row_weight * rows).sum()`. In evaluation it is called once, with a whole split on the CPU. ValueError for a name
    that is taken; the same file may register anew.
    """

    def decorate(function: Callable[..., Any]) -> Callable[..., Any]:
        if not callable(function):
            raise ValueError(f"loss {name}: expected a function of prediction, target and row_weight, got {function!r}")
        refuse(["loss 'auto' means the task's own: choose another name"] if name == "auto" else [])
        refuse(taken("loss", name, function, LOSSES.get(name)))
        LOSSES[name] = Loss(function, tuple(TASKS), by_row=False)
        return function

    return decorate if function is None else decorate(function)


def name_of(task: str, loss: str) -> str:
    """The loss that a task is trained with where a configuration says `loss`: that one, or the task's own (`AUTO`).

    `auto` is the task's own; so are `l1` and `mse` under classification and multilabel, since recipes say them for the
    regression of their corpus. ValueError for an unknown loss, and for one that is of another task.
    """
    check_one_of("loss", loss, ("auto", *LOSSES))
    if loss in LOSSES and task in LOSSES[loss].tasks:
        return loss
    if loss in OF_RECIPES:
        return AUTO[task]
    allowed = [name for name, row in LOSSES.items() if task in row.tasks]
    raise ValueError(f"loss={loss} is none of task={task}; allowed: auto, {', '.join(allowed)}")
