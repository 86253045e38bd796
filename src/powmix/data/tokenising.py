"""Raw text -> token ids by a text encoder's own tokenizer, and the frozen encoder's states of them; each made once.

Shape suffixes: N examples, L tokens, D width.
"""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from powmix.data import text
from powmix.data.cache import Stored, Writer, build_once, cache_root
from powmix.data.encoders import (
    encoder_identity,
    load_tokenizer,
    longest_text,
    resolve_encoder,
    tokenizer_files,
    tokenizer_folder,
)

log = logging.getLogger("powmix")


def tokenise(where: str, texts: Sequence[str], encoder: str, most: int | None = None) -> Tensor:
    """The texts as rows ids, attention mask, token types (N, 3, L) int64, padded on the right to the longest text.

    encoder: whose tokenizer reads them (encoders.tokenizer_folder). most: tokens of a text, where its encoder reads
    more; special ones count, and the last stays the last. The ids are kept in the cache. ValueError without tokenizer.
    """
    stored = _tokens(where, texts, tokenizer_folder(encoder), most)
    return torch.from_numpy(stored.array("tokens").astype(np.int64))


def frozen_states(where: str, texts: Sequence[str], encoder: str, most: int | None = None) -> tuple[Tensor, Tensor]:
    """Dense features of texts: the encoder's last hidden states (N, L, D), padding zero, and their lengths (N,).

    Arguments as of `tokenise`.
    """
    weights = resolve_encoder(encoder)
    stored = _tokens(where, texts, tokenizer_folder(encoder), most)
    tokens_N3L = torch.from_numpy(stored.array("tokens").astype(np.int64))
    states = build_once(
        stored.folder / f"states-{encoder_identity(weights)}",
        lambda writer: _encode(where, tokens_N3L, weights, writer),
    )
    mask_NL = tokens_N3L[:, 1]
    return torch.from_numpy(np.array(states.array("states"))) * mask_NL.unsqueeze(-1), mask_NL.sum(-1)


def _tokens(where: str, texts: Sequence[str], folder: Path, most: int | None) -> Stored:
    digest = hashlib.sha256(f"{version('transformers')} {most} {len(texts)}".encode())
    for file in (folder / "config.json", *tokenizer_files(folder)):
        digest.update(f"\0{file.name}\0".encode() + file.read_bytes())
    for one in texts:
        digest.update(b"\0" + one.encode())
    place = cache_root() / "tokens" / digest.hexdigest()[:32]
    stored = build_once(place, lambda writer: _write(texts, folder, most, writer))
    if stored.facts["full"]:
        limit = stored.facts["limit"]
        log.warning("%s: %d of %d texts fill %d tokens: what is beyond is not read", where, stored.facts["full"],
                    len(texts), limit)  # fmt: skip
    return stored


def _write(texts: Sequence[str], folder: Path, most: int | None, writer: Writer) -> dict[str, Any]:
    tokenizer = load_tokenizer(folder)
    limit = longest_text(folder, tokenizer)
    limit = min(limit, most or limit)
    read = tokenizer(list(texts), truncation=True, max_length=limit, return_token_type_ids=True)
    lengths = [len(ids) for ids in read["input_ids"]]
    tokens_N3L = np.zeros((len(texts), 3, max(1, *lengths)), np.int32)
    tokens_N3L[:, 0] = tokenizer.pad_token_id or 0
    for row, length in enumerate(lengths):
        for place, key in enumerate(("input_ids", "attention_mask", "token_type_ids")):
            tokens_N3L[row, place, :length] = read[key][row]
    writer.whole_array("tokens", tokens_N3L, np.int32)
    return {"limit": limit, "full": sum(length >= limit for length in lengths)}


def _encode(where: str, tokens_N3L: Tensor, weights: Path, writer: Writer) -> dict[str, Any]:
    log.info("%s: computing its text features once with the frozen encoder %s", where, weights)
    model = text.frozen(weights)
    width = text.width_of(f"{where}: text", model, int(tokens_N3L[:, 0].max()), weights)
    with writer.array("states", np.float32, (len(tokens_N3L), tokens_N3L.shape[2], width)) as write:
        text.encode(model, tokens_N3L, write)
    return {}
