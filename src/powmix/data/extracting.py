"""Raw waveforms or images -> sequences of states of a frozen model of transformers, once, into a file of arrays.

Shape suffixes: N examples, L steps, D width.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch

from powmix.data import text
from powmix.data.array_files import read
from powmix.data.assembling import LENGTHS, ROWS
from powmix.mistakes import nearest
from powmix.runs.files import replacing

KINDS = {"input_values": "audio", "pixel_values": "image"}
"""What the models that can be used are given, by the name of their input."""


def extract(path: str, key: str, folder: Path, out: Path, rate: int = 16000) -> tuple[int, int]:
    """Writes all arrays of a file, `key` replaced by `key.rows` and `key.lengths`: a frozen model's last hidden states.

    key: waveforms (N, T), ragged ones as key.rows (sum of T_i, 1) with key.lengths, or images (N, C, H, W) of 0..255.
    folder: config.json, weights and preprocessor_config.json of an audio or image model; code in it is never run.
    rate: of the waveforms, in Hz. Returns the number of examples and the width. ValueError, in one line, for arrays or
    folders of another kind.
    """
    arrays = read(path)
    examples = _examples(path, arrays, key)
    model = text.frozen(folder)
    kind = KINDS.get(model.main_input_name)
    if kind is None or kind != ("image" if examples[0].ndim == 3 else "audio"):
        own, shape = model.config.model_type, examples[0].shape
        raise ValueError(f"{folder}: a {own!r} model does not read {key}, examples of shape {shape}")
    processor = _processor(folder)
    if kind == "audio" and (own := processor.sampling_rate) != rate:
        raise ValueError(f"{path}: {key}: {folder} reads {own} Hz, the waveforms have {rate} (--rate)")
    device = next(model.parameters()).device
    states = []
    with torch.inference_mode():
        for one in examples:
            try:
                given = processor(one, return_tensors="pt", **({"sampling_rate": rate} if kind == "audio" else {}))
                state = model(**{model.main_input_name: given[model.main_input_name].to(device)}).last_hidden_state[0]
            except (ValueError, RuntimeError) as error:
                raise ValueError(f"{path}: {key}: {' '.join(str(error).split())[:160]}") from None
            state = state.flatten(1).T if state.ndim == 3 else state  # of convolutions (D, H, W): places are steps
            states.append(state.float().cpu().numpy())
    others = {name: value for name, value in arrays.items() if name not in (key, key + ROWS, key + LENGTHS)}
    told = {key + ROWS: np.concatenate(states), key + LENGTHS: np.array(list(map(len, states)))}
    with replacing(out) as temporary, temporary.open("wb") as stream:
        np.savez(stream, **others, **told)
    return len(states), states[0].shape[1]


def _examples(path: str, arrays: Mapping[str, Any], key: str) -> list[np.ndarray]:
    """Waveforms (T,), or images (C, H, W)."""
    if key + ROWS in arrays and key + LENGTHS in arrays:
        rows, lengths_N = arrays[key + ROWS], arrays[key + LENGTHS]
        if rows.size == len(rows) and lengths_N.sum() == len(rows):
            return np.split(rows.reshape(-1).astype(np.float32), lengths_N.cumsum()[:-1])
        raise ValueError(f"{path}: {key}: expected waveforms (steps, 1), got {rows.shape}")
    if key not in arrays:
        raise ValueError(f"{path}: no {key!r} among {', '.join(arrays)}{nearest(key, arrays)}")
    value = np.asarray(arrays[key])
    if value.dtype.kind not in "iuf" or value.ndim not in (2, 4):
        raise ValueError(f"{path}: {key}: expected waveforms (N, T) or images (N, C, H, W), got {value.shape}")
    return list(value.astype(np.float32) if value.ndim == 2 else value)


def _processor(folder: Path) -> Any:
    """How the model's folder says that raw input is prepared."""
    from transformers import AutoFeatureExtractor, AutoImageProcessor

    problem: Exception | None = None
    for kind in (AutoFeatureExtractor, AutoImageProcessor):
        try:
            return kind.from_pretrained(folder, local_files_only=True, trust_remote_code=False)
        except Exception as error:
            problem = error
    first = f"{type(problem).__name__}: {' '.join(str(problem).split())[:160]}"
    raise ValueError(f"{folder}: its preprocessor_config.json cannot be loaded: {first}") from None
