"""MulT, LF-DNN and TFN are the published architectures: parameter counts and another implementation's outputs."""

import pytest
import torch
from fusion_cases import PUBLISHED, Oracle, mult_of, subnets_of

from powmix.models import Inputs, build, defaults

CORPORA = {
    "mosi": ({"text": 768, "audio": 5, "vision": 20}, {"text": 50, "audio": 375, "vision": 500}),
    "mosei": ({"text": 768, "audio": 74, "vision": 35}, {"text": 50, "audio": 500, "vision": 500}),
    "sims": ({"text": 768, "audio": 33, "vision": 709}, {"text": 39, "audio": 400, "vision": 55}),
}
COUNTS = {
    "lf_dnn": {"mosi": 597_171, "mosei": 572_283, "sims": 635_821},
    "tfn": {"mosi": 9_497_045, "mosei": 5_042_541, "sims": 35_632_079},
    "mult": {"mosi": 2_571_551, "mosei": 982_951, "sims": 1_870_701},
}


def recipe(model: str, dataset: str) -> dict:
    from conftest import REPOSITORY
    from omegaconf import OmegaConf

    return OmegaConf.to_container(OmegaConf.load(REPOSITORY / "conf" / "recipe" / f"{model}_{dataset}.yaml"))


@pytest.mark.parametrize(("model", "dataset"), [(model, dataset) for model in COUNTS for dataset in CORPORA])
def test_a_recipe_builds_the_published_number_of_parameters(model, dataset):
    network = build(model, recipe(model, dataset)["model"], Inputs(*CORPORA[dataset]), PUBLISHED)
    assert sum(parameter.numel() for parameter in network.parameters()) == COUNTS[model][dataset]


@pytest.mark.parametrize("model", list(COUNTS))
def test_the_defaults_in_conf_are_the_options_of_the_class(model):
    from conftest import REPOSITORY
    from omegaconf import OmegaConf

    options = OmegaConf.to_container(OmegaConf.load(REPOSITORY / "conf" / "model" / f"{model}.yaml"))
    assert options.pop("name") == model
    assert options == defaults(model)
    assert set(options) == set(recipe(model, "mosi")["model"]) == set(recipe(model, "synthetic")["model"])
    assert options == recipe(model, "mosi")["model"]


@pytest.mark.parametrize("name", ["mult_aligned", "mult_unaligned"])
def test_mult_computes_what_the_reference_computes(name):
    oracle = Oracle(name)
    model = mult_of(oracle)
    encoded = model.encode(oracle.batch)
    for modality, hidden in encoded.hidden.items():
        torch.testing.assert_close(hidden, oracle.out[f"h_{modality}"], rtol=1e-5, atol=3e-6)
    torch.testing.assert_close(model.fuse(encoded.hidden), oracle.out["y"], rtol=1e-5, atol=3e-6)


@pytest.mark.parametrize("name", ["lf_dnn", "tfn"])
def test_the_subnet_models_compute_what_the_reference_computes(name):
    oracle = Oracle(name)
    torch.testing.assert_close(subnets_of(name, oracle)(oracle.batch), oracle.out["y"], rtol=1e-5, atol=1e-6)
