"""Data that come after the training -> a Split as the model saw them: the same names, kinds, scale, steps and sides.

Shape suffixes: N examples, L steps, D features, C outputs.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from powmix.data.assembling import KINDS, LENGTHS, RAW_TEXT, RESERVED, ROWS, TEXT, modalities
from powmix.data.columnar import arrays_of, is_dataset
from powmix.data.splits import Batch, Kind, Side, Split, real_steps
from powmix.data.splitting import scaled
from powmix.data.tokenising import frozen_states, tokenise
from powmix.mistakes import nearest, refuse
from powmix.training.preparation import Preparation

TOKENS = ("tokens", "text_bert")
"""What token ids (N, 3, L) are called: ids, attention mask, token types."""
SHAPES = {"vector": "vectors (N, {0})", "sequence": "sequences (N, L, {0})", "image": "images (N, {0}, H, W)"}

Incoming = Mapping[str, Any] | Split | Batch
log = logging.getLogger("powmix")


def split_of(data: Incoming, prepared: Preparation, where: str = "data") -> Split:
    """Data as the model saw its own, on the CPU.

    data: arrays by name as `dataset=arrays` has them (data/assembling.py), raw text too, not scaled, with or without
    `target`; a `datasets.Dataset`; or a Split or a Batch, taken as it is but for its padding. Keys that are not used
    are named in a warning. A target that is absent is zero. ValueError names all modalities that are missing or of
    another kind or width.
    """
    if isinstance(data, Batch):
        names = [str(row) for row in data.index.tolist()]
        blank = [""] * len(names)
        data = Split(data.features, data.tokens, data.lengths, data.side, data.target, names, blank)
    if is_dataset(data):
        data = arrays_of(data, where)
    if isinstance(data, Mapping):
        data = _of_arrays(data, prepared, where)
    elif not isinstance(data, Split):
        raise ValueError(
            f"{where}: expected arrays by name, a datasets.Dataset, a Split or a Batch, got {type(data).__name__}"
        )
    if not len(data):
        raise ValueError(f"{where}: expected examples, got none")
    return _fitted(data, prepared, where)


def _of_arrays(arrays: Mapping[str, Any], prepared: Preparation, where: str) -> Split:
    """Arrays by name as a Split, scaled; padded on the right as far as they go."""
    needed = tuple(prepared.inputs.dims)
    size = _size(arrays, needed, where)
    tokens = next((arrays[key] for key in TOKENS if key in arrays), None)
    found = modalities(where, {key: value for key, value in arrays.items() if key not in TOKENS}, size)
    features = {key: value for key, value in found.features.items() if key in needed}
    lengths = {key: value for key, value in found.lengths.items() if key in needed}
    unused = [*found.unused, *(key for key in found.features if key not in needed)]
    if found.texts and tokens is None and prepared.inputs.vocabulary:
        tokens = tokenise(where, found.texts, _encoder(prepared, where), prepared.inputs.steps[TEXT])
    elif found.texts and TEXT in needed and TEXT not in features and prepared.encoder:
        steps = prepared.inputs.steps[TEXT]
        features[TEXT], lengths[TEXT] = frozen_states(where, found.texts, prepared.encoder, steps)
    elif found.texts:
        unused.append("its strings")
    if unused:
        log.warning("%s: not used, since the model reads none of them: %s", where, "; ".join(unused))
    refuse(list(_mistakes(features, prepared)), where)
    for name, (mean, std) in prepared.scale.items():
        kind = prepared.inputs.kind(name)
        features[name] = scaled(features[name], kind, torch.tensor(mean), torch.tensor(std), lengths.get(name))
    read = None if tokens is None or not prepared.inputs.vocabulary else _tokens(tokens, size, where)
    return Split(
        features,
        read,
        lengths,
        dict.fromkeys(lengths, "right"),
        target_of(arrays["target"], prepared, size, where) if "target" in arrays else _no_target(prepared, size),
        list(map(str, np.asarray(arrays.get("id", range(size))).tolist())),
        found.texts or [""] * size,
    )


def _size(arrays: Mapping[str, Any], needed: tuple[str, ...], where: str) -> int:
    """How many examples there are: as the first modality that the model reads has it."""
    keys = (key for name in (*needed, *TOKENS, *RAW_TEXT) for key in (name, f"{name}{LENGTHS}"))
    first = next((arrays[key] for key in keys if key in arrays), None)
    if first is not None:
        return len(first)
    there = {key.removesuffix(ROWS).removesuffix(LENGTHS): None for key in arrays if key not in RESERVED}
    has = ", ".join(there) or "no modality"
    raise ValueError(f"{where}: the model reads {', '.join(needed) or TOKENS[0]}, there is {has}")


def _encoder(prepared: Preparation, where: str) -> str:
    if prepared.encoder is None:
        raise ValueError(
            f"{where}: the tokenizer of raw text is not known: give `tokens`, ids, masks and types (N, 3, L)"
        )
    return prepared.encoder


def _mistakes(features: Mapping[str, Tensor], prepared: Preparation) -> Iterator[str]:
    """A sentence for each modality that is missing, or is none that the model can read."""
    for name, width in prepared.inputs.dims.items():
        kind = prepared.inputs.kind(name)
        wanted = SHAPES[kind].format(width)
        if name not in features:
            yield f"no {name}{nearest(name, features)}, of which the model reads {wanted}"
        elif (got := KINDS.get(features[name].ndim)) != kind or _width(features[name], kind) != width:
            shape = SHAPES[got].format(_width(features[name], got)) if got else tuple(features[name].shape)
            yield f"{name}: expected {wanted}, got {shape}"


def _width(value: Tensor, kind: Kind) -> int:
    return value.shape[1 if kind == "image" else -1]


def _fitted(split: Split, prepared: Preparation, where: str) -> Split:
    """A split with what the model reads, each sequence as long as in training and padded on the same side."""
    inputs = prepared.inputs
    wrong = list(_mistakes(split.features, prepared))
    if inputs.vocabulary and split.tokens is None:
        wrong.append("no tokens, of which the model reads ids, attention mask and token types (N, 3, L)")
    refuse(wrong, where)
    features, sides = {}, dict(split.side)
    lengths = {name: value for name, value in split.lengths.items() if name in (*inputs.dims, "text")}
    for name in inputs.dims:
        features[name] = split.features[name]
        if inputs.kind(name) == "sequence":
            steps, side = inputs.steps[name], prepared.sides.get(name, "right")
            if (features[name].shape[1], sides[name]) != (steps, side):
                features[name], lengths[name] = _laid_out(
                    f"{where}: {name}", features[name], lengths[name], sides[name], steps, side
                )
            sides[name] = side
    tokens = split.tokens if inputs.vocabulary else None
    if tokens is not None:
        steps = inputs.steps["text"]
        if (long := int((tokens[:, 1, steps:].sum(-1) > 0).sum())) > 0:
            log.warning("%s: text: %d of %d have more than %d tokens: they are cut", where, long, len(split), steps)
        if tokens.shape[2] != steps or "text" not in lengths:
            tokens = torch.nn.functional.pad(tokens[:, :, :steps], (0, max(0, steps - tokens.shape[2])))
            lengths["text"] = tokens[:, 1].sum(-1)
        sides.setdefault("text", "right")
    return replace(split, features=features, tokens=tokens, lengths=lengths, side=sides)


def _laid_out(
    where: str, x_NLD: Tensor, length_N: Tensor, side: Side, steps: int, wanted: Side
) -> tuple[Tensor, Tensor]:
    """Sequences in `steps` steps, padded on the side that is wanted; what is longer is cut at its end, and told."""
    longer = int((length_N > steps).sum())
    if longer:
        log.warning("%s: %d of %d have more than the %d steps of training: they are cut", where, longer,
                    len(length_N), steps)  # fmt: skip
    cut_N = length_N.clamp(max=steps)
    out = x_NLD.new_zeros(len(x_NLD), steps, x_NLD.shape[2])
    first_N1 = (x_NLD.shape[1] - length_N if side == "left" else torch.zeros_like(length_N)).unsqueeze(-1)
    step_L = torch.arange(x_NLD.shape[1], device=x_NLD.device)
    from_NL = (step_L >= first_N1) & (step_L < first_N1 + cut_N.unsqueeze(-1))
    out[real_steps(cut_N, wanted, steps)] = x_NLD[from_NL]
    return out, cut_N


def _tokens(value: Any, size: int, where: str) -> Tensor:
    array = np.asarray(value)
    if array.dtype.kind not in "iu" or array.ndim != 3 or array.shape[:2] != (size, 3) or array.min() < 0:
        raise ValueError(
            f"{where}: tokens: expected ids, attention mask and token types as whole numbers ({size}, 3, L), got "
            f"{array.shape} {array.dtype}"
        )
    return torch.from_numpy(array.astype(np.int64))


# --- the target -------------------------------------------------------------------------------------------------------


def target_of(value: Any, prepared: Preparation, size: int, where: str = "data") -> Tensor:
    """A target as the run's was prepared (N, C): classes by the names they had there. ValueError for any other."""
    array, outputs, task = np.asarray(value), prepared.inputs.outputs, prepared.task
    if len(array) != size or array.size not in (size, size * outputs):
        raise ValueError(f"{where}: target: expected {size} examples of {outputs}, got {array.shape}")
    if task != "classification" or array.size == size * outputs > size:
        if array.dtype.kind not in "biuf" or array.size != size * outputs:
            raise ValueError(f"{where}: target: expected numbers ({size}, {outputs}), got {array.shape} {array.dtype}")
        return torch.from_numpy(array.reshape(size, outputs).astype(np.float32))
    row = {name: number for number, name in enumerate(prepared.labels)}
    names = [
        str(int(one)) if isinstance(one, float) and one == int(one) else str(one) for one in array.ravel().tolist()
    ]
    if strange := sorted({name for name in names if name not in row}):
        raise ValueError(
            f"{where}: target: {', '.join(strange[:5])}: none of the run's classes {', '.join(list(row)[:20])}"
        )
    return torch.eye(outputs)[[row[name] for name in names]]


def _no_target(prepared: Preparation, size: int) -> Tensor:
    return torch.zeros(size, prepared.inputs.outputs)
