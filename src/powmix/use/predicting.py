"""`powmix-predict RUN --data FILE`: what a trained run predicts of a file, as CSV, and the metrics if it has a target.

Shape suffixes: N examples, C outputs.
"""

from __future__ import annotations

import argparse
import csv
import logging
import sys
import warnings
import zipfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, TextIO

from powmix.mistakes import Parser, options_of, refuse

if TYPE_CHECKING:
    from torch import Tensor

    from powmix.data.splits import Split
    from powmix.training.preparation import Preparation
    from powmix.use.origin import Origin

    Part = tuple[Mapping[str, Any] | Split, list[int] | None]
    """Arrays or a split, and which of its rows to predict, None for all."""

ALL = "all"


def parser() -> Parser:
    made = Parser(
        prog="powmix-predict",
        description="Predict with a trained run: its folder, or one that powmix-export wrote.",
        epilog="example: powmix-predict outputs/runs/8c1f0a5b2d3e --data new.npz --out predictions.csv",
        allow_abbrev=False,
    )
    made.add_argument("run", type=Path, metavar="RUN", help="the folder of a run, or of an exported one")
    made.add_argument(
        "--data",
        type=Path,
        required=True,
        metavar="FILE",
        help="what the run's dataset reads: arrays (.npz, or a folder of .npy), an M-SENA file, or a dataset's own",
    )
    which = made.add_mutually_exclusive_group()
    which.add_argument("--seed", type=int, metavar="S", help="default: of several the one best on validation")
    which.add_argument("--ensemble", action="store_true", help="the mean of all seeds' predictions")
    made.add_argument("--out", type=Path, metavar="CSV", help="where to write the predictions (default: printed)")
    made.add_argument(
        "--split",
        choices=("train", "valid", "test", ALL),
        help="of a file that has splits, which part (default: test)",
    )
    made.add_argument("--device", default="auto", help="auto, cpu, cuda or cuda:k (default: auto)")
    made.add_plugins()
    return made


def main(arguments: Sequence[str] | None = None) -> int:
    command = parser()
    options = command.parse_args(arguments)
    logging.basicConfig(format="powmix-predict: %(message)s", level=logging.WARNING)
    try:
        with command.saying_warnings():
            _predict(options)
    except (ValueError, OSError) as error:
        print(f"powmix-predict: {error}", file=sys.stderr)
        return 2
    return 0


def _predict(options: argparse.Namespace) -> None:
    import torch

    from powmix.use.origin import ENSEMBLE, load_plugins, origins, preparation_of
    from powmix.use.trained import averaged, build

    found = origins(options.run, ENSEMBLE if options.ensemble else options.seed)
    for plugin in load_plugins(found[0], options.plugins, reads_data=True):
        print(f"powmix-predict: plugin {plugin.path}", file=sys.stderr)
    prepared = [preparation_of(origin) for origin in found]
    parts = read(options.data, found[0], options.split)
    _warn_of_training_examples(options.data, found[0], parts, options.split)
    examples = _examples(parts, prepared[0], options.data)  # what does not suit the models is told before one is built
    outputs = []
    for origin, own in zip(found, prepared):
        seen = examples if own == prepared[0] else _examples(parts, own, options.data)
        model = build(origin, own, options.device)
        outputs.append(torch.cat([model.outputs(split) for split in seen]))
    output_NC = averaged(prepared[0].task, outputs) if options.ensemble else outputs[0]
    target_NC = torch.cat([split.target for split in examples]) if _have_target(parts) else None
    ids = [name for split in examples for name in split.ids]
    _write(options.out, list(rows_of(prepared[0], ids, output_NC, target_NC)))
    said = sys.stdout if options.out else sys.stderr
    seeds = "mean of seeds" if options.ensemble else "seed"
    print(f"{found[0].name}, {seeds} {', '.join(str(one.seed) for one in found)}: {len(ids)} predictions", file=said)
    if target_NC is not None:
        print(", ".join(scores(prepared[0], output_NC, target_NC)), file=said)


def read(path: Path, origin: Origin, which: str | None = None) -> list[Part]:
    """A file as the run's dataset reads it. which: the part of a file that has splits; None is its test part.

    The sentiment corpora: an M-SENA file, or arrays. A dataset whose function takes a path: by that function. Any
    other: arrays. ValueError, by name, for what cannot be read.
    """
    from powmix.data import array_files
    from powmix.data.registry import CONVENTIONS, DATASETS, reader
    from powmix.data.splits import Splits

    place, dataset = path.expanduser(), origin.config["dataset"]
    if not place.exists():
        raise ValueError(f"no file {str(path)!r}")
    if dataset["name"] in CONVENTIONS:
        if place.is_file() and not zipfile.is_zipfile(place):
            return _of_splits(_m_sena(place, origin), which)
        return _of_arrays(array_files.read(str(place)), path, which)
    function = reader(dataset["name"]) if dataset["name"] in DATASETS else array_files.read
    if "path" not in options_of(function).defaults:
        function = array_files.read
    options = {key: dataset[key] for key in options_of(function).defaults if key in dataset}
    found = function(**{**options, "path": str(place)})
    return _of_splits(found, which) if isinstance(found, Splits) else _of_arrays(found, path, which)


def rows_of(
    prepared: Preparation, ids: Sequence[str], output_NC: Tensor, target_NC: Tensor | None
) -> Iterator[dict[str, Any]]:
    """The rows of the CSV: id, what is predicted, of classes and labels the probability of each, and the target.

    Classification: `prediction` is a class by its name. Multilabel: prediction_LABEL is 1 from probability 1/2 on.
    """
    from powmix.use.trained import in_units

    task, labels = prepared.task, prepared.labels
    predicted = in_units(task, output_NC).tolist()
    targets = [None] * len(ids) if target_NC is None else target_NC.tolist()
    for name, said, target in zip(ids, predicted, targets, strict=True):
        truth = {} if target is None else _cells(task, labels, "target", target)
        probabilities = {f"probability_{label}": one for label, one in zip(labels, said)} if labels else {}
        yield {"id": name, **_cells(task, labels, "prediction", said), **probabilities, **truth}


def _cells(task: str, labels: Sequence[str], key: str, value: Any) -> dict[str, Any]:
    """A prediction or a target, in the columns that its task has."""
    if task == "classification":
        return {key: labels[value.index(max(value))]}
    if task == "multilabel":
        return {f"{key}_{label}": int(one >= 0.5) for label, one in zip(labels, value)}
    values = value if isinstance(value, list) else [value]
    return {key: values[0]} if len(values) == 1 else {f"{key}_{number}": one for number, one in enumerate(values)}


def scores(prepared: Preparation, output_NC: Tensor, target_NC: Tensor) -> list[str]:
    """The task's metrics, as tables print them."""
    from powmix.metrics.columns import evaluate, metric

    found = evaluate(prepared.convention, output_NC.numpy(), target_NC.numpy())
    return [f"{metric(key).label} {metric(key).show(value)}" for key, value in found.items()]


def _m_sena(path: Path, origin: Origin) -> Any:
    """The whole file as the run's dataset, or for the synthetic corpus as MOSI, whose form it has."""
    from powmix import models
    from powmix.data import load
    from powmix.data.sources import SOURCES

    config = origin.config
    name = config["dataset"]["name"]
    section = {"name": name if name in SOURCES else "mosi", "path": str(path)}
    if "text_encoder" in config["dataset"]:
        section["text_encoder"] = config["dataset"]["text_encoder"]
    return load(section, models.needs(config["model"]["name"], origin.model_options), config["task"], origin.seed)


def _of_splits(splits: Any, which: str | None) -> list[Part]:
    names = ("train", "valid", "test") if which == ALL else (which or "test",)
    return [(getattr(splits, name), None) for name in names]


def _of_arrays(arrays: Mapping[str, Any], path: Path, which: str | None) -> list[Part]:
    """Arrays, and which of their rows are of the part that is asked for."""
    from powmix.data.assembling import parts_of

    given = parts_of(f"{path}", arrays.get("split"), len(arrays.get("split", ())))
    if given is None:
        refuse([f"--split={which}: {path} has no `split`"] if which not in (None, ALL) else [])
        return [(arrays, None)]
    if which == ALL:
        return [(arrays, None)]
    rows = [row for row, part in enumerate(given) if ("train", "valid", "test")[part] == (which or "test")]
    refuse([] if rows else [f"{path}: its split has no {which or 'test'} examples; --split={ALL} predicts every one"])
    return [(arrays, rows)]


def _warn_of_training_examples(path: Path, origin: Origin, parts: Iterable[Part], which: str | None) -> None:
    """The file that a run was trained on may be predicted, but not to learn how good it is."""
    from powmix.runs.identity import source

    undivided = any(isinstance(data, Mapping) and "split" not in data for data, _ in parts)
    own = origin.config["dataset"].get("path")
    if own and (which in ("train", ALL) or undivided) and source({"path": str(path)}) == source({"path": own}):
        warnings.warn(
            f"{path} is what the run was trained on, with its training examples: metrics say nothing of new data",
            stacklevel=2,
        )


def _examples(parts: Iterable[Part], prepared: Preparation, path: Path) -> list[Split]:
    """The parts as a model sees them."""
    from powmix.use.incoming import split_of

    splits = [(split_of(data, prepared, str(path)), rows) for data, rows in parts]
    return [split if rows is None else split.select(rows) for split, rows in splits]


def _have_target(parts: Iterable[Part]) -> bool:
    return all(not isinstance(data, Mapping) or "target" in data for data, _ in parts)


def _write(path: Path | None, rows: Sequence[Mapping[str, Any]]) -> None:
    """As CSV; printed without a path."""
    from powmix.runs.files import replacing

    def write(stream: TextIO) -> None:
        writer = csv.DictWriter(stream, list(rows[0]), lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)

    if path is None:
        write(sys.stdout)
        return
    with replacing(path) as temporary, temporary.open("w", newline="", encoding="utf-8") as stream:
        write(stream)


if __name__ == "__main__":
    sys.exit(main())
