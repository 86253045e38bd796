"""The two sides of every comparison, on the same data: each has `epoch()`, one pass over the training split."""

from __future__ import annotations

import tempfile
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any, Protocol

import torch
from omegaconf import OmegaConf

from benchmarks import reference
from benchmarks.reference.bert import BASE, SMALL
from powmix import mixing, models
from powmix.data.splits import SPLITS, Split, Splits
from powmix.experiment import parts
from powmix.training import Solver

CONF = Path(__file__).resolve().parents[1] / "conf"
BERTS = {"small": SMALL, "base": BASE}


class Contender(Protocol):
    def epoch(self) -> None:
        """One training epoch: no validation, no files."""


def composed(model: str, *overrides: str, dataset: str = "mosi", protocol: str = "published") -> dict[str, Any]:
    """The recipe's configuration of a model; overrides as on the command line (`trainer.bucket=true`)."""
    sections = [OmegaConf.create({"loss": "l1", "schedule": {}, "mixer": {"name": "none"}})]
    for group, name in (("trainer", "default"), ("model", model), ("protocol", protocol)):
        sections.append(OmegaConf.create({group: OmegaConf.load(CONF / group / f"{name}.yaml")}))
    sections += [OmegaConf.load(CONF / "recipe" / f"{model}_{dataset}.yaml"), OmegaConf.from_dotlist(list(overrides))]
    return OmegaConf.to_container(OmegaConf.merge(*sections))


class Ours:
    """powmix's own loop, by the recipe of a dataset. mixer: a configuration as in conf/mixer, None for none."""

    def __init__(
        self,
        name: str,
        splits: Splits,
        *overrides: str,
        dataset: str = "mosi",
        mixer: dict[str, Any] | None = None,
        bert: str = "small",
        device: str = "cpu",
        seed: int = 1111,
        protocol: str = "published",
    ):
        config = composed(name, f"trainer.device={device}", *overrides, dataset=dataset, protocol=protocol)
        config["mixer"] = mixer or {"name": "none"}
        if "text" in config["model"]:
            config["model"]["text"]["pretrained"] = str(random_bert(bert))
        made = parts(config, needed(name, splits))
        folder = Path(tempfile.gettempdir())
        self.solver = Solver(made.build, made.splits, made.mixer, made.settings, seed, folder)
        self.solver.begin()

    def epoch(self) -> None:
        self.solver.train_pass()
        self.solver.history.append({})  # counts the epoch


class Reference:
    """The reference framework's loop."""

    def __init__(
        self,
        name: str,
        splits: Splits,
        *,
        keep_graphs: bool = True,
        bert: str = "small",
        device: str = "cpu",
        seed: int = 0,
    ):
        torch.manual_seed(seed)
        recipe = reference.MOSI[name]
        model = reference.build(name, splits.dims, recipe, BERTS[bert])
        items = reference.Items(splits.train, tokens=recipe.tokens, average=recipe.average)
        self.batches = reference.loader(items, recipe.batch_size)
        self.trainer = reference.trainer(
            name, model, splits.train.target, recipe, device=device, keep_graphs=keep_graphs
        )
        self.done = 0

    def epoch(self) -> None:
        self.done += 1
        self.trainer.epoch(self.batches, self.done)


def needed(name: str, splits: Splits) -> Splits:
    """The data as they are loaded for a model: without what it does not read (dense `text`, where it reads tokens)."""
    needs = models.needs(name)
    return replace(splits, **{part: _without(getattr(splits, part), needs) for part in SPLITS})


def _without(split: Split, needs: tuple[str, ...]) -> Split:
    features = {key: value for key, value in split.features.items() if key in needs or "*" in needs}
    return replace(split, features=features, tokens=split.tokens if "tokens" in needs else None)


def random_bert(size: str) -> Path:
    """A folder with a BERT of random weights, in the form that powmix reads encoders; two processes may ask at once."""
    from transformers import BertConfig, BertModel

    folder = Path(tempfile.gettempdir()) / f"powmix-benchmark-bert-{size}"
    if not folder.is_dir():
        with tempfile.TemporaryDirectory(dir=folder.parent) as made:
            BertModel(BertConfig(**BERTS[size])).save_pretrained(f"{made}/bert")
            with suppress(OSError):  # the other process was quicker
                Path(made, "bert").rename(folder)
    return folder


def build_mixer(config: dict[str, Any]) -> mixing.Mixer:
    """A mixer from `{name: ..., option: ...}`, as conf/mixer has it."""
    return mixing.build(config["name"], {key: value for key, value in config.items() if key != "name"})
