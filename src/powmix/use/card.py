"""The model card of an exported folder: what the model is, how it is loaded, what it reached over all seeds."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence

import yaml

from powmix.data.registry import TITLES as DATASETS
from powmix.mixing.registry import TITLES as MIXERS
from powmix.models.registry import TITLES as MODELS
from powmix.report import formats
from powmix.report.building import build
from powmix.report.table import Table
from powmix.report.verdict import summaries
from powmix.runs.collection import is_run
from powmix.runs.records import Record, read_record
from powmix.training.preparation import Preparation
from powmix.use.incoming import SHAPES

ARRAY = {"vector": "vectors_ND", "sequence": "[steps_LD, ...]", "image": "images_NDHW"}


def card(record: Record, prepared: Preparation, seed: int, plugins: Sequence[str], folder: str) -> str:
    """README.md. seed: whose weights lie beside it. plugins: the files and modules of the model's own code."""
    model, dataset = MODELS.get(record.model, record.model), DATASETS.get(record.dataset, record.dataset)
    mixer = MIXERS.get(record.mixer, record.mixer)
    table = results(record)
    sentences = "".join(f"- {sentence}\n" for sentence in summaries(table)) if len(table.rows) > 1 else ""
    parts = [
        _front(record),
        f"# {folder}\n\n{model} on {dataset} ({prepared.task}), {mixer.lower() if record.mixer == 'none' else mixer}, "
        f"protocol {record.protocol}. Weights of seed {seed}, one of {len(record.seeds)}.",
        f"## How to load it\n\n{_loading(prepared, plugins, folder)}",
        f"## What it reads\n\n{_reads(prepared)}",
        f"## What it predicts\n\n{_predicts(prepared)}",
        f"## Results\n\n{_results(table)}{sentences}\nThe validation part chose the epoch, the test part was "
        "evaluated once for each seed.",
        f"## Training\n\n{_training(record)}",
    ]
    return "\n\n".join(part.strip("\n") for part in parts) + "\n"


def results(record: Record) -> Table:
    """The run's row and, where the run without mixing lies beside it, that one's."""
    beside = [place for place in sorted(record.folder.parent.iterdir()) if place != record.folder and is_run(place)]
    others = [other for other in _records(beside) if _is_baseline(other, record)]
    row = next(row for row in build([record, *others]).rows if row.record is record)
    return build([record] if row.baseline is None else [row.baseline, record])


def _records(folders: Sequence) -> Iterator[Record]:
    for folder in folders:
        try:
            yield read_record(folder)
        except ValueError:
            continue  # not finished, or another version's: no baseline


def _is_baseline(other: Record, record: Record) -> bool:
    alike = all(getattr(other, key) == getattr(record, key) for key in ("dataset", "model", "protocol", "task"))
    digest = [one.provenance.get("dataset", {}).get("digest") for one in (other, record)]
    return alike and other.mixer == "none" and bool(other.seeds) and digest[0] == digest[1]


def _front(record: Record) -> str:
    """What Hugging Face reads; the licence is for the user to choose."""
    tags = ["multimodal", "powmix", record.model, record.dataset, record.task]
    told = yaml.safe_dump({"library_name": "powmix", "tags": list(dict.fromkeys(tags))}, sort_keys=False)
    return f"---\n# license: yours to choose; that of the training data may bind you\n{told}---"


def _loading(prepared: Preparation, plugins: Sequence[str], folder: str) -> str:
    reads = {name: ARRAY[prepared.inputs.kind(name)] for name in prepared.inputs.dims}
    if prepared.encoder is not None:
        reads["text"] = '["a sentence", ...]'
    elif prepared.inputs.vocabulary:
        reads["tokens"] = "ids_masks_types_N3L"
    given = ", ".join(f'"{name}": {what}' for name, what in reads.items())
    named = [one if one.endswith(".py") is False else f"{folder}/{one}" for one in plugins]
    told = f", plugins={named!r}" if named else ""
    option = f" --plugins {' '.join(named)}" if named else ""
    code = (
        "\n\nIts network is code of its author's, which is run only where it is named: read it first." if named else ""
    )
    return (
        f'```python\nimport powmix\n\nmodel = powmix.load("{folder}"{told})\nprediction = model.predict({{{given}}})\n'
        f"```\n\n```\npowmix-predict {folder} --data new.npz{option}\n```{code}"
    )


def _reads(prepared: Preparation) -> str:
    dense = [name for name in prepared.inputs.dims if name != "text" or prepared.encoder is None]
    shapes = {name: SHAPES[prepared.inputs.kind(name)].format(prepared.inputs.dims[name]) for name in dense}
    rows = [f"| `{name}` | {shape}{_steps(prepared, name)} |" for name, shape in shapes.items()]
    if prepared.encoder is not None:
        rows.append("| `text` | N strings, which the text encoder's tokenizer reads |")
    elif prepared.inputs.vocabulary:
        rows.append("| `tokens` | ids, attention mask and token types (N, 3, L), of the text encoder's tokenizer |")
    scaled = "Not scaled: the model scales them itself, as its training data were." if prepared.scale else ""
    return "\n".join(["| name | what |", "|---|---|", *rows, "", scaled]).rstrip()


def _steps(prepared: Preparation, name: str) -> str:
    return f", L up to {prepared.inputs.steps[name]}" if prepared.inputs.kind(name) == "sequence" else ""


def _predicts(prepared: Preparation) -> str:
    if prepared.task == "regression":
        low, high = prepared.inputs.label_range
        return f"A number, in the units of the training labels ({low:g} to {high:g})."
    what = "The probability of each class" if prepared.task == "classification" else "The probability of each label"
    shown = ", ".join(prepared.labels[:50]) + (", ..." if len(prepared.labels) > 50 else "")
    return f"{what}: {shown}."


def _results(table: Table) -> str:
    return re.sub(r"^##", "###", formats.markdown(table), flags=re.MULTILINE)


def _training(record: Record) -> str:
    told, dataset = record.provenance, record.provenance.get("dataset", {})
    versions = ", ".join(f"{name} {number}" for name, number in (told.get("versions") or {}).items())
    sizes = " / ".join(map(str, dataset.get("sizes", ())))
    options = ", ".join(f"{key}={value}" for key, value in record.mixing_options().items() if key != "name")
    facts = [
        f"- examples: {sizes} (training / validation / test); SHA-256 of the data: `{dataset.get('digest')}`",
        f"- mixer: {record.mixer}" + (f" ({options})" if options and record.mixer != "none" else ""),
        f"- seeds: {', '.join(str(seed.seed) for seed in record.seeds)}; signature of the run: `{record.signature}`",
        f"- made by: {versions}; git `{told.get('git')}`, {told.get('created')}",
    ]
    return "\n".join(facts)
