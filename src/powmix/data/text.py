"""Dense text features from token ids: the last hidden states of a frozen BERT, computed once per file and encoder.

Shape suffixes: N examples, L token steps, D width.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from powmix.data.cache import Writer, build_once
from powmix.data.encoders import encoder_identity, load_encoder, resolve_encoder
from powmix.data.sources import SOURCES, SPLITS
from powmix.data.splits import Split, Splits
from powmix.data.store import Store, tensor

BATCH = 32
log = logging.getLogger(__name__)


def with_text(store: Store, encoder: str | None = "auto") -> Splits:
    """The store's splits with dense `text` (N, L, D) float32.

    encoder: `auto` takes the file's own features where it has any, else the dataset's default encoder; any other name
    (encoders.resolve_encoder) computes them from the token ids. Raises ValueError without encoder or token ids.
    """
    if encoder in (None, "auto"):
        if "text" in store.splits.dims:
            return store.splits
        encoder = SOURCES[store.splits.name].encoder
    if store.splits.train.tokens is None:
        raise ValueError(f"{store.path}: text_bert: expected token ids for dataset.text_encoder={encoder}, got none")
    weights = resolve_encoder(encoder)
    stored = build_once(
        store.folder / f"states-{encoder_identity(weights)}", lambda writer: _encode_splits(store, weights, writer)
    )
    text = {split: tensor(stored, split) for split in SPLITS}
    return replace(
        store.splits,
        **{split: _with(getattr(store.splits, split), text[split]) for split in SPLITS},
        dims={"text": text["train"].shape[-1], **{m: d for m, d in store.splits.dims.items() if m != "text"}},
        notes=store.splits.notes | {"text_encoder": str(encoder)},
    )


def encode(model: Any, tokens_N3L: Tensor, write: Callable[[np.ndarray], None]) -> None:
    """Give `write` the model's last hidden states at every step, padded ones too, some examples at a time.

    No real token attends to padding, but a padded step attends to the real ones: it repeats, in its own words, what was
    said. The published recurrent models read the whole padded sequence, and zeros there would make them forget it.
    """
    device = next(model.parameters()).device
    has_types = getattr(model.config, "type_vocab_size", 0) > 1
    with torch.inference_mode():
        for part_B3L in tokens_N3L.split(BATCH):
            ids_BL, mask_BL, kind_BL = part_B3L.to(device).unbind(1)
            types = {"token_type_ids": kind_BL} if has_types else {}
            hidden_BLD = model(input_ids=ids_BL, attention_mask=mask_BL, **types).last_hidden_state
            write(hidden_BLD.float().cpu().numpy())


def _with(split: Split, text_NLD: Tensor) -> Split:
    return replace(split, features={**split.features, "text": text_NLD})


def _encode_splits(store: Store, weights: Path, writer: Writer) -> dict[str, Any]:
    log.info("computing text features of %s once with the frozen encoder %s", store.path.name, weights)
    model = frozen(weights)
    most = max(int(getattr(store.splits, split).tokens[:, 0].max()) for split in SPLITS)
    width = width_of(f"{store.path}: text_bert", model, most, weights)
    for split in SPLITS:
        tokens_N3L = getattr(store.splits, split).tokens
        with writer.array(split, np.float32, (len(tokens_N3L), tokens_N3L.shape[2], width)) as write:
            encode(model, tokens_N3L, write)
    return {}


def width_of(where: str, model: Any, most: int, weights: Path) -> int:
    """The encoder's width. ValueError where the largest token id is beyond its vocabulary."""
    if most >= model.config.vocab_size:
        raise ValueError(
            f"{where}: expected token ids below {model.config.vocab_size}, the vocabulary of the text encoder "
            f"{weights}, got {most}"
        )
    return model.config.hidden_size


def frozen(weights: Path) -> Any:
    """The encoder in a folder, without gradients and dropout, on the GPU if there is one."""
    from transformers.utils import logging as transformers_logging

    transformers_logging.disable_progress_bar()
    model = load_encoder(weights)
    return model.eval().requires_grad_(False).to("cuda" if torch.cuda.is_available() else "cpu")
