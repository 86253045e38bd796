"""The configuration of the BERT models: options and recipes fit the models they configure."""

from __future__ import annotations

import pytest
from bert_cases import CONF, PUBLISHED, SOUND, make, recipe

from powmix.models import defaults

MODELS = ("misa", "self_mm", "mag_bert")
PRETRAINED = {
    "mosi": "bert-base-uncased",
    "mosei": "bert-base-uncased",
    "sims": "bert-base-chinese",
    "synthetic": "tiny",
}


@pytest.mark.parametrize("model", MODELS)
def test_the_options_file_lists_every_option_with_its_default(model):
    from omegaconf import OmegaConf

    options = OmegaConf.to_container(OmegaConf.load(CONF / "model" / f"{model}.yaml"))
    assert options == {"name": model, **defaults(model)}


@pytest.mark.parametrize("protocol", [PUBLISHED, SOUND])
@pytest.mark.parametrize("dataset", PRETRAINED)
@pytest.mark.parametrize("model", MODELS)
def test_every_recipe_builds_and_feeds_its_optimiser(model, dataset, protocol):
    sections = recipe(model, dataset)
    assert sections["model"].pop("text") == {"pretrained": PRETRAINED[dataset], "finetune": True}
    built = make(model, protocol, **sections["model"])
    groups = built.parameter_groups(sections["optimizer"])
    trained = {id(p) for group in groups for p in group["params"]}
    assert trained == {id(p) for p in built.parameters()}
    assert sections["loss"] == ("mse" if model == "misa" else "l1")


def test_self_mm_mixes_from_the_epochs_of_the_paper():
    starts = {name: recipe("self_mm", name)["mixer"]["start_epoch"] for name in ("mosi", "mosei", "sims")}
    assert starts == {"mosi": 1, "mosei": 2, "sims": 2}
