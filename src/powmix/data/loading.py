"""From the `dataset` section of a configuration to Splits, once per process for equal arguments.

Shape suffixes: N examples, C outputs.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal, cast

import torch
from torch import Tensor

from powmix.data import synthetic
from powmix.data.assembling import Whole, assemble
from powmix.data.cache import stamp
from powmix.data.columnar import arrays_of, is_dataset
from powmix.data.registry import COMMON, CONVENTIONS, PER_SEED, SPLITTING, convention_of, mistakes, reader
from powmix.data.sources import MODALITIES, SPLITS, SYNTHETIC
from powmix.data.splits import Split, Splits, Task
from powmix.data.splitting import fraction_rows, split
from powmix.mistakes import broken, check_one_of, refuse, unknown
from powmix.runs.identity import DEFAULT_SEED

NEEDS = ("tokens", *MODALITIES)
TASKS = ("regression", "classification", "multilabel")
CLASSES = ("negative", "neutral", "positive")

log = logging.getLogger(__name__)
WHOLES = 2
GENERAL = {key: value for key, (value, _) in SPLITTING.items()}
_loaded: dict[str, Splits] = {}
_wholes: dict[str, Whole | Splits] = {}
_last: dict[str, Any] = {}


def load(
    dataset: Mapping[str, Any], needs: Sequence[str], task: Task | Literal["auto"] = "auto", seed: int = DEFAULT_SEED
) -> Splits:
    """The dataset with what a model needs of it, on the CPU; memory-mapped where it came from a file.

    dataset: a section as registry.py knows it. needs: dense modalities by name, `*` for all of them (of a sentiment
    corpus, beside `tokens`, all but `text`), `tokens`; dense `text` that is lacking is computed by a frozen encoder.
    task: `auto` is what the target asks for; of a sentiment corpus regression, and classification turns its labels into
    one-hot (N, 3) negative, neutral, positive. seed: of the run, where `split_seed=seed` gives every seed its own
    split. Equal arguments give the same object within a process, as long as no other seed asks for its split. Raises
    ValueError for wrong options, missing or unusable files, leaks.
    """
    refuse(mistakes(dataset))
    check_one_of("task", task, ("auto", *TASKS))
    if dataset["name"] not in CONVENTIONS:
        return _general({**GENERAL, **dataset}, tuple(needs), task, seed)
    only = _only(dataset, MODALITIES)
    everything = tuple(one for one in only if one != "text" or "tokens" not in needs)
    needs = tuple(dict.fromkeys(one for need in needs for one in (everything if need == "*" else (need,))))
    task = "regression" if task == "auto" else task
    check_one_of(f"task of {dataset['name']}", task, ("regression", "classification"))
    refuse(unknown(needs, NEEDS, f"modality of {dataset['name']}"))
    _refuse_absent(dataset["name"], [one for one in needs if ("text" if one == "tokens" else one) not in only], only)
    path = dataset.get("path")
    version = stamp(Path(path).expanduser()) if path and Path(path).expanduser().is_file() else None
    key = json.dumps([dict(dataset), sorted(needs), task, version], sort_keys=True, default=str)
    if key not in _loaded:
        whole = _synthetic(dataset) if dataset["name"] == SYNTHETIC else _from_file(dataset, needs)
        _loaded[key] = _reduced(_limited(whole, dataset), needs, task)
    return _loaded[key]


def from_arrays(
    data: Any,
    needs: Sequence[str] = ("*",),
    task: Task | Literal["auto"] = "auto",
    seed: int = DEFAULT_SEED,
    name: str = "arrays",
    **options: Any,
) -> Splits:
    """Splits of what is in memory: arrays by name (assembling.py), or a `datasets.Dataset` or `DatasetDict`.

    needs: modalities by name, `*` for all, `tokens`. options: how they are split and prepared, as of `dataset=arrays`
    but `path`. seed: for `split_seed="seed"`. Raises ValueError as `load` does.
    """
    known = {key: rule for key, (_, rule) in SPLITTING.items()}
    refuse([*unknown(options, known, "option"), *broken(known, {**GENERAL, **options})])
    check_one_of("task", task, ("auto", *TASKS))
    dataset = {**GENERAL, **options, "name": name}
    whole = _whole(data, dataset, task, tuple(needs))
    return split(whole, dataset, seed, convention_of(name, whole.target.task))


def _general(dataset: Mapping[str, Any], needs: tuple[str, ...], task: str, seed: int) -> Splits:
    """A dataset of arrays, split and reduced to what is needed."""
    version = _version(dataset.get("path"))
    key = json.dumps([dict(dataset), sorted(needs), task, version], sort_keys=True, default=str)
    if key not in _wholes:
        while len(_wholes) >= WHOLES:
            _wholes.pop(next(iter(_wholes)))
        _wholes[key] = _read(dataset, task, needs)
    whole = _wholes[key]
    if isinstance(whole, Splits):
        return whole
    drawn = f"{key}{seed if dataset['split_seed'] == PER_SEED else ''}"
    if _last.get("key") != drawn:
        convention = convention_of(dataset["name"], whole.target.task)
        _last.update(key=drawn, splits=split(whole, dataset, seed, convention))
    return _last["splits"]


def _read(dataset: Mapping[str, Any], task: str, needs: tuple[str, ...]) -> Whole | Splits:
    """What a dataset's function gives, with the modalities that are needed."""
    name = dataset["name"]
    options = {key: value for key, value in dataset.items() if key not in SPLITTING and key != "name"}
    found = reader(name)(**options)
    if isinstance(found, Splits):
        refuse(_without_effect(dataset, found, task))
        return _needed(found, needs, _only(dataset, tuple(found.dims)))
    return _whole(found, dataset, task, needs)


def _whole(found: Any, dataset: Mapping[str, Any], task: str, needs: tuple[str, ...]) -> Whole:
    """Arrays by name, or Hugging Face datasets, as a dataset with the modalities that are needed."""
    name = dataset["name"]
    if is_dataset(found):
        found = arrays_of(found, f"dataset {name}")
    if not isinstance(found, Mapping):
        raise ValueError(
            f"dataset {name}: expected arrays by name, a datasets.Dataset or powmix.Splits, got {type(found).__name__}"
        )
    whole = assemble(name, found, task, dataset["max_steps"])
    whole = _with_text(whole, dataset, needs)
    is_text = whole.texts is not None and "text" not in whole.features
    only = _only(dataset, (*whole.features, *(["text"] if is_text else [])))
    has_tokens = whole.tokens is not None and "text" in only
    chosen = _chosen(name, needs, tuple(key for key in whole.features if key in only), has_tokens)
    return replace(
        whole,
        features={key: whole.features[key] for key in chosen},
        lengths={key: value for key, value in whole.lengths.items() if key in chosen},
        kinds={key: whole.kinds[key] for key in chosen},
    )


def _with_text(whole: Whole, dataset: Mapping[str, Any], needs: tuple[str, ...]) -> Whole:
    """With token ids, or dense `text`, where a model needs them of raw text; dense `text` gives way to the ids."""
    if whole.texts is None:
        return whole
    from powmix.data.tokenising import frozen_states, tokenise

    where, encoder, most = f"dataset {whole.name}", dataset["text_encoder"], dataset["max_steps"]
    if "tokens" in needs:
        if encoder in (None, "auto"):
            raise ValueError(
                f"{where}: the tokenizer of its raw text is not known: dataset.text_encoder=NAME or FOLDER, the "
                "encoder that reads it (model.text.pretrained)"
            )
        tokens = tokenise(where, whole.texts, encoder, most)
        features = {key: one for key, one in whole.features.items() if key != "text" or "text" in needs}
        return replace(whole, features=features, tokens=tokens, notes=whole.notes | {"tokenizer": str(encoder)})
    if "text" in needs and "text" not in whole.features:
        states, lengths = frozen_states(where, whole.texts, encoder or "auto", most)
        return replace(
            whole,
            features={"text": states, **whole.features},
            lengths=whole.lengths | {"text": lengths},
            kinds=whole.kinds | {"text": "sequence"},
            notes=whole.notes | {"text_encoder": str(encoder)},
        )
    advice = "model=late_fusion model.text.pretrained=NAME or FOLDER has a text encoder read it"
    if not whole.features:
        raise ValueError(f"{where} has nothing but raw text, which the model does not read: {advice}")
    log.warning("%s: not used: its raw text, since the model has no text encoder (%s)", where, advice)
    return whole


def _without_effect(dataset: Mapping[str, Any], splits: Splits, task: str) -> list[str]:
    """Options of splitting that a dataset which gives its own Splits cannot follow."""
    changed = [key for key, value in GENERAL.items() if dataset[key] != value and key != "modalities"]
    found = [f"dataset.{key}: {dataset['name']} gives its own Splits, so this has no effect" for key in changed]
    if task not in ("auto", splits.task):
        found.append(f"task={task}: {dataset['name']} gives Splits of task={splits.task}")
    return found


def _needed(splits: Splits, needs: tuple[str, ...], there: tuple[str, ...]) -> Splits:
    """Splits of a user's own, with the modalities that are needed."""
    chosen = _chosen(splits.name, needs, there, splits.train.tokens is not None)

    def reduce(one: Split) -> Split:
        return replace(
            one,
            features={key: one.features[key] for key in chosen},
            tokens=one.tokens if "tokens" in needs else None,
        )

    parts: dict[str, Any] = {part: reduce(getattr(splits, part)) for part in SPLITS}
    return replace(splits, **parts, dims={key: splits.dims[key] for key in chosen})


def _chosen(name: str, needs: tuple[str, ...], there: tuple[str, ...], has_tokens: bool) -> list[str]:
    """The dense modalities that are needed, in the dataset's order. ValueError where some are not there."""
    absent = [need for need in needs if need not in (*there, "*", "tokens")]
    absent += ["tokens (a text)"] if "tokens" in needs and not has_tokens else []
    _refuse_absent(name, absent, (*there, *(["text (as tokens)"] if has_tokens and "text" not in there else [])))
    return [key for key in there if "*" in needs or key in needs]


def _only(dataset: Mapping[str, Any], there: tuple[str, ...]) -> tuple[str, ...]:
    """Of the modalities that are there those that `dataset.modalities` leaves, in the dataset's order."""
    some = dataset.get("modalities")
    refuse(unknown(some or (), there, f"modality of {dataset['name']} (dataset.modalities)"))
    return tuple(one for one in there if some is None or one in some)


def _refuse_absent(name: str, absent: Sequence[str], there: Sequence[str]) -> None:
    if absent:
        raise ValueError(f"dataset {name} has no {', '.join(absent)}, which the model reads; it has {', '.join(there)}")


def _version(path: Any) -> Any:
    """What changes when a file does."""
    place = Path(path).expanduser() if isinstance(path, str) else None
    if place is None or not place.exists():
        return None
    return stamp(place) if place.is_file() else [stamp(file) for file in sorted(place.rglob("*")) if file.is_file()]


def one_hot_sign(label_N1: Tensor) -> Tensor:
    """(N, 1) labels to (N, 3) one-hot classes: negative, neutral, positive."""
    return torch.nn.functional.one_hot(label_N1[:, 0].sign().long() + 1, len(CLASSES)).float()


def _synthetic(dataset: Mapping[str, Any]) -> Splits:
    return synthetic.build({key: value for key, value in dataset.items() if key not in COMMON})


def _from_file(dataset: Mapping[str, Any], needs: Sequence[str]) -> Splits:
    from powmix.data.store import doubts, open_store
    from powmix.data.text import with_text

    path = Path(dataset["path"]).expanduser()
    store = open_store(path, dataset["name"])
    for doubt in doubts(store.facts):
        log.warning("%s: %s", path, doubt)
    return with_text(store, dataset.get("text_encoder")) if "text" in needs else store.splits


def _limited(splits: Splits, dataset: Mapping[str, Any]) -> Splits:
    fraction = dataset.get("fraction", 1.0)
    rows = fraction_rows(splits.train.target, fraction, dataset.get("fraction_seed") or 0)
    return splits if len(rows) == len(splits.train) else replace(splits, train=splits.train.select(rows))


def _reduced(splits: Splits, needs: Sequence[str], task: str) -> Splits:
    signs = task == "classification"

    def reduce(split: Split) -> Split:
        return replace(
            split,
            features={name: value for name, value in split.features.items() if name in needs},
            tokens=split.tokens if "tokens" in needs else None,
            target=one_hot_sign(split.target) if signs else split.target,
        )

    if "tokens" in needs and splits.train.tokens is None:
        raise ValueError(f"dataset {splits.name}: the model reads token ids, but the file has no text_bert")
    return replace(
        splits,
        train=reduce(splits.train),
        valid=reduce(splits.valid),
        test=reduce(splits.test),
        dims={name: width for name, width in splits.dims.items() if name in needs},
        outputs=len(CLASSES) if signs else splits.outputs,
        convention="classification" if signs else splits.convention,
        task=cast(Task, task),
        classes=CLASSES if signs else (),
    )
