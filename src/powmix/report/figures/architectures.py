"""Figure 1 and Table 1: what the paper's three models are made of, read off the models.

Each is built small, reads a few clips of the synthetic corpus, and is watched: which layers act before the hidden
vectors h_m that are mixed, which after them, and whether another modality's input changes one (early fusion). This
alone of the report imports torch, and only where one of the two is asked for.
"""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any

import yaml
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import FancyArrowPatch, FancyBboxPatch

from powmix.metrics.columns import MODALITIES
from powmix.models.registry import TITLES as MODELS
from powmix.places import CONF
from powmix.report.figures import style

SHOWN = ("mult", "misa", "self_mm")
HEADS = ("Model", "FT-BERT", "Backbone", "Early / late fusion", "Objectives")
CLIPS = 6


@dataclass(frozen=True)
class Architecture:
    """What a model is made of. hidden: {name of h_m: width}; objectives: names of its losses, the task's first."""

    name: str
    fine_tunes: bool
    backbone: str
    crosses: bool
    attends: bool
    hidden: Mapping[str, int]
    objectives: tuple[str, ...]

    @property
    def title(self) -> str:
        return MODELS[self.name]

    @property
    def late(self) -> str:
        """What the fusion network does with the hidden vectors."""
        return "SA + Concat" if self.attends else "Concat"

    @property
    def cells(self) -> tuple[str, ...]:
        """The model's row of Table 1."""
        early = "CA" if self.crosses else "—"
        return (
            self.title,
            "✓" if self.fine_tunes else "",
            self.backbone,
            f"{early} / {self.late}",
            str(len(self.objectives)),
        )


def table1() -> Figure:
    """Table 1: properties of the three models."""
    rows = [architecture(name).cells for name in SHOWN]
    with style.context():
        figure, [axis] = style.panels(1, width=6.4, height=1.5)
        axis.set_axis_off()
        made = axis.table([*rows], colLabels=HEADS, cellLoc="center", loc="center", edges="horizontal")
        made.scale(1, 1.5)
        style.footnote(
            figure, "FT-BERT: BERT is fine-tuned; CA: cross-attention; SA: self-attention; read off the models"
        )
    return figure


def figure1() -> Figure:
    """Figure 1: encoders f_m, the hidden vectors where mixing acts, the fusion network f_F; one panel per model."""
    with style.context():
        figure, axes = style.panels(len(SHOWN), width=4.6, height=3.0)
        for axis, name in zip(axes, SHOWN):
            _scheme(axis, architecture(name))
        style.footnote(
            figure,
            "read off the models with conf/model's defaults and a small BERT; h with the width of the hidden vectors",
        )
    return figure


def architecture(name: str) -> Architecture:
    """Build a model small, run it, and say what it is made of."""
    import torch

    from powmix import mixing, models
    from powmix.data import load

    with torch.random.fork_rng(), torch.no_grad():
        torch.manual_seed(0)
        sizes = dict.fromkeys(("train", "valid", "test"), 30)
        splits = load({**_section("dataset/synthetic"), "sizes": sizes}, models.needs(name))
        options = {key: value for key, value in _section(f"model/{name}").items() if key != "name"}
        if "text" in options:
            options["text"] = {**options["text"], "pretrained": "tiny"}
        model = models.build(name, options, models.inputs_of(splits), _section("protocol/published"))
        model.prepare(splits.train.target)
        batch = splits.train.batch(torch.arange(CLIPS))
        encoded = model.encode(batch)
        with _called(model) as fusion:
            model.fuse(encoded.hidden)
        mixed = mixing.build("none", {})(encoded.hidden, batch.target)
        losses = model.auxiliary_losses(encoded, mixed, batch)
        other = replace(batch, features={**batch.features, "audio": batch.features["audio"] + 1.0})
        heard = model.encode(other).hidden
    kinds = {type(module).__name__: module for module in model.modules()}
    return Architecture(
        name,
        fine_tunes="TextEncoder" in kinds and any(p.requires_grad for p in kinds["TextEncoder"].parameters()),
        backbone="LSTM" if any("LSTM" in kind for kind in kinds) else "1D-CNN",
        crosses=any(not torch.equal(heard[key], h) for key, h in encoded.hidden.items() if "text" in key),
        attends=any("Transformer" in kind or "Attention" in kind for kind in fusion),
        hidden={key: value.shape[-1] for key, value in encoded.hidden.items()},
        objectives=("task", *losses),
    )


@contextmanager
def _called(model: Any) -> Iterator[set[str]]:
    """The kinds of the layers that act inside the block."""
    kinds: set[str] = set()
    hooks = [m.register_forward_hook(lambda m, *_: kinds.add(type(m).__name__)) for m in model.modules()]
    try:
        yield kinds
    finally:
        for hook in hooks:
            hook.remove()


def _section(name: str) -> dict[str, Any]:
    return yaml.safe_load((CONF / f"{name}.yaml").read_text("utf-8"))


def _scheme(axis: Axes, model: Architecture) -> None:
    """Inputs, encoders, hidden vectors, mixing, fusion, from left to right."""
    axis.set_axis_off()
    axis.set(xlim=(0, 10), ylim=(0, 6.4))
    rows = dict(zip(MODALITIES, (5.1, 3.2, 1.3)))
    rows.pop("fusion", None)
    for modality, y in rows.items():
        bert = "BERT" if model.fine_tunes and modality == "text" else model.backbone
        names = [key for key in model.hidden if modality in key]
        many = f"{len(names)} × " if len(names) > 1 else ""
        axis.text(0.1, y, MODALITIES[modality], va="center", fontsize=9)
        _box(axis, (1.5, y - 0.55), 2.1, 1.1, f"$f_{{{modality[0].upper()}}}$: {bert}", style.PALETTE[5])
        width = f"{many}{model.hidden[names[0]]}"
        axis.text(4.8, y, f"$h_{{{modality[0].upper()}}}$: {width}", va="center", ha="center", fontsize=8)
        _arrow(axis, (1.2, y), (1.5, y))
        _arrow(axis, (3.6, y), (3.95, y))
        for other, at in rows.items():
            if model.crosses and other != modality:
                _arrow(axis, (1.2, at), (1.5, y), style.SOFT)
        _arrow(axis, (5.6, y), (6.0, y))
        _arrow(axis, (7.1, y), (7.5, 3.2 + (y - 3.2) * 0.3))
    _box(axis, (6.0, 0.6), 1.1, 5.2, "mixing", style.PALETTE[1])
    _box(axis, (7.5, 2.4), 1.7, 1.6, f"$f_F$:\n{model.late}", style.PALETTE[2])
    _arrow(axis, (9.2, 3.2), (9.6, 3.2))
    axis.text(9.7, 3.2, "$\\hat{y}$", va="center")
    axis.set_title(f"{model.title}: {'early and late' if model.crosses else 'late'} fusion")


def _box(axis: Axes, corner: tuple[float, float], width: float, height: float, text: str, color: str) -> None:
    axis.add_patch(FancyBboxPatch(corner, width, height, boxstyle="round,pad=0.05", facecolor=color, alpha=0.25))
    axis.text(corner[0] + width / 2, corner[1] + height / 2, text, ha="center", va="center", fontsize=8)


def _arrow(axis: Axes, start: tuple[float, float], end: tuple[float, float], color: str = style.INK) -> None:
    axis.add_patch(FancyArrowPatch(start, end, arrowstyle="-|>", mutation_scale=7, color=color, linewidth=0.8))
