"""What every mixer is: it draws parameters, applies them, or does both in a call. Here is the one that does nothing."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields
from typing import Any, ClassVar

import torch
from torch import Generator, Tensor

from powmix.mistakes import check_one_of, refuse
from powmix.mixing.draws import unit
from powmix.mixing.options import mistakes

Hidden = Mapping[str, Tensor]


@dataclass(frozen=True)
class Mixed:
    """What fusion and the loss see after mixing: R rows (O mixed ones, B clean ones, or both).

    hidden: by modality (R, ..., D_m). target: shaped as the target given, R rows.
    weights: by modality (R, B), each row the convex combination that made it; None where nothing was mixed.
    row_weight: (R,) float32 that sums to 1: the task loss is sum(row_weight * loss of each row).
    fallbacks: rows (counts, int) by name where eq. (5) or (6) is undefined: `attention` (0/0 attention, per example),
    `dropped` (every survivor has zero attention, per generated row and modality); with their denominators under `*_of`.
    statistics: floats worth logging (`mean_k`: survivors per row, `label_spread`: std of the mixed targets).
    """

    hidden: dict[str, Tensor]
    target: Tensor
    row_weight: Tensor
    weights: dict[str, Tensor] | None = None
    fallbacks: dict[str, Tensor | int] = field(default_factory=dict)
    statistics: dict[str, Tensor | float] = field(default_factory=dict)

    @property
    def is_mixed(self) -> bool:
        return self.weights is not None

    def mask(self, name: str, real: Tensor) -> Tensor:
        """Which steps of the mixed sequences of a modality are real, not padding: (R, L) bool.

        real: the same of the mini-batch's own sequences, (B, L) or (B, ...) bool, True where a step is real (torch's
        `key_padding_mask` is the opposite). A step of a row is real where it is real in any example of non-zero
        weight in the row. What stands in padded steps is mixed, too: set it to 0 before, and the row is 0 outside this
        mask. A clean mini-batch's mask comes back as it is. ValueError for an unknown modality or a mask of other size.
        """
        check_one_of("name", name, self.hidden)
        size = self.hidden[name].shape[0] if self.weights is None else self.weights[name].shape[1]
        if real.dtype != torch.bool or real.ndim < 2 or real.shape[0] != size:
            raise ValueError(f"real must be ({size}, L) bool, got {tuple(real.shape)} {real.dtype}")
        if self.weights is None:
            return real
        sources_RB = (self.weights[name] != 0).float()
        return (sources_RB @ real.flatten(1).float() > 0).view(-1, *real.shape[1:])


def clean(hidden: Hidden, target: Tensor) -> Mixed:
    """The mini-batch as it came: every row weighs 1 / B."""
    return Mixed(dict(hidden), target, equal_weight(target))


def equal_weight(target: Tensor) -> Tensor:
    """Row weights for the plain mean over the target's R rows: 1 / R each."""
    rows = target.shape[0]
    return torch.full((rows,), 1 / rows, device=target.device, dtype=torch.float32)


@dataclass(eq=False)
class Mixer:
    """A regulariser of hidden states, called once per training step.

    p_mix: probability that a mini-batch is mixed. start_epoch: clean epochs before.
    batch_factor: how many mini-batches' worth of examples one step loads (Manifold MixUp: 2).
    memory: what it remembers from one mini-batch to the next, tensors by name, which a checkpoint keeps; most remember
    nothing. `draw` replaces what is in it. epochs: how many there are at most, if known; whoever trains sets it.
    A mixer is a dataclass of its options; ValueError lists every option that is not allowed (`options.RULES`).
    """

    batch_factor: ClassVar[int] = 1
    p_mix: float = 1.0
    start_epoch: int = 0
    memory: dict[str, Tensor] = field(default_factory=dict, init=False, repr=False)
    epochs: int | None = field(default=None, init=False, repr=False)

    def __post_init__(self) -> None:
        options = {option.name: getattr(self, option.name) for option in fields(self) if option.init}
        refuse(mistakes(options), type(self).__name__)
        for name, value in options.items():
            if isinstance(value, Sequence) and not isinstance(value, str):
                setattr(self, name, tuple(value))

    def __call__(
        self, hidden: Hidden, target: Tensor, *, generator: Generator | None = None, epoch: int | None = None
    ) -> Mixed:
        """Mix a mini-batch with probability p_mix; otherwise hand it back clean.

        hidden: by modality (B, ..., D_m). target: (B,), (B, C) or soft classes, floating point.
        generator: source of everything random, best on the CPU; without one torch's default generator is used.
        epoch: counts from 0; None ignores start_epoch.
        """
        if self.flip(generator, target.shape[0], epoch):
            return self.apply(self.draw(hidden, target, generator), hidden, target)
        return clean(hidden, target)

    def flip(self, generator: Generator | None, size: int, epoch: int | None = None) -> bool:
        """The coin of one mini-batch. Nothing is drawn where its probability is 0, or for under two examples."""
        p = self.probability(epoch)
        return p > 0 and size >= 2 and bool(unit((), generator) < p)

    def probability(self, epoch: int | None = None) -> float:
        """How probable mixing is in an epoch: p_mix, and 0 before start_epoch."""
        return 0.0 if epoch is not None and epoch < self.start_epoch else self.p_mix

    def draw(self, hidden: Hidden, target: Tensor, generator: Generator | None) -> Any:
        """Everything random or remembered about one application; what is random, on the generator's device."""
        raise NotImplementedError

    def apply(self, parameters: Any, hidden: Hidden, target: Tensor) -> Mixed:
        """Mix with known parameters: no randomness."""
        raise NotImplementedError


@dataclass(eq=False)
class NoMixer(Mixer):
    """The baseline: every mini-batch stays clean and nothing is drawn, whatever p_mix a sweep sets for all mixers."""

    p_mix: float = 0.0

    def probability(self, epoch: int | None = None) -> float:
        return 0.0
