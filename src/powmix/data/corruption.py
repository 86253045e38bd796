"""Damage for the robustness studies, pure functions of a split: lost frames (Figure 6), lost or mean text (Figure 7).

A lost dense frame is zero. A lost token is [UNK] (id 100): the word was spoken but not understood, so lengths and
masks stay; CLS and SEP are never lost. p = 0 gives the very same tensors.

Shape suffixes: N examples, L time steps, D features, K moments of a clip.
"""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Generator, Tensor

from powmix.data.splits import CLS, MODALITIES, PAD, SEP, UNKNOWN, Split, real_steps


def drop_frames(split: Split, p: float, aligned: bool, generator: Generator | None = None) -> Split:
    """Each real frame of each modality is lost with probability p.

    aligned: modalities lose the same moments: a clip is cut into K moments, K the longest modality's steps, and a
    frame is lost with the moment its middle falls in; otherwise each modality loses its own. Raises ValueError for p
    outside [0, 1].
    """
    _check(p)
    if p == 0:
        return split
    size, steps = len(split), {name: _steps(split, name) for name in MODALITIES if _steps(split, name)}
    shared_NK = _coins((size, max(steps.values())), p, generator) if aligned else None
    features, tokens = dict(split.features), split.tokens
    for name, count in steps.items():
        lost_NL = (
            _moments(split, name, count, shared_NK) if shared_NK is not None else _coins((size, count), p, generator)
        )
        if name in features:
            features[name] = features[name].masked_fill(lost_NL.to(features[name].device).unsqueeze(-1), 0)
        if name == "text" and tokens is not None:
            tokens = _unknown(tokens, lost_NL.to(tokens.device))
    return replace(split, features=features, tokens=tokens)


def drop_text(split: Split, p: float, generator: Generator | None = None, replacement_D: Tensor | None = None) -> Split:
    """Each example loses its whole text with probability p: zero, or `replacement_D` (training_mean) at its real steps.

    Tokens become the empty sentence CLS SEP; where a split has nothing but tokens, the text's length becomes 2.
    """
    _check(p)
    if p == 0:
        return split
    lost_N = _coins((len(split),), p, generator).to(split.target.device)
    features, lengths, tokens = dict(split.features), dict(split.lengths), split.tokens
    if "text" in features:
        value = features["text"]
        blank = torch.zeros((), device=value.device) if replacement_D is None else replacement_D.to(value)
        real_NL1 = (lost_N.unsqueeze(-1) & _spoken(split, value)).unsqueeze(-1)
        features["text"] = torch.where(real_NL1, blank, value)
    if tokens is not None:
        tokens = torch.where(lost_N[:, None, None], _empty_sentence(tokens, split.side["text"]), tokens)
        if "text" not in features:
            lengths["text"] = torch.where(lost_N, lengths["text"].clamp(max=2), lengths["text"])
    return replace(split, features=features, tokens=tokens, lengths=lengths)


def training_mean(train: Split) -> Tensor:
    """The mean (D,) of the dense text features over all real steps of the training split."""
    value_NLD = train.features["text"]
    real_NL1 = _spoken(train, value_NLD).unsqueeze(-1)
    return (value_NLD * real_NL1).sum((0, 1)) / real_NL1.sum()


def _spoken(split: Split, text_NLD: Tensor) -> Tensor:
    return real_steps(split.lengths["text"], split.side["text"], text_NLD.shape[1])


def _check(p: float) -> None:
    if not 0 <= p <= 1:
        raise ValueError(f"p must be within [0, 1], got {p!r}")


def _coins(shape: tuple[int, ...], p: float, generator: Generator | None) -> Tensor:
    return torch.rand(shape, generator=generator) < p


def _steps(split: Split, name: str) -> int:
    if name in split.features:
        return split.features[name].shape[1]
    return split.tokens.shape[2] if name == "text" and split.tokens is not None else 0


def _moments(split: Split, name: str, steps: int, lost_NK: Tensor) -> Tensor:
    """Which frames (N, L) fall into the lost moments (N, K) of their clips."""
    length_N1 = split.lengths[name].cpu().unsqueeze(-1)
    frame_NL = torch.arange(steps) - (0 if split.side[name] == "right" else steps - length_N1)
    moments = lost_NK.shape[1]
    moment_NL = ((frame_NL + 0.5) / length_N1 * moments).long().clamp(0, moments - 1)
    return lost_NK.gather(1, moment_NL.expand(len(lost_NK), -1))


def _unknown(tokens_N3L: Tensor, lost_NL: Tensor) -> Tensor:
    ids_NL = tokens_N3L[:, 0]
    word_NL = (ids_NL != CLS) & (ids_NL != SEP) & (ids_NL != PAD) & tokens_N3L[:, 1].bool()
    damaged = tokens_N3L.clone()
    damaged[:, 0] = torch.where(word_NL & lost_NL, UNKNOWN, ids_NL)
    return damaged


def _empty_sentence(tokens_N3L: Tensor, side: str) -> Tensor:
    empty_3L = torch.zeros_like(tokens_N3L[0])
    place = slice(0, 2) if side == "right" else slice(-2, None)
    empty_3L[0, place] = torch.tensor([CLS, SEP], device=empty_3L.device)
    empty_3L[1, place] = 1
    return empty_3L
