"""Figure 5: what each frozen encoder knows by itself, told by a linear head, beside the whole model f_F.

Regression: ridge regression on standardised features, in closed form. Classification: multinomial logistic regression
with an L2 penalty, minimised by L-BFGS; multilabel: a binary one for each label. All are convex with one solution, so
no seed and no learning rate decides a bar; the penalty is the one of `settings` with the lowest validation Loss (the
run's own loss). The heads learn from the training split, without dropout, and are evaluated on the test split.

Shape suffixes: N examples, D hidden width, C outputs.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from powmix.analysis.hidden import hidden_vectors, of_modality
from powmix.data.splits import MODALITIES
from powmix.metrics.losses import bce, cross_entropy
from powmix.training import Solver

if TYPE_CHECKING:
    from powmix.metrics.losses import RowLoss


def measure(solver: Solver, settings: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    """Rows {target: text | audio | vision | fusion, metrics}; `fusion` is the run's own test metrics.

    A modality with several hidden vectors (MISA's private and shared) has one head on all of them; a modality without
    one of its own (MAG-BERT fuses inside BERT) has no row.
    """
    splits = solver.splits
    hidden = [hidden_vectors(solver, split) for split in (splits.train, splits.valid, splits.test)]
    for modality in MODALITIES:
        if names := of_modality(hidden[0], modality):
            x = [torch.cat([part[name] for name in names], -1).double().cpu() for part in hidden]
            yield {"target": modality, **_best_head(solver, x, settings["penalties"])}
    yield {"target": "fusion", **solver.evaluate(splits.test)[0]}


def _best_head(solver: Solver, x: Sequence[Tensor], penalties: Sequence[float]) -> dict[str, float]:
    """The test metrics of the head with the lowest validation Loss; x: of train, valid, test (N, D) float64."""
    splits = solver.splits
    mean_D, std_D = x[0].mean(0), x[0].std(0, correction=0)
    train, valid, test = ((part - mean_D) / torch.where(std_D > 0, std_D, 1) for part in x)
    target = splits.train.target.double().cpu()
    if solver.settings.task == "regression":
        heads = ridge(train, target, penalties)
    else:
        loss = cross_entropy if solver.settings.task == "classification" else bce
        heads = logistic(train, target, penalties, loss)
    losses = [solver.score(splits.valid, (valid @ w_DC + b_C).float())["Loss"] for w_DC, b_C in heads]
    w_DC, b_C = heads[losses.index(min(losses))]
    return solver.score(splits.test, (test @ w_DC + b_C).float())


def ridge(x_ND: Tensor, y_NC: Tensor, penalties: Sequence[float]) -> list[tuple[Tensor, Tensor]]:
    """For each penalty the w (D, C), b (C,) that minimise mean |x w + b - y|^2 + penalty |w|^2."""
    x_D, y_C = x_ND.mean(0), y_NC.mean(0)
    u_NK, s_K, v_KD = torch.linalg.svd(x_ND - x_D, full_matrices=False)
    projected_KC = u_NK.T @ (y_NC - y_C)
    heads = []
    for penalty in penalties:
        w_DC = v_KD.T @ ((s_K / (s_K.square() + penalty * len(x_ND))).unsqueeze(-1) * projected_KC)
        heads.append((w_DC, y_C - x_D @ w_DC))
    return heads


def logistic(
    x_ND: Tensor, y_NC: Tensor, penalties: Sequence[float], loss: RowLoss = cross_entropy
) -> list[tuple[Tensor, Tensor]]:
    """For each penalty the w (D, C), b (C,) that minimise mean loss + penalty |w|^2; soft targets allowed."""
    w_DC = torch.zeros(x_ND.shape[1], y_NC.shape[1], dtype=x_ND.dtype, requires_grad=True)
    b_C = torch.zeros(y_NC.shape[1], dtype=x_ND.dtype, requires_grad=True)
    heads = []
    for penalty in penalties:
        optimizer = torch.optim.LBFGS(
            [w_DC, b_C], max_iter=200, tolerance_grad=1e-6, tolerance_change=1e-10, line_search_fn="strong_wolfe"
        )

        def objective(optimizer: torch.optim.LBFGS = optimizer, penalty: float = penalty) -> Tensor:
            optimizer.zero_grad()
            value = loss(x_ND @ w_DC + b_C, y_NC).mean() + penalty * w_DC.square().sum()
            value.backward()
            return value

        optimizer.step(objective)
        heads.append((w_DC.detach().clone(), b_C.detach().clone()))
    return heads
