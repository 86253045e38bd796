"""The sublayers of MulT's encoders on a CPU: network by network, so that what lies between two products stays in cache.

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

from powmix.models.attention import attend, attend_backward, draw_keep, scales
from powmix.models.noise import Noise
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
    keys = x if source is None else source[0]
    keep = draw_keep(noise, rates, (*x.shape[:-3], x.shape[-2], heads, x.shape[-1], keys.shape[-1]), x.device)
    scale = scales(rates) if keep is not None else [1.0] * len(rates)
    key, value = (None, None) if source is None else (part.reshape(-1, *part.shape[-3:]) for part in source)
    residual = mask(noise, res_dropout, x, x.shape[-3])
    flat = x.reshape(-1, *x.shape[-3:])
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
        n_PEBL = torch.empty_like(x_PEBL)
        rates = [_normalise(x.flatten(1), out=n.flatten(1)) for x, n in zip(x_PEBL, n_PEBL, strict=True)]
        ctx.save_for_backward(n_PEBL, *rates)
        return n_PEBL

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad_PEBL: Tensor) -> Tensor:
        n_PEBL, *rates = ctx.saved_tensors
        d_x = torch.empty_like(n_PEBL)
        for grad, n, rate, out in zip(grad_PEBL.contiguous(), n_PEBL, rates, d_x, strict=True):
            out.flatten(1).copy_(_normalise_backward(grad.flatten(1), n.flatten(1), rate))
        return d_x


class _FeedForward(torch.autograd.Function):
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
        networks = len(x_PEBL)
        y_PEBL = torch.empty_like(x_PEBL)
        x_PET, y_PET = x_PEBL.flatten(2), y_PEBL.flatten(2)
        n_PET, rate_P1T = torch.empty_like(x_PET), x_PET.new_empty(networks, 1, x_PET.shape[2])
        h_PFT = x_PET.new_empty(networks, w1_PFE.shape[1], x_PET.shape[2])
        for p in range(networks):
            _normalise(x_PET[p], out=n_PET[p], rate=rate_P1T[p])
            h = torch.mm(w1_PFE[p], n_PET[p], out=h_PFT[p]).add_(b1_PF[p, :, None]).clamp_(min=0)
            if inner is not None:
                h.mul_(inner[p].flatten(1))
            _residual(x_PET[p], w2_PEF[p], h, b2_PE[p], outer, p, out=y_PET[p])
        ctx.save_for_backward(n_PET, rate_P1T, h_PFT, w1_PFE, w2_PEF, inner, outer)
        return y_PEBL

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad_PEBL: Tensor) -> tuple[Tensor | None, ...]:
        n_PET, rate_P1T, h_PFT, w1_PFE, w2_PEF, inner, outer = ctx.saved_tensors
        d_x, d_w1, d_w2 = torch.empty_like(n_PET), torch.empty_like(w1_PFE), torch.empty_like(w2_PEF)
        d_b1, d_b2 = d_w1.new_empty(d_w1.shape[:2]), d_w2.new_empty(d_w2.shape[:2])
        d_h = torch.empty_like(h_PFT[0])
        for p, grad in enumerate(grad_PEBL.flatten(2)):
            d_y = grad if outer is None else grad * outer[p].flatten(1)
            torch.mm(d_y, h_PFT[p].T, out=d_w2[p])
            torch.sum(d_y, 1, out=d_b2[p])
            torch.mm(w2_PEF[p].T, d_y, out=d_h)
            if inner is not None:
                d_h.mul_(inner[p].flatten(1))
            torch.ops.aten.threshold_backward.grad_input(d_h, h_PFT[p], 0, grad_input=d_h)
            torch.mm(d_h, n_PET[p].T, out=d_w1[p])
            torch.sum(d_h, 1, out=d_b1[p])
            d_n = torch.mm(w1_PFE[p].T, d_h)
            torch.add(grad, _normalise_backward(d_n, n_PET[p], rate_P1T[p]), out=d_x[p])
        return d_x.view(grad_PEBL.shape), d_w1, d_b1, d_w2, d_b2, None, None


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
        scale: list[float],
    ) -> Tensor:
        ctx.heads, ctx.scale = heads, scale
        y_PEBQ, ctx.shape = torch.empty_like(x_PEBQ), x_PEBQ.shape
        x_PET, y_PET = x_PEBQ.flatten(2), y_PEBQ.flatten(2)
        n_PET, rate_P1T = torch.empty_like(x_PET), x_PET.new_empty(len(x_PET), 1, x_PET.shape[2])
        kept = []
        for p in range(len(x_PET)):
            _normalise(x_PET[p], out=n_PET[p], rate=rate_P1T[p])
            inputs = _inputs(n_PET[p], key_PEBK, value_PEBK, p)
            q, k, v = (_rows(part, heads, x_PEBQ.shape[2]) for part in _project(inputs, w_in[p], b_in[p]))
            if scale[p % len(scale)] != 1:
                v.mul_(scale[p % len(scale)])
            attended, log_norm = attend(q, k, v, _of(bias, p, len(x_PET)), _of(keep, p, len(x_PET), 3), heads)
            _residual(x_PET[p], w_out[p], _tokens(attended, heads), b_out[p], residual, p, out=y_PET[p])
            kept += [q, k, v, attended, log_norm]
        ctx.save_for_backward(n_PET, rate_P1T, key_PEBK, value_PEBK, w_in, w_out, bias, keep, residual, *kept)
        return y_PEBQ

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad_PEBQ: Tensor) -> tuple[Tensor | None, ...]:
        n_PET, rate_P1T, key, value, w_in, w_out, bias, keep, residual, *kept = ctx.saved_tensors
        networks, heads, batch = len(n_PET), ctx.heads, grad_PEBQ.shape[2]
        d_x, d_w_in, d_w_out = torch.empty_like(n_PET), torch.empty_like(w_in), torch.empty_like(w_out)
        d_b_in, d_b_out = d_w_in.new_empty(d_w_in.shape[:2]), d_w_out.new_empty(d_w_out.shape[:2])
        d_key, d_value = (None if part is None else torch.empty_like(part) for part in (key, value))
        for p, grad in enumerate(grad_PEBQ.flatten(2)):
            q, k, v, attended, log_norm = kept[5 * p : 5 * p + 5]
            d_y = grad if residual is None else grad * residual[p].flatten(1)
            torch.mm(d_y, _tokens(attended, heads).T, out=d_w_out[p])
            torch.sum(d_y, 1, out=d_b_out[p])
            d_rows = _rows(torch.mm(w_out[p].T, d_y), heads, batch)
            parts = _of(bias, p, networks), _of(keep, p, networks, 3)
            d_q, d_k, d_v = attend_backward(d_rows, q, k, v, *parts, attended, log_norm, heads)
            if ctx.scale[p % len(ctx.scale)] != 1:
                d_v.mul_(ctx.scale[p % len(ctx.scale)])
            d_qkv = [_tokens(part, heads) for part in (d_q, d_k, d_v)]
            inputs = _inputs(n_PET[p], key, value, p)
            d_inputs = _project_backward(d_qkv, inputs, w_in[p], d_w_in[p], d_b_in[p])
            if key is not None:
                d_key[p].flatten(1).copy_(d_inputs[1])
                d_value[p].flatten(1).copy_(d_inputs[2])
            torch.add(grad, _normalise_backward(d_inputs[0], n_PET[p], rate_P1T[p]), out=d_x[p])
        d_weights = (d_w_in, d_b_in, d_w_out, d_b_out)
        return d_x.view(grad_PEBQ.shape), d_key, d_value, *d_weights, *[None] * 5


def _inputs(n_ET: Tensor, key: Tensor | None, value: Tensor | None, p: int) -> list[Tensor]:
    """What query, key and value project: one for all in self-attention."""
    return [n_ET] if key is None else [n_ET, key[p].flatten(1), value[p].flatten(1)]


def _project(inputs: list[Tensor], weight: Tensor, bias: Tensor) -> tuple[Tensor, ...]:
    """Query, key and value (E, T)."""
    weights, biases = weight.chunk(len(inputs)), bias.unsqueeze(-1).chunk(len(inputs))
    parts = [torch.mm(w, x).add_(b) for w, x, b in zip(weights, inputs, biases, strict=True)]
    return parts[0].chunk(3) if len(parts) == 1 else tuple(parts)


def _project_backward(
    grads: list[Tensor], inputs: list[Tensor], weight: Tensor, d_weight: Tensor, d_bias: Tensor
) -> list[Tensor]:
    """The gradients of the inputs; those of weight and bias are written."""
    grads = [torch.cat(grads)] if len(inputs) == 1 else grads
    parts = (tensor.chunk(len(inputs)) for tensor in (weight, d_weight, d_bias))
    d_inputs = []
    for grad, x, w, d_w, d_b in zip(grads, inputs, *parts, strict=True):
        torch.mm(grad, x.T, out=d_w)
        torch.sum(grad, 1, out=d_b)
        d_inputs.append(torch.mm(w.T, grad))
    return d_inputs


def _residual(x: Tensor, weight: Tensor, h: Tensor, bias: Tensor, masks: Tensor | None, p: int, out: Tensor) -> None:
    """out = x + mask * (W h + b)."""
    if masks is None:
        torch.addmm(x, weight, h, out=out).add_(bias.unsqueeze(-1))
    else:
        torch.addcmul(x, torch.mm(weight, h).add_(bias.unsqueeze(-1)), masks[p].flatten(1), out=out)


def _normalise(x_ET: Tensor, out: Tensor, rate: Tensor | None = None) -> Tensor:
    """Writes (x - mean) / std of each token into `out`; returns 1 / std (1, T)."""
    torch.sub(x_ET, x_ET.mean(0, keepdim=True), out=out)
    variance = (out * out).mean(0, keepdim=True)
    rate = torch.rsqrt(variance.add_(EPS), out=rate)
    out.mul_(rate)
    return rate


def _normalise_backward(grad_ET: Tensor, n_ET: Tensor, rate_1T: Tensor) -> Tensor:
    """(grad - mean(grad) - n mean(grad n)) / std."""
    inner_1T = (grad_ET * n_ET).mean(0, keepdim=True)
    return (grad_ET - grad_ET.mean(0, keepdim=True)).addcmul_(n_ET, inner_1T, value=-1).mul_(rate_1T)


def _rows(x_ET: Tensor, heads: int, batch: int) -> Tensor:
    """(E, B * L) -> (R, D, L)."""
    return x_ET.view(heads, x_ET.shape[0] // heads, batch, -1).permute(2, 0, 1, 3).contiguous().flatten(0, 1)


def _tokens(x_RDL: Tensor, heads: int) -> Tensor:
    """(R, D, L) -> (E, B * L)."""
    return x_RDL.unflatten(0, (-1, heads)).permute(1, 2, 0, 3).flatten(0, 1).flatten(1)


def _of(x: Tensor | None, p: int, networks: int, split: int = 3) -> Tensor | None:
    """A network's part of a mask or bias that has a leading axis for all networks' rows."""
    return x if x is None or x.dim() < split else x.unflatten(0, (networks, -1))[p]


def _flat(affine: Affine) -> Affine:
    weight, bias = affine
    return weight.reshape(-1, *weight.shape[-2:]), bias.reshape(-1, bias.shape[-1])
