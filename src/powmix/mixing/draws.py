"""Random numbers from a mixer's own generator, on the generator's device, in float32."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Generator, Tensor

SMALLEST = 1e-30
"""Gamma variates of a small concentration underflow to 0: they stay above this, so that no row is all zero."""

Concentration = float | tuple[float, float]
"""A constant, or the (low, high) it is drawn from uniformly."""


def device_of(generator: Generator | None) -> torch.device:
    """The device that parameters are drawn on: the generator's, or the CPU for torch's default one."""
    return generator.device if generator is not None else torch.device("cpu")


def unit(shape: Sequence[int], generator: Generator | None) -> Tensor:
    """Draw U(0, 1)."""
    return torch.rand(tuple(shape), generator=generator, device=device_of(generator), dtype=torch.float32)


def uniform(shape: Sequence[int], low: float, high: float, generator: Generator | None) -> Tensor:
    """Draw U(low, high)."""
    return unit(shape, generator).mul_(high - low).add_(low)


def concentrations(alpha: Concentration, shape: Sequence[int], generator: Generator | None) -> Tensor:
    """Draw alpha for each place from U(low, high), or repeat the constant (nothing is drawn)."""
    if isinstance(alpha, tuple):
        return uniform(shape, *alpha, generator)
    return torch.full(tuple(shape), alpha, device=device_of(generator), dtype=torch.float32)


def gamma(alpha: Tensor, generator: Generator | None) -> Tensor:
    """Draw Gamma(alpha, 1) variates, shaped as alpha, at least SMALLEST."""
    return torch._standard_gamma(alpha.contiguous(), generator=generator).clamp_(min=SMALLEST)


def beta(alpha: Concentration, shape: Sequence[int], generator: Generator | None) -> Tensor:
    """Draw Beta(alpha, alpha) variates: G1 / (G1 + G2) of two Gamma variates of one concentration."""
    alpha_ = concentrations(alpha, shape, generator)
    first, second = gamma(alpha_, generator), gamma(alpha_, generator)
    return first / (first + second)
