"""A linear layer on the dropped-out outer product of three vectors, of which only a cacheful exists at a time.

Shape suffixes: S seeds, R rows; A, V, T the widths of the three vectors; H outputs.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from powmix.models.dropout import Noise

PIECE = {"cpu": 2**17}
"""Entries of the product at a time, by device; at least one entry of the first vector with all of the others."""


def outer_linear(vectors: Sequence[Tensor], weight: Tensor, bias: Tensor, rate: float, noise: Noise | None) -> Tensor:
    """D(a x v x t) W^T + b: (*S, R, H) from (*S, R, A | V | T), weight (*S, H, A * V * T) and bias (*S, H)."""
    keep, scale = None, 1.0
    if noise is not None and rate > 0:
        rows, (a, v, t) = vectors[0].shape[:-1], (x.shape[-1] for x in vectors)
        keep = noise.keep((*rows, a * v, t), rate, weight.device).view(-1, rows[-1], a * v * t)
        scale = 1 / (1 - rate) if rate < 1 else 0.0
    flat = (x.reshape(-1, *x.shape[-2:]).float() for x in (*vectors, weight))
    with torch.autocast(weight.device.type, enabled=False):
        product = _OuterLinear.apply(*flat, keep)
    return torch.add(bias.unsqueeze(-2), product.view(*vectors[0].shape[:-1], -1), alpha=scale)


class _OuterLinear(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, a_SRA: Tensor, v_SRV: Tensor, t_SRT: Tensor, weight_SHP: Tensor, keep_SRP: Tensor | None
    ) -> Tensor:
        y_SRH = a_SRA.new_zeros(*a_SRA.shape[:2], weight_SHP.shape[1])
        for s, some, span in _pieces(a_SRA, v_SRV, t_SRT):
            product, _ = _product(a_SRA[s, :, some], v_SRV[s], t_SRT[s], _of(keep_SRP, s, span))
            y_SRH[s].addmm_(product.flatten(1), weight_SHP[s, :, span].T)
        ctx.save_for_backward(a_SRA, v_SRV, t_SRT, weight_SHP, keep_SRP)
        return y_SRH

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad_SRH: Tensor) -> tuple[Tensor | None, ...]:
        a_SRA, v_SRV, t_SRT, weight_SHP, keep_SRP = ctx.saved_tensors
        d_a, d_v, d_t = torch.empty_like(a_SRA), torch.zeros_like(v_SRV), torch.zeros_like(t_SRT)
        d_weight = torch.empty_like(weight_SHP)
        for s, some, span in _pieces(a_SRA, v_SRV, t_SRT):
            a, v, t, grad = a_SRA[s, :, some], v_SRV[s], t_SRT[s], grad_SRH[s]
            product, kept = _product(a, v, t, _of(keep_SRP, s, span))
            torch.mm(grad.T, product.flatten(1), out=d_weight[s, :, span])
            d_product = torch.mm(grad, weight_SHP[s, :, span], out=product.flatten(1)).view_as(product)
            if kept is not None:
                d_product.mul_(kept)
            pair = (a.unsqueeze(-1) * v.unsqueeze(-2)).flatten(1)
            d_t[s] += torch.bmm(pair.unsqueeze(1), d_product).squeeze(1)
            d_pair = torch.bmm(d_product, t.unsqueeze(-1)).view(len(v), -1, v.shape[1])
            d_a[s, :, some] = torch.bmm(d_pair, v.unsqueeze(-1)).squeeze(-1)
            d_v[s] += torch.bmm(a.unsqueeze(1), d_pair).squeeze(1)
        return d_a, d_v, d_t, d_weight, None


def _pieces(a_SRA: Tensor, v_SRV: Tensor, t_SRT: Tensor) -> Iterator[tuple[int, slice, slice]]:
    """Seeds, parts of A, and where their products lie in the flattened product."""
    (seeds, rows, width), each = a_SRA.shape, v_SRV.shape[2] * t_SRT.shape[2]
    size = max(1, PIECE[a_SRA.device.type] // (rows * each)) if a_SRA.device.type in PIECE else width
    for s in range(seeds):
        for start in range(0, width, size):
            stop = min(start + size, width)
            yield s, slice(start, stop), slice(start * each, stop * each)


def _product(a_RA: Tensor, v_RV: Tensor, t_RT: Tensor, keep_RP: Tensor | None) -> tuple[Tensor, Tensor | None]:
    """The dropped-out product (R, A * V, T), and what was kept, as numbers."""
    pair_RP1 = (a_RA.unsqueeze(-1) * v_RV.unsqueeze(-2)).flatten(1).unsqueeze(-1)
    product = pair_RP1 * t_RT.unsqueeze(1)
    if keep_RP is None:
        return product, None
    kept = keep_RP.to(product.dtype).view_as(product)
    return product.mul_(kept), kept


def _of(keep_SRP: Tensor | None, s: int, span: slice) -> Tensor | None:
    return None if keep_SRP is None else keep_SRP[s, :, span]
