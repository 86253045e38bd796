"""The sublayers of MulT's encoders on a CPU, with as few passes over memory as their mathematics allows.

Same functions and results as sublayers.py, with the backward passes written out. Features come first: then all products
are plain ones, and what a bias adds or a norm sums lies in one run.
Shape suffixes: P leading axes (seeds, networks; flattened here), E width, B batch, L, Q and K steps, T = B * steps
tokens, F = 4 E; R = B * heads rows of attention, D = E / heads.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from powmix.models.block_attention import attend, attend_backward, draw_keep, scales
from powmix.models.dropout import Noise
from powmix.models.sublayers import Affine

EPS = 1e-5


def enter(x: Tensor) -> Tensor:
    """(*P, B, L, E) -> (*P, E, B, L)."""
    return x.movedim(-1, -3).contiguous()


def leave(x: Tensor) -> Tensor:
    """(*P, E, B, L) -> (*P, B, L, E)."""
    return x.movedim(-3, -1)


def mask(noise: Noise | None, rate: float, x: Tensor, width: int) -> Tensor | None:
    """A dropout mask (P, width, B, L), drawn in the order of (*P, B, L, width); None where nothing is dropped."""
    if noise is None or rate == 0:
        return None
    drawn = noise.mask(x.new_empty(*x.shape[:-3], *x.shape[-2:], width), rate)
    return enter(drawn.flatten(0, -4))


def normal(x: Tensor) -> Tensor:
    """Layer norm over the features of x (*P, E, B, L), without gain and shift."""
    return _Normal.apply(x.reshape(-1, *x.shape[-3:])).view(x.shape)


def attention(
    x: Tensor,
    source: tuple[Tensor, Tensor] | None,
    in_proj: Affine,
    out_proj: Affine,
    heads: int,
    bias: Tensor | None,
    rates: Sequence[float],
    noise: Noise | None,
    res_dropout: float,
) -> Tensor:
    """x + D(MHA(normal(x), source)); source: normalised keys' and values' inputs, None for self-attention."""
    flat = x.reshape(-1, *x.shape[-3:])
    keys = x if source is None else source[0]
    keep = draw_keep(noise, rates, (*x.shape[:-3], x.shape[-2], heads, x.shape[-1], keys.shape[-1]), x.device)
    scale = None if keep is None else torch.tensor(scales(rates)).repeat(len(flat) // len(rates)).unsqueeze(-1)
    key, value = (None, None) if source is None else (part.reshape(-1, *part.shape[-3:]) for part in source)
    residual = mask(noise, res_dropout, x, x.shape[-3])
    weights = (*_flat(in_proj), *_flat(out_proj))
    return _Attention.apply(flat, key, value, *weights, bias, keep, residual, heads, scale).view(x.shape)


def feed_forward(
    x: Tensor, fc_1: Affine, fc_2: Affine, relu_dropout: float, res_dropout: float, noise: Noise | None
) -> Tensor:
    """x + D(W2 D(ReLU(W1 normal(x))))."""
    inner = mask(noise, relu_dropout, x, fc_1[0].shape[-2])
    outer = mask(noise, res_dropout, x, x.shape[-3])
    flat = x.reshape(-1, *x.shape[-3:])
    return _FeedForward.apply(flat, *_flat(fc_1), *_flat(fc_2), inner, outer).view(x.shape)


class _Normal(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x_PEBL: Tensor) -> Tensor:
        n_PEBL, rate_P1BL = _normalise(x_PEBL)
        ctx.save_for_backward(n_PEBL, rate_P1BL)
        return n_PEBL

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad_PEBL: Tensor) -> Tensor:
        return _normalise_backward(grad_PEBL, *ctx.saved_tensors)


class _FeedForward(torch.autograd.Function):
    """Network by network: then the hidden layer stays in the cache between its two products."""

    @staticmethod
    def forward(
        ctx: Any,
        x_PEBL: Tensor,
        w1_PFE: Tensor,
        b1_PF: Tensor,
        w2_PEF: Tensor,
        b2_PE: Tensor,
        inner: Tensor | None,
        outer: Tensor | None,
    ) -> Tensor:
        x_PET = x_PEBL.flatten(2)
        n_PET, rate_P1T = _normalise(x_PET)
        h_PFT, y_PET = x_PET.new_empty(*w1_PFE.shape[:2], x_PET.shape[2]), torch.empty_like(x_PET)
        for p in range(len(x_PET)):
            h = torch.mm(w1_PFE[p], n_PET[p], out=h_PFT[p]).add_(b1_PF[p].unsqueeze(-1)).clamp_(min=0)
            if inner is not None:
                h.mul_(inner[p].flatten(1))
            torch.mm(w2_PEF[p], h, out=y_PET[p])
        ctx.save_for_backward(n_PET, rate_P1T, h_PFT, w1_PFE, w2_PEF, inner, outer)
        return _residual(x_PET, y_PET, b2_PE, outer).view(x_PEBL.shape)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad_PEBL: Tensor) -> tuple[Tensor | None, ...]:
        n_PET, rate_P1T, h_PFT, w1_PFE, w2_PEF, inner, outer = ctx.saved_tensors
        grad_PET = grad_PEBL.flatten(2)
        d_y = grad_PET if outer is None else grad_PET * outer.flatten(2)
        d_n, d_h = torch.empty_like(n_PET), torch.empty_like(h_PFT[0])
        d_w1, d_w2, d_b1 = torch.empty_like(w1_PFE), torch.empty_like(w2_PEF), w1_PFE.new_empty(w1_PFE.shape[:2])
        for p, h in enumerate(h_PFT):
            torch.mm(d_y[p], h.T, out=d_w2[p])
            torch.mm(w2_PEF[p].T, d_y[p], out=d_h)
            if inner is not None:
                d_h.mul_(inner[p].flatten(1))
            torch.ops.aten.threshold_backward.grad_input(d_h, h, 0, grad_input=d_h)
            torch.mm(d_h, n_PET[p].T, out=d_w1[p])
            torch.sum(d_h, 1, out=d_b1[p])
            torch.mm(w1_PFE[p].T, d_h, out=d_n[p])
        d_x = _normalise_backward(d_n, n_PET, rate_P1T).add_(grad_PET)
        return d_x.view(grad_PEBL.shape), d_w1, d_b1, d_w2, d_y.sum(-1), None, None


class _Attention(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,
        x_PEBQ: Tensor,
        key_PEBK: Tensor | None,
        value_PEBK: Tensor | None,
        w_in: Tensor,
        b_in: Tensor,
        w_out: Tensor,
        b_out: Tensor,
        bias: Tensor | None,
        keep: Tensor | None,
        residual: Tensor | None,
        heads: int,
        scale: Tensor | None,
    ) -> Tensor:
        ctx.heads = heads
        x_PET = x_PEBQ.flatten(2)
        n_PET, rate_P1T = _normalise(x_PET)
        inputs = [n_PET] if key_PEBK is None else [n_PET, key_PEBK.flatten(2), value_PEBK.flatten(2)]
        q, k, v = (_rows(part, heads, x_PEBQ.shape[2]) for part in _project(inputs, w_in, b_in))
        if scale is not None:
            v.view(len(scale), -1).mul_(scale)
        attended, log_norm = attend(q, k, v, bias, keep, heads)
        tokens_PET = _tokens(attended, heads, len(x_PET))
        saved = (n_PET, rate_P1T, *inputs[1:], w_in, w_out, bias, keep, residual, scale, q, k, v, attended, log_norm)
        ctx.save_for_backward(*saved)
        return _residual(x_PET, torch.bmm(w_out, tokens_PET), b_out, residual).view(x_PEBQ.shape)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad_PEBQ: Tensor) -> tuple[Tensor | None, ...]:
        n_PET, rate_P1T, *source, w_in, w_out, bias, keep, residual, scale, q, k, v, attended, log_norm = (
            ctx.saved_tensors
        )
        heads, networks = ctx.heads, len(n_PET)
        grad_PET = grad_PEBQ.flatten(2)
        d_y = grad_PET if residual is None else grad_PET * residual.flatten(2)
        d_w_out = torch.bmm(d_y, _tokens(attended, heads, networks).transpose(1, 2))
        d_rows = _rows(torch.bmm(w_out.transpose(1, 2), d_y), heads, grad_PEBQ.shape[2])
        d_q, d_k, d_v = attend_backward(d_rows, q, k, v, bias, keep, attended, log_norm, heads)
        if scale is not None:
            d_v.view(networks, -1).mul_(scale)
        d_qkv = [_tokens(part, heads, networks) for part in (d_q, d_k, d_v)]
        d_inputs, d_w_in, d_b_in = _project_backward(d_qkv, [n_PET, *source], w_in)
        d_x = _normalise_backward(d_inputs[0], n_PET, rate_P1T).add_(grad_PET).view(grad_PEBQ.shape)
        d_source = [part.unflatten(2, (grad_PEBQ.shape[2], -1)) for part in d_inputs[1:]] or [None, None]
        return d_x, *d_source, d_w_in, d_b_in, d_w_out, d_y.sum(-1), *[None] * 5


def _project(inputs: list[Tensor], weight: Tensor, bias: Tensor) -> tuple[Tensor, ...]:
    """Query, key and value (P, E, T); one input serves all three in self-attention."""
    weights, biases = weight.chunk(len(inputs), dim=1), bias.unsqueeze(-1).chunk(len(inputs), dim=1)
    parts = [torch.bmm(w, x).add_(b) for w, x, b in zip(weights, inputs, biases, strict=True)]
    return parts[0].chunk(3, dim=1) if len(parts) == 1 else tuple(parts)


def _project_backward(grads: list[Tensor], inputs: list[Tensor], weight: Tensor) -> tuple[list[Tensor], Tensor, Tensor]:
    """The gradients of the inputs, the weight and the bias."""
    grads = [torch.cat(grads, dim=1)] if len(inputs) == 1 else grads
    weights = weight.chunk(len(inputs), dim=1)
    d_inputs = [torch.bmm(w.transpose(1, 2), grad) for w, grad in zip(weights, grads, strict=True)]
    d_weights = [torch.bmm(grad, x.transpose(1, 2)) for grad, x in zip(grads, inputs, strict=True)]
    return d_inputs, torch.cat(d_weights, dim=1), torch.cat([grad.sum(-1) for grad in grads], dim=1)


def _residual(x_PET: Tensor, y_PET: Tensor, bias_PE: Tensor, mask: Tensor | None) -> Tensor:
    """x + mask * (y + bias), written over y."""
    y_PET.add_(bias_PE.unsqueeze(-1))
    return y_PET.add_(x_PET) if mask is None else y_PET.mul_(mask.flatten(2)).add_(x_PET)


def _normalise(x: Tensor) -> tuple[Tensor, Tensor]:
    """(x - mean) / std of each token, over the features (dim 1), and 1 / std."""
    n = x - x.mean(1, keepdim=True)
    rate = (n * n).mean(1, keepdim=True).add_(EPS).rsqrt_()
    return n.mul_(rate), rate


def _normalise_backward(grad: Tensor, n: Tensor, rate: Tensor) -> Tensor:
    """(grad - mean(grad) - n mean(grad n)) / std."""
    inner = (grad * n).mean(1, keepdim=True)
    return (grad - grad.mean(1, keepdim=True)).addcmul_(n, inner, value=-1).mul_(rate)


def _rows(x_PET: Tensor, heads: int, batch: int) -> Tensor:
    """(P, E, B * L) -> (R, D, L)."""
    x_PHDBL = x_PET.unflatten(2, (batch, -1)).unflatten(1, (heads, -1))
    return x_PHDBL.permute(0, 3, 1, 2, 4).contiguous().flatten(0, 2)


def _tokens(x_RDL: Tensor, heads: int, networks: int) -> Tensor:
    """(R, D, L) -> (P, E, B * L)."""
    x_PBHDL = x_RDL.view(networks, -1, heads, *x_RDL.shape[1:])
    return x_PBHDL.permute(0, 2, 3, 1, 4).flatten(1, 2).flatten(2)


def _flat(affine: Affine) -> Affine:
    weight, bias = affine
    return weight.reshape(-1, *weight.shape[-2:]), bias.reshape(-1, bias.shape[-1])
