"""Ours: how a mixer changes the geometry that a model is trained in, measured at the trained weights.

- label_spread: standard deviation of the labels a mixed step learns from (without mixing: of the batch's own).
- effective_number: how many examples a mixed row effectively consists of, 1 / sum_j w_j^2, averaged over rows (by their
  weight in the loss) and modalities; 1 without mixing.
- gradient_alignment: cosine between the gradients of the clean and of the mixed task loss of the same training batch,
  over all trained parameters, without dropout; 1 without mixing.
- calibration_error (regression): the quantiles of the validation residuals y - f(x) promise that a share `level` of
  residuals lies below each. Test examples are sorted into equal groups by their prediction; the error is the mean over
  groups and levels of |share found in the group - level|. 0: residuals are alike wherever the model predicts; a model
  whose predictions are drawn to the middle, as mixed labels are, errs in the outer groups.
- slope (regression): of the test predictions on the labels, cov(f, y) / var(y): how much a prediction rises when the
  label rises by 1. slope_NAME: the same of what the model says of one modality, all others at their mean over the test
  split; where fusion adds modalities up, these add up to slope.

The first three are means over training batches, every one of them mixed (p_mix and start_epoch are set aside).
Shape suffixes: B mini-batch, R rows of the mixed step, N examples, C outputs, Q levels.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from statistics import fmean
from typing import Any

import torch
from torch import Tensor

from powmix.analysis.hidden import hidden_vectors
from powmix.data.splits import Split
from powmix.mixing import Mixed, clean
from powmix.mixing.convex import spread
from powmix.training import Solver
from powmix.training.batches import training_batches


def measure(solver: Solver, settings: Mapping[str, Any]) -> Iterator[dict[str, float]]:
    """One row of the quantities above."""
    steps = list(_mixed_steps(solver, settings["batches"]))
    row = {name: fmean(step[name] for step in steps) for name in steps[0]}
    if solver.settings.task == "regression":
        row["calibration_error"] = _calibration_error(solver, settings["levels"], settings["groups"])
        row |= _slopes(solver, getattr(solver.splits, settings["slopes"]))
    yield row


def _mixed_steps(solver: Solver, batches: int) -> Iterator[dict[str, float]]:
    train, size = solver.splits.train, solver.settings.batch_size * solver.mixer.batch_factor
    parameters = [parameter for parameter in solver.model.parameters() if parameter.requires_grad]
    solver.model.eval()
    for index_B in training_batches(train, size, solver.generators.shuffle, bucket=False)[:batches]:
        batch = train.batch(index_B)
        with solver.precision():
            hidden = {name: h.float() for name, h in solver.model.encode(batch).hidden.items()}
        mixed = _mixed(solver, hidden, batch.target)
        losses = [_task_loss(solver, rows) for rows in (clean(hidden, batch.target), mixed)]
        yield {
            "label_spread": spread(mixed.target).item(),
            "effective_number": _effective_number(mixed),
            "gradient_alignment": _alignment(losses, parameters),
        }


def _mixed(solver: Solver, hidden: dict[str, Tensor], target: Tensor) -> Mixed:
    """The batch mixed for certain; clean where the mixer is none, or one example is alone."""
    if solver.mixer.p_mix == 0 or len(target) < 2:
        return clean(hidden, target)
    return solver.mixer.apply(solver.mixer.draw(hidden, target, solver.generators.mixing), hidden, target)


def _task_loss(solver: Solver, rows: Mixed) -> Tensor:
    with solver.precision():
        prediction_RC = solver.model.fuse(rows.hidden)
    return solver.task_loss(prediction_RC.float(), rows.target, rows.row_weight)


def _effective_number(mixed: Mixed) -> float:
    if mixed.weights is None:
        return 1.0
    numbers = [(mixed.row_weight / w_RB.square().sum(-1)).sum() for w_RB in mixed.weights.values()]
    return torch.stack(numbers).mean().item()


def _alignment(losses: Sequence[Tensor], parameters: Sequence[Tensor]) -> float:
    """The cosine of two losses' gradients; NaN where one of them vanishes."""
    first, second = (
        torch.autograd.grad(loss, parameters, retain_graph=True, allow_unused=True, materialize_grads=True)
        for loss in losses
    )
    products = [
        sum((a.double() * b.double()).sum() for a, b in zip(*pair)).item()
        for pair in ((first, second), (first, first), (second, second))
    ]
    return products[0] / (products[1] * products[2]) ** 0.5 if products[1] * products[2] > 0 else float("nan")


def _calibration_error(solver: Solver, levels: Sequence[float], groups: int) -> float:
    valid, test = solver.splits.valid, solver.splits.test
    level_Q = torch.tensor(levels)
    promised_Q = (valid.target.cpu() - solver.predict(valid)).flatten().quantile(level_Q)
    prediction_N = solver.predict(test).flatten()
    residual_N = test.target.cpu().flatten() - prediction_N
    parts = [residual_N[rows].unsqueeze(-1) <= promised_Q for rows in prediction_N.argsort().chunk(groups)]
    return torch.stack([(part.float().mean(0) - level_Q).abs().mean() for part in parts]).mean().item()


def _slopes(solver: Solver, split: Split) -> dict[str, float]:
    """The slopes of a split, by name."""
    hidden, y_NC = hidden_vectors(solver, split), split.target.cpu()
    found = {"slope": slope(solver.predict(split), y_NC)}
    modalities = by_modality(hidden, [*split.features, *(["text"] if split.tokens is not None else [])])
    if len(modalities) > 1:
        for modality, own in modalities.items():
            alone = {name: h if name in own else h.mean(0).expand_as(h) for name, h in hidden.items()}
            found[f"slope_{modality}"] = slope(_fused(solver, alone), y_NC)
    return found


def slope(f_NC: Tensor, y_NC: Tensor) -> float:
    """The least-squares slope of f on y, cov(f, y) / var(y), over all outputs; NaN where y is constant."""
    f_NC, y_NC = (x.double() - x.double().mean(0) for x in (f_NC, y_NC))
    return ((f_NC * y_NC).sum() / y_NC.square().sum()).item()


def by_modality(names: Iterable[str], modalities: Sequence[str]) -> dict[str, list[str]]:
    """The hidden vectors of each modality: `text`, or MISA's `private_text` and `shared_text`; others by themselves."""
    found: dict[str, list[str]] = {}
    for name in names:
        parts = [name, *name.split("_")]
        found.setdefault(next((part for part in parts if part in modalities), name), []).append(name)
    return found


@torch.no_grad()
def _fused(solver: Solver, hidden: Mapping[str, Tensor]) -> Tensor:
    """Predictions (N, C) from hidden vectors of a whole split, in batches, without dropout."""
    solver.model.eval()
    parts = zip(*(h.split(solver.settings.batch_size) for h in hidden.values()))
    with solver.precision():
        return torch.cat([solver.model.fuse(dict(zip(hidden, part))).float() for part in parts]).cpu()
