"""Seeds side by side: equal models become one whose every parameter and buffer has a leading axis."""

from __future__ import annotations

import copy
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from powmix.models.base import FusionModel


def stack(models: Sequence[FusionModel]) -> FusionModel:
    """S models of one class and shape as one; the given ones are left as they are.

    Errors: ValueError for no model, for models of different classes or shapes, and for a class that is not stackable.
    """
    _check(models)
    stacked = copy.deepcopy(models[0])
    for target, *sources in zip(stacked.modules(), *(model.modules() for model in models), strict=True):
        for name, parameter in target._parameters.items():
            if parameter is not None:
                values = torch.stack([source._parameters[name].detach() for source in sources])
                target._parameters[name] = nn.Parameter(values, requires_grad=parameter.requires_grad)
        for name, buffer in target._buffers.items():
            if buffer is not None:
                target._buffers[name] = torch.stack([source._buffers[name] for source in sources])
    return stacked


def unstack(model: FusionModel, k: int) -> dict[str, Tensor]:
    """The state dict of seed k of a stacked model, under the names of a solo model."""
    return {name: value[k].clone() for name, value in model.state_dict().items()}


def _check(models: Sequence[FusionModel]) -> None:
    if not models:
        raise ValueError("stack: at least one model is needed, got none")
    first = models[0]
    if not first.stackable:
        raise ValueError(f"stack: {type(first).__name__} is not stackable; train its seeds one by one")
    shapes = [{name: value.shape for name, value in model.state_dict().items()} for model in models]
    if any(type(model) is not type(first) for model in models) or any(shape != shapes[0] for shape in shapes):
        raise ValueError("stack: the models must be of one class and shape")
