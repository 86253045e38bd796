"""Layers whose parameters may carry leading group axes: many equal networks, or many seeds, as one computation.

A parameter of shape (*G, ...) serves an input of shape (*G, *batch, ...); without group axes a layer is the plain one.
Shape suffixes: G group axes flattened, N rows, L time steps, K kernel width, I and O widths.
Initialisation is PyTorch's default for the layer of the same name. Nothing here writes state in forward.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from powmix.models.recurrent import LSTM

__all__ = ["LSTM", "BatchNorm1d", "Conv1d", "LayerNorm", "Linear", "grouped_linear", "uniform"]


def uniform(bound: float, *shape: int) -> nn.Parameter:
    """A parameter drawn from U(-bound, bound) with the global generator."""
    return nn.Parameter(torch.empty(shape).uniform_(-bound, bound))


def grouped_linear(x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """x (*G, *batch, I) times weight (*G, O, I) transposed, plus bias (*G, O): (*G, *batch, O)."""
    groups = weight.dim() - 2
    if groups == 0:
        return F.linear(x, weight, bias)
    x_GNI = x.reshape(weight.shape[:-2].numel(), -1, x.shape[-1])
    weight_GIO = weight.reshape(-1, *weight.shape[-2:]).transpose(1, 2)
    if bias is None:
        y_GNO = torch.bmm(x_GNI, weight_GIO)
    else:
        y_GNO = torch.baddbmm(bias.reshape(-1, 1, bias.shape[-1]), x_GNI, weight_GIO)
    return y_GNO.view(*x.shape[:-1], weight.shape[-2])


class Linear(nn.Module):
    """x (*G, *batch, I) -> (*G, *batch, O). weight (*G, O, I), bias (*G, O)."""

    def __init__(self, inputs: int, outputs: int, bias: bool = True, groups: Sequence[int] = ()):
        super().__init__()
        bound = 1 / math.sqrt(inputs)
        self.weight = uniform(bound, *groups, outputs, inputs)
        self.bias = uniform(bound, *groups, outputs) if bias else None

    def forward(self, x: Tensor) -> Tensor:
        return grouped_linear(x, self.weight, self.bias)


class Conv1d(nn.Module):
    """A convolution over time without padding or bias: x (*G, *batch, L, I) -> (*G, *batch, L - K + 1, O).

    weight (*G, O, I, K).
    """

    def __init__(self, inputs: int, outputs: int, kernel: int, groups: Sequence[int] = ()):
        super().__init__()
        self.kernel = kernel
        self.weight = uniform(1 / math.sqrt(inputs * kernel), *groups, outputs, inputs, kernel)

    def forward(self, x: Tensor) -> Tensor:
        outputs, inputs, kernel = self.weight.shape[-3:]
        if kernel == 1:
            return grouped_linear(x, self.weight.squeeze(-1))
        if inputs <= outputs:  # narrow input: K copies of it are cheaper than K outputs
            windows = x.unfold(-2, kernel, 1).flatten(-2)
            return grouped_linear(windows, self.weight.flatten(-2))
        taps = self.weight.movedim(-1, -3).flatten(-3, -2)  # (*G, K * O, I): all taps in one product, then shifted sums
        y = grouped_linear(x, taps).unflatten(-1, (kernel, outputs))
        steps = x.shape[-2] - kernel + 1
        return sum((y[..., k : k + steps, k, :] for k in range(1, kernel)), start=y[..., :steps, 0, :])


class LayerNorm(nn.Module):
    """Normalises the last axis of x (*G, *batch, D), eps 1e-5. weight and bias (*G, D)."""

    def __init__(self, width: int, groups: Sequence[int] = ()):
        super().__init__()
        self.weight = nn.Parameter(torch.ones(*groups, width))
        self.bias = nn.Parameter(torch.zeros(*groups, width))

    def forward(self, x: Tensor) -> Tensor:
        if self.weight.dim() == 1:
            return F.layer_norm(x, x.shape[-1:], self.weight, self.bias)
        over_batch = (*self.weight.shape[:-1], *[1] * (x.dim() - self.weight.dim()), x.shape[-1])
        normal = F.layer_norm(x, x.shape[-1:])
        return torch.addcmul(self.bias.view(over_batch), normal, self.weight.view(over_batch))


class BatchNorm1d(nn.Module):
    """Normalises each feature of x (*G, B, D) over B, eps 1e-5; running statistics with momentum 0.1.

    Training uses the batch's statistics and hands them out, `absorb` writes them; evaluation uses the running ones,
    as does a training batch of one, whose variance is undefined.
    """

    momentum, eps = 0.1, 1e-5

    def __init__(self, width: int):
        super().__init__()
        self.weight, self.bias = nn.Parameter(torch.ones(width)), nn.Parameter(torch.zeros(width))
        self.register_buffer("running_mean", torch.zeros(width))
        self.register_buffer("running_var", torch.ones(width))

    def forward(self, x: Tensor, training: bool) -> tuple[Tensor, dict[str, Tensor]]:
        """The normalised x, and the batch's `mean` and unbiased `var` (*G, D) for `absorb` (none in evaluation)."""
        rows = x.shape[-2]
        if not training or rows < 2:
            return self.scale(x, self.running_mean, self.running_var), {}
        var, mean = torch.var_mean(x, dim=-2, correction=0)
        unbiased = var.detach() * (rows / (rows - 1))
        return self.scale(x, mean, var), {"mean": mean.detach(), "var": unbiased}

    def scale(self, x: Tensor, mean: Tensor, var: Tensor) -> Tensor:
        gain = self.weight * torch.rsqrt(var + self.eps)
        return torch.addcmul(self.bias.unsqueeze(-2), x - mean.unsqueeze(-2), gain.unsqueeze(-2))

    @torch.no_grad()
    def absorb(self, mean: Tensor, var: Tensor) -> None:
        """Move the running statistics towards a batch's: to be called in `observe`."""
        self.running_mean.lerp_(mean, self.momentum)
        self.running_var.lerp_(var, self.momentum)
