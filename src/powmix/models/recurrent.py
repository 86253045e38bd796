"""A one-layer LSTM whose parameters may carry leading group axes (see layers.py).

Shape suffixes: G group axes flattened, B batch, L time steps, I input width, H state width, 4 the gates (i, f, g, o).
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

# cuDNN copies our separate weights into one block at every call: cheap at these sizes, and not the user's business.
warnings.filterwarnings("ignore", message="RNN module weights are not part of single contiguous chunk")

WIDE = 4096
"""Batch times state width from which, on a CPU, our loop with its single weight gradient beats PyTorch's LSTM."""


class LSTM(nn.Module):
    """x (*G, B, L, I) -> states (*G, B, L, H). weight_ih (*G, 4H, I), weight_hh (*G, 4H, H), biases (*G, 4H)."""

    def __init__(self, inputs: int, width: int, groups: Sequence[int] = ()):
        super().__init__()
        self.width = width
        bound = 1 / math.sqrt(width)
        for name, shape in {
            "weight_ih": (4 * width, inputs),
            "weight_hh": (4 * width, width),
            "bias_ih": (4 * width,),
            "bias_hh": (4 * width,),
        }.items():
            setattr(self, name, nn.Parameter(torch.empty(*groups, *shape).uniform_(-bound, bound)))

    def forward(self, x: Tensor) -> Tensor:
        """The state after every step."""
        weights = [self.weight_ih, self.weight_hh, self.bias_ih, self.bias_hh]
        groups = self.weight_ih.shape[:-2]
        if not groups:
            return _one(x, weights)
        if x.is_cuda:
            return _together(x, weights)
        parts = zip(x.flatten(0, len(groups) - 1), *(weight.flatten(0, len(groups) - 1) for weight in weights))
        return torch.stack([_one(part, own) for part, *own in parts]).unflatten(0, groups)

    def final(self, x: Tensor, lengths: Tensor | None = None, side: str = "right") -> Tensor:
        """The state (*G, B, H) after the last step, or after the last of each sequence's `lengths` (*G, B) valid steps.

        side: where the sequences are padded; steps of left padding are not read.
        """
        if lengths is None:
            return self(x)[..., -1, :]
        last = lengths.clamp(1, x.shape[-2]) - 1
        if side == "left":
            x = first_valid_first(x, last + 1)
        return select_step(self(x), last)


def _one(x: Tensor, weights: Sequence[Tensor]) -> Tensor:
    """One LSTM over x (B, L, I): PyTorch's fused one, or our loop where it is quicker, on a CPU with wide states."""
    batch, width = x.shape[0], weights[1].shape[-1]
    if not x.is_cuda and batch * width >= WIDE:
        return _together(x.unsqueeze(0), [weight.unsqueeze(0) for weight in weights]).squeeze(0)
    zero = x.new_zeros(1, batch, width)
    return torch._VF.lstm(x, (zero, zero), weights, True, 1, 0.0, torch.is_grad_enabled(), False, True)[0]


def _together(x: Tensor, weights: Sequence[Tensor]) -> Tensor:
    """All groups step by step: x (*G, B, L, I) -> (*G, B, L, H)."""
    weight_ih, weight_hh, bias_ih, bias_hh = weights
    (batch, steps, inputs), (four, width) = x.shape[-3:], weight_hh.shape[-2:]
    bias_G14 = (bias_ih + bias_hh).reshape(-1, 1, four)
    weight_GI4 = weight_ih.reshape(-1, four, inputs).transpose(1, 2)
    gates = torch.baddbmm(bias_G14, x.reshape(-1, batch * steps, inputs), weight_GI4).unflatten(1, (batch, steps))
    weight_G4H = weight_hh.reshape(-1, four, width)
    states = Recurrence.apply(gates.permute(2, 0, 1, 3).float(), weight_G4H.float())
    return states.permute(1, 2, 0, 3).reshape(*x.shape[:-1], width)


class Recurrence(torch.autograd.Function):
    """The time loop of G LSTMs; back-propagation through time written out, with one weight gradient for all steps."""

    @staticmethod
    def forward(ctx: Any, gates_LGB4: Tensor, weight_G4H: Tensor) -> Tensor:
        steps, groups, batch, four = gates_LGB4.shape
        width = four // 4
        gates = gates_LGB4.contiguous().clone()
        cells = gates.new_zeros(steps + 1, groups, batch, width)
        states = gates.new_zeros(steps + 1, groups, batch, width)
        weight_GH4 = weight_G4H.transpose(1, 2)
        with torch.autocast(gates.device.type, enabled=False):
            for t in range(steps):
                gates[t].baddbmm_(states[t], weight_GH4)
                i, f, g, o = gates[t].split(width, dim=-1)
                gates[t, ..., : 2 * width].sigmoid_()
                g.tanh_()
                o.sigmoid_()
                torch.mul(f, cells[t], out=cells[t + 1]).addcmul_(i, g)
                torch.mul(o, torch.tanh(cells[t + 1]), out=states[t + 1])
        ctx.save_for_backward(gates, cells, states, weight_G4H)
        return states[1:]

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad_LGBH: Tensor) -> tuple[Tensor, Tensor]:
        gates, cells, states, weight_G4H = ctx.saved_tensors
        steps, width = grad_LGBH.shape[0], grad_LGBH.shape[-1]
        delta = torch.empty_like(gates)
        cell = torch.zeros_like(cells[0])
        state = torch.zeros_like(cells[0])
        for t in reversed(range(steps)):
            i, f, g, o = gates[t].split(width, dim=-1)
            d_i, d_f, d_g, d_o = delta[t].split(width, dim=-1)
            state = state + grad_LGBH[t]
            tanh = torch.tanh(cells[t + 1])
            cell.addcmul_(state * o, 1 - tanh * tanh)
            torch.mul(state * tanh * o, 1 - o, out=d_o)
            torch.mul(cell * g * i, 1 - i, out=d_i)
            torch.mul(cell * cells[t] * f, 1 - f, out=d_f)
            torch.mul(cell * i, 1 - g * g, out=d_g)
            state = torch.bmm(delta[t], weight_G4H)
            cell.mul_(f)
        delta_G4N = delta.permute(1, 3, 0, 2).flatten(2)
        states_GNH = states[:-1].permute(1, 0, 2, 3).flatten(1, 2)
        return delta, torch.bmm(delta_G4N, states_GNH)


def select_step(x: Tensor, step: Tensor) -> Tensor:
    """From x (..., L, D) the step (...) of each sequence: (..., D)."""
    index = step[..., None, None].expand(*step.shape, 1, x.shape[-1])
    return x.gather(-2, index).squeeze(-2)


def first_valid_first(x: Tensor, lengths: Tensor) -> Tensor:
    """Left-padded sequences x (..., L, D) of `lengths` (...) valid steps, moved to be padded on the right."""
    steps = x.shape[-2]
    index = torch.arange(steps, device=x.device) + (steps - lengths).unsqueeze(-1)
    return x.gather(-2, (index % steps).unsqueeze(-1).expand_as(x))
