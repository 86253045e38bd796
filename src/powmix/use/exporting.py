"""`powmix-export RUN FOLDER`: one seed's model as a folder that stands by itself, laid out as on Hugging Face.

model.safetensors: the weights, and what they must be told of data; config.json: what `powmix.load` builds the model
from; README.md: the model card (card.py); text_encoder/: the files of the encoder that it was made of; the model's own
code, where a plugin has it.
"""

from __future__ import annotations

import shutil
import sys
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from powmix.mistakes import Parser

if TYPE_CHECKING:
    from powmix.runs.records import Record
    from powmix.training.preparation import Preparation
    from powmix.use.origin import Origin

KEPT = ("task", "dataset", "model", "protocol", "mixer", "trainer", "optimizer", "schedule", "loss", "label_smoothing")
"""The sections of a run's configuration that say what the model is and how it was trained; no other is exported."""


def parser() -> Parser:
    made = Parser(
        prog="powmix-export",
        description="Write one seed of a finished run as a folder of its own: weights, configuration, model card.",
        epilog="example: powmix-export outputs/runs/8c1f0a5b2d3e my-model; hf upload NAME/my-model my-model",
        allow_abbrev=False,
    )
    made.add_argument("run", type=Path, metavar="RUN", help="the run's folder")
    made.add_argument("folder", type=Path, metavar="FOLDER", help="where to write; new, or empty")
    made.add_argument("--seed", type=int, metavar="S", help="default: of several the one best on validation")
    made.add_argument("--force", action="store_true", help="write over what was exported to FOLDER before")
    made.add_plugins()
    return made


def main(arguments: Sequence[str] | None = None) -> int:
    command = parser()
    options = command.parse_args(arguments)
    try:
        with command.saying_warnings():
            written = export(options.run, options.folder, options.seed, options.plugins, options.force)
    except (ValueError, OSError) as error:
        print(f"powmix-export: {error}", file=sys.stderr)
        return 2
    print(f"{options.folder}/: {', '.join(written)}")
    print(f"README.md has no licence: choose one. Then: hf upload NAME/{options.folder.name} {options.folder}")
    return 0


def export(
    run: Path, folder: Path, seed: int | None = None, plugins: Sequence[str] = (), force: bool = False
) -> list[str]:
    """Writes a seed of a run to a folder that `powmix.load` reads without the run, its data or its text encoder.

    seed: None is, of several, the one best on validation. plugins: the model's own code, where it is not where the run
    had it. force: write over an earlier export. What a model remembers of single training examples is left out. Gives
    the names of what was written. ValueError for what is no run, and for a folder that is in use.
    """
    from powmix.runs.files import replacing, write_json
    from powmix.runs.identity import SCHEMA
    from powmix.runs.records import read_record
    from powmix.training import checkpoint
    from powmix.use.card import card
    from powmix.use.origin import CONFIG, ENCODER, KIND, WEIGHTS, load_plugins, origins, preparation_of

    [origin] = origins(run, seed)
    if origin.weights.name == WEIGHTS:
        raise ValueError(f"{run} is an exported folder already: copy it")
    if folder.is_dir() and any(folder.iterdir()) and not force:
        raise ValueError(f"{folder} is not empty: choose another folder; --force writes over an earlier export")
    load_plugins(origin, plugins)
    record, prepared = read_record(origin.folder), preparation_of(origin)
    config, copied = _portable(origin, prepared, folder)
    prepared = replace(prepared, encoder=ENCODER if f"{ENCODER}/" in copied else None)
    weights = _without_examples(origin, prepared)
    checkpoint.export(folder / WEIGHTS, weights, **{**checkpoint.notes_of(origin.weights), "data": prepared.notes()})
    told = {"model_type": KIND, "schema": SCHEMA, "name": origin.name, "seed": origin.seed, "config": config}
    told |= {"plugins": dict(origin.plugins), "provenance": _provenance(record)}
    write_json(folder / CONFIG, told)
    with replacing(folder / "README.md") as temporary:
        temporary.write_text(card(record, prepared, origin.seed, config["plugins"], folder.name), encoding="utf-8")
    return [WEIGHTS, CONFIG, "README.md", *copied]


def _portable(origin: Origin, prepared: Preparation, folder: Path) -> tuple[dict[str, Any], list[str]]:
    """The configuration without paths of this machine, and the names of what was copied for it."""
    from powmix.data.encoders import check_encoder, resolve_encoder
    from powmix.models.registry import MODELS
    from powmix.use.origin import ENCODER

    config = {key: origin.config[key] for key in KEPT if key in origin.config}
    config["dataset"] = {key: value for key, value in config["dataset"].items() if key != "path"}
    config["trainer"] = {**config["trainer"], "device": "auto"}
    text, copied = config["model"].get("text"), []
    source = None
    if isinstance(text, Mapping) and text.get("pretrained") is not None:
        source = check_encoder(text["pretrained"])
        if source is not None:
            config["model"] = {**config["model"], "text": {**text, "pretrained": ENCODER}}
    elif prepared.encoder is not None:
        source = resolve_encoder(prepared.encoder)
    if source is not None:
        _copy([one for one in sorted(source.iterdir()) if one.suffix != ".py"], folder / ENCODER)
        copied.append(f"{ENCODER}/")
    if config["dataset"].get("text_encoder") not in (None, "auto", "minilm"):
        config["dataset"]["text_encoder"] = ENCODER
    own = not isinstance(MODELS[config["model"]["name"]].kind, str)
    config["plugins"] = _plugins(origin, folder, copied) if own else []
    return config, copied


def _plugins(origin: Origin, folder: Path, copied: list[str]) -> list[str]:
    """The plugins of the model's own code, by name; those that are files are copied."""
    from powmix import plugins

    found = [one for one in plugins.loaded() if one.name in origin.plugins]
    copied += _copy([one.path for one in found if one.path.suffix == ".py"], folder)
    return [one.name for one in found]


def _copy(files: Sequence[Path], folder: Path) -> list[str]:
    folder.mkdir(parents=True, exist_ok=True)
    return [Path(shutil.copy(file, folder)).name for file in files if file.is_file() and not file.name.startswith(".")]


def _without_examples(origin: Origin, prepared: Preparation) -> dict[str, Any]:
    """The weights, less what a model remembers of single training examples: it is empty in a model that is new."""
    from safetensors.torch import load_file

    from powmix.use.trained import network

    fresh = network(origin, prepared).state_dict()
    return {
        name: fresh[name] if name in fresh and not fresh[name].numel() else value
        for name, value in load_file(origin.weights).items()
    }


def _provenance(record: Record) -> dict[str, Any]:
    dataset = record.provenance.get("dataset", {})
    told = {key: record.provenance.get(key) for key in ("git", "versions", "created")}
    return {**told, "dataset": {key: dataset.get(key) for key in ("name", "digest", "sizes")}}


if __name__ == "__main__":
    sys.exit(main())
