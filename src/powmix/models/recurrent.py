"""A one-layer LSTM, read at every step or at the last valid one.

Shape suffixes: B batch, L time steps, T steps of all sequences together, N rows of B * L, I input width, H state width,
4 the gates (i, f, g, o).
"""

from __future__ import annotations

import math
import warnings
from typing import Any, NamedTuple

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
            if self.loops(x):
                states_TH = self.loop(x, Rows.padded(x))
                return states_TH.unflatten(0, (x.shape[1], x.shape[0])).transpose(0, 1)
            zero = x.new_zeros(1, x.shape[0], self.width)
            weights = [self.weight_ih, self.weight_hh, self.bias_ih, self.bias_hh]
            return torch.lstm(x, (zero, zero), weights, True, 1, 0.0, torch.is_grad_enabled(), False, True)[0]

    def final(self, x: Tensor, lengths: Tensor | None = None, side: str = "right") -> Tensor:
        """The state (B, H) after the last step, or after the last of each sequence's `lengths` (B,) valid steps.

        side: where the sequences are padded; padding is not read.
        """
        if lengths is None:
            return self(x)[:, -1]
        lengths = lengths.clamp(1, x.shape[1])
        if self.loops(x):
            rows, end_B = Rows.valid(lengths, side, x.shape[1])
            with torch.autocast(x.device.type, enabled=False):
                return self.loop(x.float(), rows)[end_B]
        if side == "left":
            x = first_valid_first(x, lengths)
        return select_step(self(x[:, : int(lengths.max())]), lengths - 1)

    def loops(self, x: Tensor) -> bool:
        """Whether the steps of x are our own loop."""
        return not x.is_cuda and x.shape[0] * x.shape[-1] >= WIDE

    def loop(self, x: Tensor, rows: Rows) -> Tensor:
        return TimeLoop.apply(x, self.weight_ih, self.weight_hh, self.bias_ih + self.bias_hh, rows)


class Rows(NamedTuple):
    """Which steps of x (B, L, I) an LSTM takes, T in all, time first.

    running: how many sequences take each step, never more than the step before. index (N,): the rows of (B * L) that
    are multiplied with weight_ih; None: all. place (N,): where each stands among the T; None: in this order.
    """

    running: list[int]
    index_N: Tensor | None = None
    place_N: Tensor | None = None

    @classmethod
    def padded(cls, x_BLI: Tensor) -> Rows:
        """All steps of all sequences; rows that are all zero need no product."""
        batch, steps, _ = x_BLI.shape
        used_N = ((x_BLI.detach().amax(-1) != 0) | (x_BLI.detach().amin(-1) != 0)).flatten()
        if used_N.float().mean() > MOSTLY:
            return cls([batch] * steps)
        index_N = used_N.nonzero().squeeze(-1)
        return cls([batch] * steps, index_N, (index_N % steps) * batch + index_N // steps)

    @classmethod
    def valid(cls, lengths_B: Tensor, side: str, steps: int) -> tuple[Rows, Tensor]:
        """The valid steps alone, the longest sequence first, and where among the T each sequence ends (B,)."""
        sorted_B, order_B = lengths_B.sort(descending=True, stable=True)
        taken_LB = torch.arange(int(sorted_B[0])).unsqueeze(-1) < sorted_B
        step_T, rank_T = taken_LB.nonzero(as_tuple=True)
        start_B = order_B * steps + (steps - sorted_B if side == "left" else 0)
        running_L = taken_LB.sum(-1)
        begin_L = running_L.cumsum(0) - running_L
        end_B = begin_L[lengths_B - 1] + order_B.argsort()
        return cls(running_L.tolist(), start_B[rank_T] + step_T), end_B

    def spans(self) -> list[tuple[slice, slice, slice]]:
        """By step: where it stands among the T; and before and after it, of B zero rows and then the T."""
        found, batch, start, before = [], self.running[0], 0, 0
        for count in self.running:
            now, after = slice(start, start + count), batch + start
            found.append((now, slice(before, before + count), slice(after, after + count)))
            start, before = start + count, after
        return found

    def before(self, x_TH: Tensor) -> Tensor:
        """What stands before each of the T steps, of B zero rows and then the T."""
        if self.running[0] == self.running[-1]:
            return x_TH[: -self.running[-1]]
        return torch.cat([x_TH[before] for _, before, _ in self.spans()])


class TimeLoop(torch.autograd.Function):
    """The steps of an LSTM, with back-propagation through time written out: states (T, H) of the rows of x (B, L, I).

    Against PyTorch's LSTM a training step of LF-DNN (one CPU thread) is 2.5 times quicker at MOSI's aligned sizes and
    2.1 times at MOSEI's unaligned ones, a step of TFN 1.3 times, where padded text is zero; where no row of the text is
    zero (data/text.py writes every step) 1.3 and 1.1 times. The weights' gradient is one product for all steps
    instead of one a step, and input rows that are all zero (padding) are left out of the products with weight_ih.
    """

    @staticmethod
    def forward(ctx: Any, x_BLI: Tensor, weight_4I: Tensor, weight_4H: Tensor, bias_4: Tensor, rows: Rows) -> Tensor:
        batch, total, width = len(x_BLI), sum(rows.running), weight_4H.shape[-1]
        gates_T4 = _projected(x_BLI, weight_4I, bias_4, rows)
        cells, states = (x_BLI.new_zeros(batch + total, width) for _ in range(2))
        tanhs = x_BLI.new_empty(total, width)
        for now, before, after in rows.spans():
            gates = gates_T4[now].addmm_(states[before], weight_4H.T)
            i, f, g, o = gates.split(width, dim=-1)
            gates[:, : 2 * width].sigmoid_()
            g.tanh_()
            o.sigmoid_()
            torch.mul(f, cells[before], out=cells[after]).addcmul_(i, g)
            torch.tanh(cells[after], out=tanhs[now])
            torch.mul(o, tanhs[now], out=states[after])
        ctx.save_for_backward(x_BLI, weight_4I, weight_4H, gates_T4, cells, states, tanhs)
        ctx.rows = rows
        return states[batch:]

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad_TH: Tensor) -> tuple[Tensor | None, ...]:
        x_BLI, weight_4I, weight_4H, gates_T4, cells, states, tanhs = ctx.saved_tensors
        rows, batch = ctx.rows, len(x_BLI)
        slopes_T4H, through_TH = _slopes(gates_T4.unflatten(-1, (4, -1)), rows.before(cells), tanhs)
        forget_TH = gates_T4.unflatten(-1, (4, -1))[:, 1]
        d_cells, d_states = (torch.zeros_like(cells[:batch]) for _ in range(2))
        for now, _, _ in reversed(rows.spans()):
            running = now.stop - now.start
            cell, state = d_cells[:running], d_states[:running]
            state += grad_TH[now]
            cell.addcmul_(state, through_TH[now])
            slopes_T4H[now, :3].mul_(cell.unsqueeze(1))
            slopes_T4H[now, 3].mul_(state)
            torch.mm(slopes_T4H[now].flatten(1), weight_4H, out=state)
            cell.mul_(forget_TH[now])
        delta_T4 = slopes_T4H.flatten(-2)
        d_weight_hh = delta_T4.T @ rows.before(states)
        d_x = _input_gradient(x_BLI, delta_T4, weight_4I, rows) if ctx.needs_input_grad[0] else None
        return d_x, _weight_gradient(x_BLI, delta_T4, rows), d_weight_hh, delta_T4.sum(0), None


def _projected(x_BLI: Tensor, weight_4I: Tensor, bias_4: Tensor, rows: Rows) -> Tensor:
    """The input's part of the gates (T, 4H)."""
    x_NI = x_BLI.flatten(0, 1)
    if rows.index_N is None:
        return _swapped(torch.addmm(bias_4, x_NI, weight_4I.T), *x_BLI.shape[:2])
    part_N4 = torch.addmm(bias_4, x_NI[rows.index_N], weight_4I.T)
    if rows.place_N is None:
        return part_N4
    return bias_4.repeat(sum(rows.running), 1).index_copy_(0, rows.place_N, part_N4)


def _weight_gradient(x_BLI: Tensor, delta_T4: Tensor, rows: Rows) -> Tensor:
    """The gradient of the input's weights (4H, I)."""
    x_NI = x_BLI.flatten(0, 1)
    if rows.index_N is None:
        return _swapped(delta_T4, x_BLI.shape[1], len(x_BLI)).T @ x_NI
    part_N4 = delta_T4 if rows.place_N is None else delta_T4[rows.place_N]
    return part_N4.T @ x_NI[rows.index_N]


def _input_gradient(x_BLI: Tensor, delta_T4: Tensor, weight_4I: Tensor, rows: Rows) -> Tensor:
    d_TI = delta_T4 @ weight_4I
    if rows.index_N is None or rows.place_N is not None:  # all steps were taken
        return _swapped(d_TI, x_BLI.shape[1], len(x_BLI)).view_as(x_BLI)
    return torch.zeros_like(x_BLI).flatten(0, 1).index_copy_(0, rows.index_N, d_TI).view_as(x_BLI)


def _swapped(x_NI: Tensor, first: int, second: int) -> Tensor:
    """Rows in the order of (first, second) in that of (second, first)."""
    return x_NI.unflatten(0, (first, second)).transpose(0, 1).flatten(0, 1)


def _slopes(gates_T4H: Tensor, before_TH: Tensor, tanhs_TH: Tensor) -> tuple[Tensor, Tensor]:
    """The derivatives that do not depend on later steps.

    First (T, 4, H): of each gate's pre-activation, by the cell for i, f and g, by the state for o. Then (T, H): of the
    state by the cell. before: the cells before each step.
    """
    slopes = torch.empty_like(gates_T4H)
    i, f, g, o = gates_T4H.unbind(-2)
    d_i, d_f, d_g, d_o = slopes.unbind(-2)
    torch.mul(g, i, out=d_i).addcmul_(d_i, i, value=-1)
    torch.mul(before_TH, f, out=d_f).addcmul_(d_f, f, value=-1)
    torch.addcmul(i, i, g * g, value=-1, out=d_g)
    torch.mul(tanhs_TH, o, out=d_o)
    through = torch.addcmul(o, d_o, tanhs_TH, value=-1)
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
