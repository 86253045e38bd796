"""Names to reference models and their trainers."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from benchmarks.reference.bert import SMALL
from benchmarks.reference.lf_dnn import LFDNN
from benchmarks.reference.mag_bert import MAGBERT
from benchmarks.reference.misa import MISA
from benchmarks.reference.mult import MulT
from benchmarks.reference.recipes import MOSI, Recipe
from benchmarks.reference.self_mm import SelfMM
from benchmarks.reference.tfn import TFN
from benchmarks.reference.trainer import MISATrainer, SelfMMTrainer, Trainer

CLASSES = {"mult": MulT, "lf_dnn": LFDNN, "tfn": TFN, "misa": MISA, "self_mm": SelfMM, "mag_bert": MAGBERT}
NAMES = tuple(CLASSES)


def build(
    name: str, dims: Mapping[str, int], recipe: Recipe | None = None, bert: Mapping[str, Any] = SMALL
) -> nn.Module:
    """The reference model `name` with its MOSI recipe, or the one given."""
    recipe = recipe or MOSI[name]
    return CLASSES[name](dims, **recipe.model, **({"bert": bert} if recipe.tokens else {}))


def trainer(
    name: str,
    model: nn.Module,
    target_NC: Tensor,
    recipe: Recipe | None = None,
    *,
    device: torch.device | str = "cpu",
    keep_graphs: bool = True,
) -> Trainer:
    """The loop that trains `model`; `target_NC` are the training labels (Self-MM remembers them)."""
    recipe = recipe or MOSI[name]
    options = {"device": device, "keep_graphs": keep_graphs}
    if name == "self_mm":
        return SelfMMTrainer(model, recipe, target_NC, **options)
    return (MISATrainer if name == "misa" else Trainer)(model, recipe, **options)
