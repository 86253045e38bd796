"""Multi-head attention with dropout from our own generators, computed in blocks that stay in the cache.

Shape suffixes: P leading axes (seeds, networks), N = P * B sequences, R = N * heads rows, Q and K query and key steps,
E width, D = E / heads.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from functools import lru_cache
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.autograd.function import once_differentiable

from powmix.models.noise import Noise

BLOCK = {"cpu": 2**18}
"""Scores held at a time, by device: on a CPU 1 MiB, so that the passes over them run in its second-level cache."""
EVERYTHING = 2**28


def attention(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    heads: int,
    bias: Tensor | None,
    rates: Sequence[float],
    noise: Noise | None,
) -> Tensor:
    """softmax(query key^T / sqrt(D) + bias), dropped out, times value: (*P, B, Q, E) from (*P, B, Q | K | K, E).

    bias: 0 or -inf; None, or (Q, K) for all sequences, or (N, Q, K). rates: dropout by network, the last axis of P.
    Without dropout to draw, a GPU runs PyTorch's fused kernel; on a CPU that is slower than blocks for narrow heads.
    """
    dropping = noise is not None and any(rates)
    keep = None
    if dropping:
        keep = noise.keep((*query.shape[:-2], heads, query.shape[-2], key.shape[-2]), rates, query.device)
        value = value * _scale(tuple(rates), value.device)
    q = _heads(query, heads).transpose(2, 3).contiguous().flatten(0, 1)
    k, v = (_heads(x, heads).contiguous().flatten(0, 1) for x in (key, value))
    if dropping or q.device.type in BLOCK:
        out = BlockAttention.apply(q, k, v, bias, None if keep is None else keep.flatten(0, -3), heads)
    else:
        mask = bias if bias is None or bias.dim() == 2 else bias.unsqueeze(1)
        rows = (x.unflatten(0, (-1, heads)) for x in (q, k.transpose(1, 2), v.transpose(1, 2)))
        out = F.scaled_dot_product_attention(*rows, attn_mask=mask).flatten(0, 1)
    return out.unflatten(0, (-1, heads)).transpose(1, 2).reshape(query.shape)


class BlockAttention(torch.autograd.Function):
    """Attention over R rows, a block at a time. Keys and values lie as (R, D, K): the quicker products for a narrow D.

    The backward pass computes the probabilities again from what the forward pass keeps: the logarithm of each query's
    normaliser, in base 2 as are the scores (`exp2` is quick where scores are -inf, `exp` is not).
    """

    @staticmethod
    def forward(
        ctx: Any, q_RQD: Tensor, k_RDK: Tensor, v_RDK: Tensor, bias: Tensor | None, keep: Tensor | None, heads: int
    ) -> Tensor:
        ctx.heads = heads
        out_RQD = torch.empty_like(q_RQD)
        log_norm_RQ1 = q_RQD.new_empty(*q_RQD.shape[:2], 1)
        with torch.autocast(q_RQD.device.type, enabled=False):
            for rows, weights, kept in _blocks(q_RQD, k_RDK, heads, buffers=2):
                _scores(q_RQD[rows], k_RDK[rows], _rows_of(bias, rows, heads), weights)
                top = weights.amax(-1, keepdim=True)
                torch.exp2(weights.sub_(top), out=weights)
                norm = weights.sum(-1, keepdim=True)
                torch.add(top, norm.log2(), out=log_norm_RQ1[rows])
                if keep is not None:
                    weights.mul_(kept.copy_(keep[rows]))
                torch.bmm(weights, v_RDK[rows].transpose(1, 2), out=out_RQD[rows])
                out_RQD[rows].div_(norm)
        ctx.save_for_backward(q_RQD, k_RDK, v_RDK, bias, keep, out_RQD, log_norm_RQ1)
        return out_RQD

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad_RQD: Tensor) -> tuple[Tensor | None, ...]:
        q, k, v, bias, keep, out, log_norm = ctx.saved_tensors
        grad_RQD = grad_RQD.contiguous()
        d_q, d_k, d_v = torch.empty_like(q), torch.empty_like(k), torch.empty_like(v)
        inner = (grad_RQD * out).sum(-1, keepdim=True)  # sum over keys of probability times its gradient
        scale = q.shape[-1] ** -0.5
        for rows, scores, weights, kept in _blocks(q, k, ctx.heads, buffers=3):
            grad = grad_RQD[rows]
            _scores(q[rows], k[rows], _rows_of(bias, rows, ctx.heads), weights)
            torch.exp2(weights.sub_(log_norm[rows]), out=weights)
            dropped = weights if keep is None else torch.mul(weights, kept.copy_(keep[rows]), out=scores)
            torch.bmm(grad.transpose(1, 2), dropped, out=d_v[rows])
            torch.bmm(grad, v[rows], out=scores)
            if keep is not None:
                scores.mul_(kept)
            scores.sub_(inner[rows]).mul_(weights)  # the derivative of softmax
            torch.baddbmm(d_q[rows], scores, k[rows].transpose(1, 2), beta=0, alpha=scale, out=d_q[rows])
            torch.baddbmm(d_k[rows], q[rows].transpose(1, 2), scores, beta=0, alpha=scale, out=d_k[rows])
        return d_q, d_k, d_v, None, None, None


def _scores(q: Tensor, k: Tensor, bias: Tensor | None, out: Tensor) -> None:
    """log2(e) q k^T / sqrt(D) + bias of a block, into `out`."""
    scale = math.log2(math.e) * q.shape[-1] ** -0.5
    torch.baddbmm(out, q, k, beta=0, alpha=scale, out=out)
    if bias is not None:
        out.add_(bias)


def _blocks(q: Tensor, k: Tensor, heads: int, buffers: int) -> Iterator[tuple[Any, ...]]:
    """Slices of rows, each with buffers (rows, Q, K): whole sequences where they fit, else some heads of one."""
    rows, queries, keys = q.shape[0], q.shape[1], k.shape[2]
    fitting = max(1, BLOCK.get(q.device.type, EVERYTHING) // (queries * keys))
    size = fitting // heads * heads or max(
        part for part in range(1, heads + 1) if heads % part == 0 and part <= fitting
    )
    size = min(size, rows)
    spaces = [q.new_empty(size, queries, keys) for _ in range(buffers)]
    for start in range(0, rows, size):
        stop = min(start + size, rows)
        yield slice(start, stop), *(space[: stop - start] for space in spaces)


def _rows_of(bias: Tensor | None, rows: slice, heads: int) -> Tensor | None:
    """The bias of a block's rows: (1 | rows, Q, K)."""
    if bias is None or bias.dim() == 2:
        return bias
    if rows.stop - rows.start < heads:
        return bias[rows.start // heads].unsqueeze(0)
    return bias[rows.start // heads : rows.stop // heads].repeat_interleave(heads, dim=0)


def _heads(x: Tensor, heads: int) -> Tensor:
    """(*P, B, L, E) -> (N, heads, D, L), float32."""
    x_NLHD = x.reshape(-1, x.shape[-2], heads, x.shape[-1] // heads)
    return x_NLHD.permute(0, 2, 3, 1).float()


@lru_cache(maxsize=64)
def _scale(rates: tuple[float, ...], device: torch.device) -> Tensor:
    """1 / (1 - p) by network, (G, 1, 1, 1): dropped-out probabilities times it are the same as values times it."""
    return torch.tensor([1 / (1 - rate) if rate < 1 else 0.0 for rate in rates], device=device).view(-1, 1, 1, 1)
