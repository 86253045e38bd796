"""Multi-head attention with dropout from our own generators, computed in blocks that stay in the cache.

Shape suffixes: P leading axes (seeds, networks), N = P * B sequences, R = N * heads rows, Q and K query and key steps,
E width, D = E / heads.
"""

from __future__ import annotations

import math
import threading
from collections.abc import Iterator, Sequence
from functools import lru_cache
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.autograd.function import once_differentiable

from powmix.models.dropout import Noise

BLOCK = {"cpu": 180_000}
"""Scores held at a time, by device: on a CPU so that three buffers of them stay near its second-level cache."""
EVERYTHING = 2**28
_KEPT = threading.local()
CALM = 100.0
"""Scores (base 2) up to this need no maximum subtracted: 2^100 times any number of keys is a float32."""


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
    keep = draw_keep(noise, rates, (*query.shape[:-2], heads, query.shape[-2], key.shape[-2]), query.device)
    if keep is not None:
        value = value * _scale(tuple(rates), value.device)
    q, k, v = (_heads(x, heads).contiguous().flatten(0, 1) for x in (query, key, value))
    if keep is not None or q.device.type in BLOCK:
        out = BlockAttention.apply(q, k, v, bias, keep, heads)
    else:
        mask = bias if bias is None or bias.dim() == 2 else bias.unsqueeze(1)
        rows = (x.unflatten(0, (-1, heads)).transpose(2, 3) for x in (q, k, v))
        out = F.scaled_dot_product_attention(*rows, attn_mask=mask).flatten(0, 1).transpose(1, 2)
    return out.unflatten(0, (-1, heads)).permute(0, 3, 1, 2).reshape(query.shape)


def draw_keep(
    noise: Noise | None, rates: Sequence[float], shape: tuple[int, ...], device: torch.device
) -> Tensor | None:
    """Which probabilities of `shape` (*P, B, heads, Q, K) dropout keeps, (R, Q, K) uint8; None where it keeps all."""
    if noise is None or not any(rates):
        return None
    return noise.keep(shape, rates, device).flatten(0, -3)


def scales(rates: Sequence[float]) -> list[float]:
    """1 / (1 - p) by network: dropped-out probabilities times it are the same as values times it."""
    return [1 / (1 - rate) if rate < 1 else 0.0 for rate in rates]


@lru_cache(maxsize=64)
def _scale(rates: tuple[float, ...], device: torch.device) -> Tensor:
    return torch.tensor(scales(rates), device=device).view(-1, 1, 1, 1)


class BlockAttention(torch.autograd.Function):
    """Attention over R rows, laid out as (R, D, steps)."""

    @staticmethod
    def forward(
        ctx: Any, q_RDQ: Tensor, k_RDK: Tensor, v_RDK: Tensor, bias: Tensor | None, keep: Tensor | None, heads: int
    ) -> Tensor:
        ctx.heads = heads
        with torch.autocast(q_RDQ.device.type, enabled=False):
            out_RDQ, log_norm_RQ1 = attend(q_RDQ, k_RDK, v_RDK, bias, keep, heads)
        ctx.save_for_backward(q_RDQ, k_RDK, v_RDK, bias, keep, out_RDQ, log_norm_RQ1)
        return out_RDQ

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad_RDQ: Tensor) -> tuple[Tensor | None, ...]:
        return *attend_backward(grad_RDQ.contiguous(), *ctx.saved_tensors, ctx.heads), None, None, None


def attend(
    q_RDQ: Tensor, k_RDK: Tensor, v_RDK: Tensor, bias: Tensor | None, keep: Tensor | None, heads: int
) -> tuple[Tensor, Tensor]:
    """The attended values (R, D, Q), a block at a time, and the logarithm of each query's normaliser (R, Q, 1).

    Scores and logarithms are in base 2: `exp2` is quick where scores are -inf, `exp` is not.
    """
    out_RDQ, log_norm_RQ1 = torch.empty_like(q_RDQ), q_RDQ.new_empty(q_RDQ.shape[0], q_RDQ.shape[2], 1)
    calm = _calm(q_RDQ, k_RDK)
    for block in _blocks(q_RDQ, k_RDK, bias, heads, buffers=2):
        weights, spare = block.buffers
        _scores(block, block.queries(q_RDQ), block.keys(k_RDK), bias, heads, weights)
        top = None if calm else weights.amax(-1, keepdim=True)
        torch.exp2(weights if top is None else weights.sub_(top), out=weights)
        norm = weights.sum(-1, keepdim=True)
        log_norm = block.steps_of(log_norm_RQ1).copy_(norm).log2_()
        if top is not None:
            log_norm.add_(top)
        if keep is not None:
            weights.mul_(spare.copy_(block.scores(keep)))
        attended = torch.bmm(block.keys(v_RDK), weights.transpose(1, 2))
        torch.div(attended, norm.transpose(1, 2), out=block.queries(out_RDQ))
    return out_RDQ, log_norm_RQ1


def attend_backward(
    grad_RDQ: Tensor,
    q_RDQ: Tensor,
    k_RDK: Tensor,
    v_RDK: Tensor,
    bias: Tensor | None,
    keep: Tensor | None,
    out_RDQ: Tensor,
    log_norm_RQ1: Tensor,
    heads: int,
) -> tuple[Tensor, Tensor, Tensor]:
    """Gradients of q, k and v; the probabilities are computed again, block by block."""
    d_q, d_k, d_v = torch.empty_like(q_RDQ), torch.zeros_like(k_RDK), torch.zeros_like(v_RDK)
    inner_RQ1 = (grad_RDQ * out_RDQ).sum(1).unsqueeze(-1)  # sum over keys of probability times its gradient
    for block in _blocks(q_RDQ, k_RDK, bias, heads, buffers=3):
        weights, scores, kept = block.buffers
        q, k, grad = block.queries(q_RDQ), block.keys(k_RDK), block.queries(grad_RDQ)
        _scores(block, q, k, bias, heads, weights)
        torch.exp2(weights.sub_(block.steps_of(log_norm_RQ1)), out=weights)
        dropped = weights if keep is None else torch.mul(weights, kept.copy_(block.scores(keep)), out=scores)
        block.keys(d_v).add_(torch.bmm(grad, dropped))
        torch.bmm(grad.transpose(1, 2), block.keys(v_RDK), out=scores)
        if keep is not None:
            scores.mul_(kept)
        scores.sub_(block.steps_of(inner_RQ1)).mul_(weights)  # the derivative of softmax
        block.queries(d_q).copy_(torch.bmm(k, scores.transpose(1, 2)))
        block.keys(d_k).add_(torch.bmm(q, scores))
    scale = q_RDQ.shape[1] ** -0.5
    return d_q.mul_(scale), d_k.mul_(scale), d_v


class _Block(NamedTuple):
    """Some rows, some of their queries (None: all), and the leading keys, of which these see no others (None: all)."""

    rows: slice
    steps: slice | None
    seen: int | None
    buffers: list[Tensor]

    def queries(self, x_RDQ: Tensor) -> Tensor:
        return x_RDQ[self.rows] if self.steps is None else x_RDQ[self.rows, :, self.steps]

    def steps_of(self, x_RQ1: Tensor) -> Tensor:
        return x_RQ1[self.rows] if self.steps is None else x_RQ1[self.rows, self.steps]

    def keys(self, x_RDK: Tensor) -> Tensor:
        return x_RDK[self.rows] if self.seen is None else x_RDK[self.rows, :, : self.seen]

    def scores(self, x_RQK: Tensor) -> Tensor:
        return x_RQK[self.rows] if self.steps is None else x_RQK[self.rows, self.steps, : self.seen]

    def bias(self, bias: Tensor, heads: int) -> Tensor:
        """(1 | rows, queries, keys)"""
        steps = slice(None) if self.steps is None else self.steps
        if bias.dim() == 2:
            return bias[steps, : self.seen]
        start, stop = self.rows.start // heads, self.rows.stop // heads
        return bias[start:stop, steps, : self.seen].repeat_interleave(heads, dim=0)


def _scores(block: _Block, q: Tensor, k: Tensor, bias: Tensor | None, heads: int, out: Tensor) -> None:
    """log2(e) q k^T / sqrt(D) + bias of a block, into `out`."""
    torch.baddbmm(out, q.transpose(1, 2), k, beta=0, alpha=math.log2(math.e) * q.shape[1] ** -0.5, out=out)
    if bias is not None:
        out.add_(block.bias(bias, heads))


def _calm(q_RDQ: Tensor, k_RDK: Tensor) -> bool:
    """Whether no score can be large, by Cauchy and Schwarz; on a GPU, where asking would wait for it, never."""
    if q_RDQ.device.type != "cpu":
        return False
    squares = math.prod(float(x.square().sum(1).amax()) for x in (q_RDQ, k_RDK))
    return math.sqrt(squares / q_RDQ.shape[1]) * math.log2(math.e) < CALM


def _blocks(q_RDQ: Tensor, k_RDK: Tensor, bias: Tensor | None, heads: int, buffers: int) -> Iterator[_Block]:
    """Whole sequences where they fit, else some queries of one."""
    rows, queries, keys = q_RDQ.shape[0], q_RDQ.shape[2], k_RDK.shape[2]
    room = BLOCK.get(q_RDQ.device.type, EVERYTHING)
    size = min(max(room // (queries * keys) // heads, 1) * heads, rows)
    spans = list(_spans(queries, keys, bias, room // size))
    shapes = [(queries if steps is None else steps.stop - steps.start, seen or keys) for steps, seen in spans]
    spaces = _workspace(q_RDQ, buffers, size * max(map(math.prod, shapes)))
    for start in range(0, rows, size):
        stop = min(start + size, rows)
        for (steps, seen), shape in zip(spans, shapes, strict=True):
            whole = (stop - start, *shape)
            yield _Block(
                slice(start, stop), steps, seen, [space[: math.prod(whole)].view(whole) for space in spaces[:buffers]]
            )


def _spans(queries: int, keys: int, bias: Tensor | None, room: int) -> Iterator[tuple[slice | None, int | None]]:
    """Queries that have room together, with how many leading keys they see at most; None: all."""
    if queries * keys <= room:
        yield None, None
        return
    seen_Q = _seen(bias) if bias is not None and bias.dim() == 2 else [keys] * queries
    start = 0
    while start < queries:
        stop = start + 1
        while stop < queries and (stop + 1 - start) * max(seen_Q[start : stop + 1]) <= room:
            stop += 1
        yield slice(start, stop), max(seen_Q[start:stop])
        start = stop


def _seen(bias_QK: Tensor) -> list[int]:
    """One more than the last key that each query sees."""
    number_K = torch.arange(1, bias_QK.shape[1] + 1, device=bias_QK.device)
    return torch.where(bias_QK == 0, number_K, 1).amax(-1).tolist()


def _workspace(like: Tensor, buffers: int, size: int) -> list[Tensor]:
    """Buffers to write into. On a CPU a thread's are kept: memory that is new costs more than what is done in it."""
    if like.device.type != "cpu" or like.dtype != torch.float32:
        return [like.new_empty(size) for _ in range(buffers)]
    kept = _KEPT.__dict__.setdefault("buffers", [])
    if len(kept) < buffers or kept[0].numel() < size:
        kept[:] = [torch.empty(size) for _ in range(buffers)]
    return kept


def _heads(x: Tensor, heads: int) -> Tensor:
    """(*P, B, L, E) -> (N, heads, D, L), float32."""
    x_NLHD = x.reshape(-1, x.shape[-2], heads, x.shape[-1] // heads)
    return x_NLHD.permute(0, 2, 3, 1).float()
