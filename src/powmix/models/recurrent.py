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

WIDE = 10240
"""Batch times input width from which, on a CPU, our loop beats PyTorch's LSTM: one weight gradient, no padding."""
MOSTLY = 0.8
"""Share of input rows in use from which all are multiplied."""


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
    """One LSTM over x (B, L, I): PyTorch's fused one, or our loop where it is quicker, on a CPU with wide inputs."""
    batch, width = x.shape[0], weights[1].shape[-1]
    if not x.is_cuda and batch * x.shape[-1] >= WIDE:
        return _together(x.unsqueeze(0), [weight.unsqueeze(0) for weight in weights]).squeeze(0)
    zero = x.new_zeros(1, batch, width)
    return torch._VF.lstm(x, (zero, zero), weights, True, 1, 0.0, torch.is_grad_enabled(), False, True)[0]


def _together(x: Tensor, weights: Sequence[Tensor]) -> Tensor:
    """All groups step by step, in float32: x (*G, B, L, I) -> (*G, B, L, H)."""
    weight_ih, weight_hh, bias_ih, bias_hh = weights
    ends = (weight_ih.shape[-2:], weight_hh.shape[-2:], weight_ih.shape[-2:-1])
    parts = (part.reshape(-1, *end) for part, end in zip((weight_ih, weight_hh, bias_ih + bias_hh), ends))
    states_LGBH = TimeLoop.apply(x.reshape(-1, *x.shape[-3:]).float(), *(part.float() for part in parts))
    return states_LGBH.permute(1, 2, 0, 3).reshape(*x.shape[:-1], weight_hh.shape[-1])


class TimeLoop(torch.autograd.Function):
    """The steps of G LSTMs; back-propagation through time written out, with one weight gradient for all steps.

    On a CPU, input rows that are all zero (padding) are left out of the products with weight_ih: they add nothing.
    """

    @staticmethod
    def forward(ctx: Any, x_GBLI: Tensor, weight_G4I: Tensor, weight_G4H: Tensor, bias_G4: Tensor) -> Tensor:
        groups, batch, steps, _ = x_GBLI.shape
        width = weight_G4H.shape[-1]
        rows = _rows_in_use(x_GBLI.flatten(1, 2))
        with torch.autocast(x_GBLI.device.type, enabled=False):
            gates = _projected(x_GBLI, weight_G4I, bias_G4, rows)
            cells, states = (gates.new_zeros(steps + 1, groups, batch, width) for _ in range(2))
            tanhs = torch.empty_like(cells[1:])
            weight_GH4 = weight_G4H.transpose(1, 2)
            for t in range(steps):
                gates[t].baddbmm_(states[t], weight_GH4)
                i, f, g, o = gates[t].split(width, dim=-1)
                gates[t, ..., : 2 * width].sigmoid_()
                g.tanh_()
                o.sigmoid_()
                torch.mul(f, cells[t], out=cells[t + 1]).addcmul_(i, g)
                torch.tanh(cells[t + 1], out=tanhs[t])
                torch.mul(o, tanhs[t], out=states[t + 1])
        ctx.save_for_backward(x_GBLI, weight_G4I, weight_G4H, gates, cells, states, tanhs)
        ctx.rows = rows
        return states[1:]

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad_LGBH: Tensor) -> tuple[Tensor | None, ...]:
        x_GBLI, weight_G4I, weight_G4H, gates, cells, states, tanhs = ctx.saved_tensors
        slopes, through = _slopes(gates, cells[:-1], tanhs)
        forget = gates.unflatten(-1, (4, -1))[..., 1, :]
        cell, state = torch.zeros_like(cells[0]), torch.zeros_like(cells[0])
        for t in reversed(range(len(grad_LGBH))):
            state += grad_LGBH[t]
            cell.addcmul_(state, through[t])
            slopes[t, ..., :3, :].mul_(cell.unsqueeze(-2))
            slopes[t, ..., 3, :].mul_(state)
            torch.bmm(slopes[t].flatten(-2), weight_G4H, out=state)
            cell.mul_(forget[t])
        delta_LGB4 = slopes.flatten(-2)
        delta_G4N = delta_LGB4.transpose(0, 1).flatten(1, 2).transpose(1, 2)
        d_weight_hh = torch.bmm(delta_G4N, states[:-1].transpose(0, 1).flatten(1, 2))
        d_x = torch.matmul(delta_LGB4.permute(1, 2, 0, 3), weight_G4I.unsqueeze(1)) if ctx.needs_input_grad[0] else None
        return d_x, _weight_gradient(x_GBLI, delta_LGB4, ctx.rows), d_weight_hh, delta_LGB4.sum((0, 2))


def _rows_in_use(x_GNI: Tensor) -> list[Tensor] | None:
    """By group, the rows that are not all zero; None where leaving out the others does not pay."""
    if x_GNI.is_cuda:
        return None  # finding them would wait for the device
    used_GN = (x_GNI.detach().amax(-1) != 0) | (x_GNI.detach().amin(-1) != 0)
    if used_GN.float().mean() > MOSTLY:
        return None
    return [used_N.nonzero().squeeze(-1) for used_N in used_GN]


def _projected(x_GBLI: Tensor, weight_G4I: Tensor, bias_G4: Tensor, rows: list[Tensor] | None) -> Tensor:
    """The input's part of the gates, time first: (L, G, B, 4H)."""
    batch, steps = x_GBLI.shape[1:3]
    weight_GI4 = weight_G4I.transpose(1, 2)
    if rows is None:
        gates = torch.baddbmm(bias_G4.unsqueeze(1), x_GBLI.flatten(1, 2), weight_GI4)
        return gates.unflatten(1, (batch, steps)).permute(2, 0, 1, 3).contiguous()
    gates = bias_G4.unsqueeze(1).repeat(steps, 1, batch, 1)
    for g, used in enumerate(rows):
        part = torch.addmm(bias_G4[g], x_GBLI[g].flatten(0, 1)[used], weight_GI4[g])
        gates.view(-1, gates.shape[-1]).index_copy_(0, _time_first(used, g, gates.shape), part)
    return gates


def _weight_gradient(x_GBLI: Tensor, delta_LGB4: Tensor, rows: list[Tensor] | None) -> Tensor:
    """The gradient of the input's weights (G, 4H, I)."""
    if rows is None:
        delta_GN4 = delta_LGB4.permute(1, 2, 0, 3).flatten(1, 2)
        return torch.bmm(delta_GN4.transpose(1, 2), x_GBLI.flatten(1, 2))
    flat = delta_LGB4.view(-1, delta_LGB4.shape[-1])
    return torch.stack(
        [
            flat[_time_first(used, g, delta_LGB4.shape)].t() @ x_GBLI[g].flatten(0, 1)[used]
            for g, used in enumerate(rows)
        ]
    )


def _time_first(row: Tensor, group: int, shape: torch.Size) -> Tensor:
    """Where rows of (B, L) stand in (L, G, B)."""
    steps, groups, batch = shape[:3]
    return (row % steps) * (groups * batch) + group * batch + row // steps


def _slopes(gates: Tensor, before: Tensor, tanhs: Tensor) -> tuple[Tensor, Tensor]:
    """Derivatives that do not depend on the future: of each gate's pre-activation (L, G, B, 4, H), by the cell for i, f
    and g, by the state for o; and of the state by the cell (L, G, B, H). `before`: cells before each step.
    """
    gates = gates.unflatten(-1, (4, -1))
    slopes = torch.empty_like(gates)
    i, f, g, o = gates.unbind(-2)
    d_i, d_f, d_g, d_o = slopes.unbind(-2)
    torch.mul(g, i, out=d_i).addcmul_(d_i, i, value=-1)
    torch.mul(before, f, out=d_f).addcmul_(d_f, f, value=-1)
    torch.addcmul(i, i, g * g, value=-1, out=d_g)
    torch.mul(tanhs, o, out=d_o)
    through = torch.addcmul(o, d_o, tanhs, value=-1)
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
