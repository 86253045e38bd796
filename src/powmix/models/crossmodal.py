"""MulT's transformer encoders, G of them as one computation (Tsai et al., ACL 2019; details of thuiar/MMSA at a94e65d).

Shape suffixes: P leading axes (seeds, if any, and the networks of a bundle), B batch, L steps, E width, N layers.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from types import ModuleType

import torch
from torch import Tensor, nn

from powmix.models import sublayers, sublayers_cpu
from powmix.models.layers import LayerNorm, Linear
from powmix.models.dropout import Noise
from powmix.models.recurrent import select_step
from powmix.models.sequences import Steps, attention_bias, bundles, padded, with_positions
from powmix.models.sublayers import Affine, dropout


class EncoderLayer(nn.Module):
    """The parameters of one pre-norm layer of G networks: attention (packed in-projection) and a ReLU layer of 4E."""

    def __init__(self, networks: int, width: int):
        super().__init__()
        groups = (networks,)
        self.norm_0, self.norm_1 = LayerNorm(width, groups), LayerNorm(width, groups)
        self.in_proj = _xavier(Linear(width, 3 * width, groups=groups))
        self.out_proj = _xavier(Linear(width, width, groups=groups))
        self.fc_1 = _xavier(Linear(width, 4 * width, groups=groups))
        self.fc_2 = _xavier(Linear(4 * width, width, groups=groups))


class Encoders(nn.Module):
    """G encoders of equal width. attn_dropout: by network; the other rates are common to all.

    A layer is x += D(MHA(LN0(x), LN0(k), LN0(v))), x += D(W2 D(ReLU(W1 LN1(x)))); a final LN follows the last. The gain
    and shift of LN0 and LN1 are folded into the projections behind them, so that a source, which no layer changes, is
    normalised once and projected for all layers at once.
    """

    def __init__(
        self,
        width: int,
        heads: int,
        levels: int,
        attn_dropout: Sequence[float],
        relu_dropout: float,
        embed_dropout: float,
        res_dropout: float,
        positions: bool,
    ):
        super().__init__()
        self.width, self.heads, self.attn_dropout, self.positions = width, heads, list(attn_dropout), positions
        self.relu_dropout, self.embed_dropout, self.res_dropout = relu_dropout, embed_dropout, res_dropout
        self.layers = nn.ModuleList(EncoderLayer(len(self.attn_dropout), width) for _ in range(levels))
        self.norm = LayerNorm(width, (len(self.attn_dropout),))

    def crossmodal(self, targets: Sequence[Steps], sources: Sequence[Steps], noise: Noise | None) -> list[Tensor]:
        """By network, its target (*S, B, Q_g, E) after attending to its source (*S, B, K_g, E) in every layer."""
        lengths = [(target.x.shape[-2], source.x.shape[-2]) for target, source in zip(targets, sources, strict=True)]
        outputs = []
        for part in bundles(lengths, self.width, self.heads):
            x = self._crossmodal(part, targets[part], sources[part], noise)
            outputs += [one[..., :steps, :] for one, (steps, _) in zip(x.unbind(-4), lengths[part], strict=True)]
        return outputs

    def memory(self, sequences: Sequence[Steps], noise: Noise | None) -> list[Tensor]:
        """By network, the last valid step (*S, B, E) after self-attention; the last layer computes no other step."""
        outputs = []
        for part in bundles([(steps.x.shape[-2],) * 2 for steps in sequences], self.width, self.heads):
            outputs += self._memory(part, sequences[part], noise).unbind(-3)
        return outputs

    def _crossmodal(
        self, part: slice, targets: Sequence[Steps], sources: Sequence[Steps], noise: Noise | None
    ) -> Tensor:
        """A bundle's targets after all layers: (*P, B, Q, E)."""
        bias, run = attention_bias(targets, sources), _sublayers(targets[0].x)
        x = run.enter(dropout(self._embed(targets), self.embed_dropout, noise))
        source = self._embed(sources)
        if noise is None or self.embed_dropout == 0:
            normalised = (run.normal(run.enter(source)),) * 2
        else:  # keys and values are dropped out independently
            normalised = tuple(run.normal(run.enter(noise.dropout(source, self.embed_dropout))) for _ in range(2))
        for layer in self.layers:
            x = self._update(_Folded.of(layer, part), part, x, normalised, bias, noise)
        return self._final_norm(run.leave(run.normal(x)), part)

    def _memory(self, part: slice, sequences: Sequence[Steps], noise: Noise | None) -> Tensor:
        """A bundle's last steps after all layers: (*P, B, E)."""
        bias, run = attention_bias(sequences, sequences), _sublayers(sequences[0].x)
        *layers, final = [_Folded.of(layer, part) for layer in self.layers]
        x = run.enter(dropout(self._embed(sequences), self.embed_dropout, noise))
        for layer in layers:
            x = self._update(layer, part, x, None, bias, noise)
        source = run.normal(x)
        last, bias = _last_step(run.leave(x), bias, sequences)
        x = self._update(final, part, run.enter(last), (source, source), bias, noise)
        return self._final_norm(run.leave(run.normal(x)), part).squeeze(-2)

    def _update(
        self,
        layer: _Folded,
        part: slice,
        x: Tensor,
        source: tuple[Tensor, Tensor] | None,
        bias: Tensor | None,
        noise: Noise | None,
    ) -> Tensor:
        """The residual stream after a layer; source: normalised keys' and values' inputs, None for self-attention."""
        run, rates = _sublayers(x), self.attn_dropout[part]
        x = run.attention(x, source, layer.in_proj, layer.out_proj, self.heads, bias, rates, noise, self.res_dropout)
        return run.feed_forward(x, layer.fc_1, layer.fc_2, self.relu_dropout, self.res_dropout, noise)

    def _embed(self, parts: Sequence[Steps]) -> Tensor:
        """sqrt(E) x, plus positions where the protocol has them, of a bundle: (*P, B, L, E)."""
        scaled = [Steps(part.x * math.sqrt(self.width), part.lengths, part.side) for part in parts]
        return padded([with_positions(part) if self.positions else part.x for part in scaled])

    def _final_norm(self, normal: Tensor, part: slice) -> Tensor:
        weight, bias = (value[..., part, None, None, :] for value in (self.norm.weight, self.norm.bias))
        return torch.addcmul(bias, normal, weight)


@dataclass(frozen=True)
class _Folded:
    """A layer's projections for some networks; in_proj and fc_1 expect normalised input without gain."""

    in_proj: Affine
    out_proj: Affine
    fc_1: Affine
    fc_2: Affine

    @classmethod
    def of(cls, layer: EncoderLayer, part: slice) -> _Folded:
        return cls(
            in_proj=_folded(layer.norm_0, layer.in_proj, part),
            out_proj=_part(layer.out_proj, part),
            fc_1=_folded(layer.norm_1, layer.fc_1, part),
            fc_2=_part(layer.fc_2, part),
        )


def _sublayers(x: Tensor) -> ModuleType:
    return sublayers if x.is_cuda or torch.is_autocast_enabled(x.device.type) else sublayers_cpu


def _part(linear: Linear, part: slice) -> Affine:
    return linear.weight[..., part, :, :], linear.bias[..., part, :]


def _folded(norm: LayerNorm, linear: Linear, part: slice) -> Affine:
    """W (g * x + b) + c as (W g) x + (W b + c)."""
    weight, bias = _part(linear, part)
    gain, shift = norm.weight[..., part, None, :], norm.bias[..., part, :]
    return weight * gain, bias + (weight @ shift.unsqueeze(-1)).squeeze(-1)


def _last_step(x: Tensor, bias: Tensor | None, sequences: Sequence[Steps]) -> tuple[Tensor, Tensor | None]:
    """The last valid step of each sequence, x (*P, B, 1, E), and its row of the bias."""
    last = [steps.last() for steps in sequences]
    if all(isinstance(step, int) for step in last) and len(set(last)) == 1:
        return x[..., last[0] : last[0] + 1, :], bias if bias is None else bias[..., last[0] : last[0] + 1, :]
    batch = sequences[0].x.shape[:-2]
    steps = [step if isinstance(step, Tensor) else torch.full(batch, step, device=x.device) for step in last]
    step_PB = torch.stack(steps, dim=-2)
    return select_step(x, step_PB).unsqueeze(-2), select_step(bias, step_PB.flatten()).unsqueeze(-2)


def _xavier(linear: Linear) -> Linear:
    """Xavier-uniform weights of each network, biases 0."""
    outputs, inputs = linear.weight.shape[-2:]
    bound = math.sqrt(6 / (inputs + outputs))
    nn.init.uniform_(linear.weight, -bound, bound)
    nn.init.zeros_(linear.bias)
    return linear
