"""Multi-head attention with dropout from our own generators, computed in blocks that stay in the processor's cache.

Against softmax over whole matrices with the same masks, a MulT training step (one CPU thread) is 2.4 times quicker on
MOSI's unaligned sequences, 1.5 on MOSEI's, 1.7 on SIMS's, and 1.1 on MOSI's aligned ones. The backward pass computes a
block's probabilities again, so that of Q x K scores only the dropout mask is kept.
Shape suffixes: G networks, B batch, N = G * B sequences, R = N * heads rows, Q and K query and key steps, E width,
D = E / heads.
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
"""The same where the cache is not the bound: on a GPU a block is everything."""
CALM = 100.0
"""Scores (base 2) up to this need no maximum subtracted: a sum of as many 2^100 as there are keys fits a float32."""
_KEPT = threading.local()


def attention(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    heads: int,
    bias: Tensor | None,
    rates: Sequence[float],
    noise: Noise | None,
) -> Tensor:
    """softmax(query key^T / sqrt(D) + bias), dropped out, times value: (G, B, Q, E) from (G, B, Q | K | K, E).

    bias: 0 or -inf; None, or (Q, K) for all sequences, or (N, Q, K). rates: dropout by network.
    Without dropout to draw, a GPU runs PyTorch's fused kernel; on a CPU that is slower than blocks for narrow heads.
    """
    keep = None
    if noise is not None and any(rates):
        shape = (*query.shape[:2], heads, query.shape[2], key.shape[2])
        keep = noise.keep(shape, rates, query.device).flatten(0, 2)
        value = value * _scale(tuple(rates), value.device)
    q, k, v = (_rows(x, heads) for x in (query, key, value))
    if keep is not None or q.device.type in BLOCK:
        out = BlockAttention.apply(q, k, v, bias, keep, heads)
    else:
        mask = bias if bias is None or bias.dim() == 2 else bias.unsqueeze(1)
        q_, k_, v_ = (x.unflatten(0, (-1, heads)).transpose(2, 3) for x in (q, k, v))
        out = F.scaled_dot_product_attention(q_, k_, v_, attn_mask=mask).flatten(0, 1).transpose(1, 2)
    return out.unflatten(0, (-1, heads)).permute(0, 3, 1, 2).reshape(query.shape)


@lru_cache(maxsize=64)
def _scale(rates: tuple[float, ...], device: torch.device) -> Tensor:
    """1 / (1 - p) by network: values times it are the same as dropped-out probabilities times it."""
    return torch.tensor([1 / (1 - rate) for rate in rates], device=device).view(-1, 1, 1, 1)


class BlockAttention(torch.autograd.Function):
    """Attention over R rows, laid out as (R, D, steps); what its backward keeps of a query is one logarithm.

    Scores and logarithms are in base 2: `exp2` is quick where scores are -inf, `exp` is not.
    """

    @staticmethod
    def forward(
        ctx: Any, q_RDQ: Tensor, k_RDK: Tensor, v_RDK: Tensor, bias: Tensor | None, keep_RQK: Tensor | None, heads: int
    ) -> Tensor:
        out_RDQ, log_norm_RQ1 = torch.empty_like(q_RDQ), q_RDQ.new_empty(q_RDQ.shape[0], q_RDQ.shape[2], 1)
        calm = _calm(q_RDQ, k_RDK)
        with torch.autocast(q_RDQ.device.type, enabled=False):
            for block in _blocks(q_RDQ, k_RDK, bias, heads, buffers=2):
                weights, spare = block.buffers
                _scores(block, block.queries(q_RDQ), block.keys(k_RDK), bias, heads, weights)
                top = None if calm else weights.amax(-1, keepdim=True)
                torch.exp2(weights if top is None else weights.sub_(top), out=weights)
                norm = weights.sum(-1, keepdim=True)
                log_norm = block.steps_of(log_norm_RQ1).copy_(norm).log2_()
                if top is not None:
                    log_norm.add_(top)
                if keep_RQK is not None:
                    weights.mul_(spare.copy_(block.scores(keep_RQK)))
                attended = torch.bmm(block.keys(v_RDK), weights.transpose(1, 2))
                torch.div(attended, norm.transpose(1, 2), out=block.queries(out_RDQ))
        ctx.heads = heads
        ctx.save_for_backward(q_RDQ, k_RDK, v_RDK, bias, keep_RQK, out_RDQ, log_norm_RQ1)
        return out_RDQ

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad_RDQ: Tensor) -> tuple[Tensor | None, ...]:
        q_RDQ, k_RDK, v_RDK, bias, keep_RQK, out_RDQ, log_norm_RQ1 = ctx.saved_tensors
        grad_RDQ = grad_RDQ.contiguous()
        inner_RQ1 = (grad_RDQ * out_RDQ).sum(1).unsqueeze(-1)  # sum over keys of probability times its gradient
        d_q, d_k, d_v = torch.empty_like(q_RDQ), torch.zeros_like(k_RDK), torch.zeros_like(v_RDK)
        for block in _blocks(q_RDQ, k_RDK, bias, ctx.heads, buffers=3):
            weights, scores, kept = block.buffers
            q, k, grad = block.queries(q_RDQ), block.keys(k_RDK), block.queries(grad_RDQ)
            _scores(block, q, k, bias, ctx.heads, weights)
            torch.exp2(weights.sub_(block.steps_of(log_norm_RQ1)), out=weights)
            dropped = weights
            if keep_RQK is not None:
                dropped = torch.mul(weights, kept.copy_(block.scores(keep_RQK)), out=scores)
            block.keys(d_v).add_(torch.bmm(grad, dropped))
            torch.bmm(grad.transpose(1, 2), block.keys(v_RDK), out=scores)
            if keep_RQK is not None:
                scores.mul_(kept)
            scores.sub_(block.steps_of(inner_RQ1)).mul_(weights)  # the derivative of softmax
            block.queries(d_q).copy_(torch.bmm(k, scores.transpose(1, 2)))
            block.keys(d_k).add_(torch.bmm(q, scores))
        scale = q_RDQ.shape[1] ** -0.5
        return d_q.mul_(scale), d_k.mul_(scale), d_v, None, None, None


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


def _rows(x: Tensor, heads: int) -> Tensor:
    """(G, B, L, E) -> (R, D, L), float32, contiguous."""
    x_NLHD = x.flatten(0, 1).unflatten(-1, (heads, -1))
    return x_NLHD.permute(0, 2, 3, 1).float().contiguous().flatten(0, 1)
