"""A one-layer LSTM, read at every step or at the last valid one.

Shape suffixes: B batch, L time steps, N = B * L rows, I input width, H state width, 4 the gates (i, f, g, o).
"""

from __future__ import annotations

import math
import warnings
from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

# cuDNN copies our separate weights into one block at every call: cheap at these sizes, and not the user's business.
warnings.filterwarnings("ignore", message="RNN module weights are not part of single contiguous chunk")

WIDE = 10240
"""Batch times input width from which, on a CPU, our loop over time is quicker than PyTorch's LSTM."""
MOSTLY = 0.8
"""Share of input rows in use from which all are multiplied."""


class LSTM(nn.Module):
    """An LSTM over x (B, L, I), from a zero state. weight_ih (4H, I), weight_hh (4H, H), bias_ih and bias_hh (4H)."""

    weight_ih: Tensor
    weight_hh: Tensor
    bias_ih: Tensor
    bias_hh: Tensor

    def __init__(self, inputs: int, width: int):
        super().__init__()
        self.width = width
        bound = 1 / math.sqrt(width)
        for name, shape in {
            "weight_ih": (4 * width, inputs),
            "weight_hh": (4 * width, width),
            "bias_ih": (4 * width,),
            "bias_hh": (4 * width,),
        }.items():
            setattr(self, name, nn.Parameter(torch.empty(shape).uniform_(-bound, bound)))

    def forward(self, x: Tensor) -> Tensor:
        """The state after every step (B, L, H), computed in float32 also under autocast."""
        x = x.float()
        with torch.autocast(x.device.type, enabled=False):
            if not x.is_cuda and x.shape[0] * x.shape[-1] >= WIDE:
                states_LBH = TimeLoop.apply(x, self.weight_ih, self.weight_hh, self.bias_ih + self.bias_hh)
                return states_LBH.transpose(0, 1)
            zero = x.new_zeros(1, x.shape[0], self.width)
            weights = [self.weight_ih, self.weight_hh, self.bias_ih, self.bias_hh]
            return torch.lstm(x, (zero, zero), weights, True, 1, 0.0, torch.is_grad_enabled(), False, True)[0]

    def final(self, x: Tensor, lengths: Tensor | None = None, side: str = "right") -> Tensor:
        """The state (B, H) after the last step, or after the last of each sequence's `lengths` (B,) valid steps.

        side: where the sequences are padded; steps of left padding are not read.
        """
        if lengths is None:
            return self(x)[:, -1]
        last = lengths.clamp(1, x.shape[-2]) - 1
        if side == "left":
            x = first_valid_first(x, last + 1)
        return select_step(self(x), last)


class TimeLoop(torch.autograd.Function):
    """The steps of an LSTM, with back-propagation through time written out: states (L, B, H) from x (B, L, I).

    Against PyTorch's LSTM a training step of LF-DNN (one CPU thread) is 2.5 times quicker at MOSI's aligned sizes and
    2.1 times at MOSEI's unaligned ones, a step of TFN 1.3 times, where padded text is zero; where no row of the text is
    zero (data/text.py writes every step) 1.3 and 1.1 times. The weights' gradient is one product for all steps
    instead of one a step, and input rows that are all zero (padding) are left out of the products with weight_ih.
    """

    @staticmethod
    def forward(ctx: Any, x_BLI: Tensor, weight_4I: Tensor, weight_4H: Tensor, bias_4: Tensor) -> Tensor:
        batch, steps, _ = x_BLI.shape
        width = weight_4H.shape[-1]
        rows_N = _rows_in_use(x_BLI)
        gates_LB4 = _projected(x_BLI, weight_4I, bias_4, rows_N)
        cells, states = (x_BLI.new_zeros(steps + 1, batch, width) for _ in range(2))
        tanhs = torch.empty_like(cells[1:])
        for t in range(steps):
            gates = gates_LB4[t].addmm_(states[t], weight_4H.T)
            i, f, g, o = gates.split(width, dim=-1)
            gates[:, : 2 * width].sigmoid_()
            g.tanh_()
            o.sigmoid_()
            torch.mul(f, cells[t], out=cells[t + 1]).addcmul_(i, g)
            torch.tanh(cells[t + 1], out=tanhs[t])
            torch.mul(o, tanhs[t], out=states[t + 1])
        ctx.save_for_backward(x_BLI, weight_4I, weight_4H, gates_LB4, cells, states, tanhs, rows_N)
        return states[1:]

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad_LBH: Tensor) -> tuple[Tensor | None, ...]:
        x_BLI, weight_4I, weight_4H, gates_LB4, cells, states, tanhs, rows_N = ctx.saved_tensors
        slopes_LB4H, through_LBH = _slopes(gates_LB4.unflatten(-1, (4, -1)), cells[:-1], tanhs)
        forget_LBH = gates_LB4.unflatten(-1, (4, -1))[..., 1, :]
        cell, state = torch.zeros_like(cells[0]), torch.zeros_like(cells[0])
        for t in reversed(range(len(grad_LBH))):
            state += grad_LBH[t]
            cell.addcmul_(state, through_LBH[t])
            slopes_LB4H[t, :, :3].mul_(cell.unsqueeze(1))
            slopes_LB4H[t, :, 3].mul_(state)
            torch.mm(slopes_LB4H[t].flatten(1), weight_4H, out=state)
            cell.mul_(forget_LBH[t])
        delta_LB4 = slopes_LB4H.flatten(-2)
        d_weight_hh = delta_LB4.flatten(0, 1).T @ states[:-1].flatten(0, 1)
        d_x = delta_LB4.transpose(0, 1) @ weight_4I if ctx.needs_input_grad[0] else None
        return d_x, _weight_gradient(x_BLI, delta_LB4, rows_N), d_weight_hh, delta_LB4.sum((0, 1))


def _rows_in_use(x_BLI: Tensor) -> Tensor | None:
    """The rows, of B * L, that are not all zero; None where leaving out the others does not pay."""
    if x_BLI.is_cuda:
        return None  # finding them would wait for the device
    used_N = ((x_BLI.detach().amax(-1) != 0) | (x_BLI.detach().amin(-1) != 0)).flatten()
    return None if used_N.float().mean() > MOSTLY else used_N.nonzero().squeeze(-1)


def _projected(x_BLI: Tensor, weight_4I: Tensor, bias_4: Tensor, rows_N: Tensor | None) -> Tensor:
    """The input's part of the gates, time first: (L, B, 4H)."""
    batch, steps, _ = x_BLI.shape
    if rows_N is None:
        gates_N4 = torch.addmm(bias_4, x_BLI.flatten(0, 1), weight_4I.T)
        return gates_N4.unflatten(0, (batch, steps)).transpose(0, 1).contiguous()
    gates_LB4 = bias_4.repeat(steps, batch, 1)
    part_N4 = torch.addmm(bias_4, x_BLI.flatten(0, 1)[rows_N], weight_4I.T)
    gates_LB4.flatten(0, 1).index_copy_(0, _time_first(rows_N, batch, steps), part_N4)
    return gates_LB4


def _weight_gradient(x_BLI: Tensor, delta_LB4: Tensor, rows_N: Tensor | None) -> Tensor:
    """The gradient of the input's weights (4H, I)."""
    batch, steps, _ = x_BLI.shape
    x_NI = x_BLI.flatten(0, 1)
    if rows_N is None:
        return delta_LB4.transpose(0, 1).flatten(0, 1).T @ x_NI
    return delta_LB4.flatten(0, 1)[_time_first(rows_N, batch, steps)].T @ x_NI[rows_N]


def _time_first(row_N: Tensor, batch: int, steps: int) -> Tensor:
    """Where rows of (B, L) stand in (L, B)."""
    return (row_N % steps) * batch + row_N // steps


def _slopes(gates_LB4H: Tensor, before_LBH: Tensor, tanhs_LBH: Tensor) -> tuple[Tensor, Tensor]:
    """The derivatives that do not depend on later steps.

    First (L, B, 4, H): of each gate's pre-activation, by the cell for i, f and g, by the state for o. Then (L, B, H):
    of the state by the cell. before: the cells before each step.
    """
    slopes = torch.empty_like(gates_LB4H)
    i, f, g, o = gates_LB4H.unbind(-2)
    d_i, d_f, d_g, d_o = slopes.unbind(-2)
    torch.mul(g, i, out=d_i).addcmul_(d_i, i, value=-1)
    torch.mul(before_LBH, f, out=d_f).addcmul_(d_f, f, value=-1)
    torch.addcmul(i, i, g * g, value=-1, out=d_g)
    torch.mul(tanhs_LBH, o, out=d_o)
    through = torch.addcmul(o, d_o, tanhs_LBH, value=-1)
    d_o.addcmul_(d_o, o, value=-1)
    return slopes, through


def select_step(x: Tensor, step: Tensor) -> Tensor:
    """From x (..., L, D) the step (...) of each sequence: (..., D)."""
    index = step[..., None, None].expand(*step.shape, 1, x.shape[-1])
    return x.gather(-2, index).squeeze(-2)


def first_valid_first(x: Tensor, lengths: Tensor) -> Tensor:
    """Left-padded sequences x (..., L, D) of `lengths` (...) valid steps, moved to be padded on the right."""
    steps = x.shape[-2]
    index = torch.arange(steps, device=x.device) + (steps - lengths).unsqueeze(-1)
    return x.gather(-2, (index % steps).unsqueeze(-1).expand_as(x))
