"""What is computed on a device is what the CPU computes: every mixer, every model, trainings, bfloat16, resuming.

POWMIX_DEVICE=cuda python -m pytest -m device        without it: a GPU if there is one, else the CPU, against itself

Nothing here needs more than torch, the wheels of benchmarks/gpu_wheels.txt and this folder.
"""

import copy
import json
import os
from functools import cache, partial

import pytest
import torch
from training_corpus import Watcher, science, weights
from training_models import OPTIONS, PROTOCOL

from powmix import data, mixing, models
from powmix.metrics.losses import LOSSES
from powmix.mixing import clean
from powmix.models import registry
from powmix.models.dropout import Noise
from powmix.training import Settings, checkpoint, train
from powmix.training.settings import precision
from powmix.training.solver import predict

DEVICE = torch.device(os.environ.get("POWMIX_DEVICE") or ("cuda" if torch.cuda.is_available() else "cpu"))
pytestmark = pytest.mark.device

ALL = (*registry.NAMES,)
BERT = {"text": {"pretrained": "tiny", "finetune": False}}
SOUND = dict.fromkeys(PROTOCOL, True)
CORPUS = {
    "name": "synthetic",
    "sizes": {"train": 70, "valid": 20, "test": 20},
    "steps": {"text": 9, "audio": 9, "vision": 9},
}
VARIANTS = {
    "powmix, added": ("powmix", {"n_out": 8, "combine": "add"}),
    "powmix, gradient through the weights": ("powmix", {"n_out": 8, "detach": False}),
    "powmix, label weights learned": ("powmix", {"n_out": 8, "label_weights": "learned"}),
    "powmix, attention's labels": ("powmix", {"n_out": 8, "label_weights": "attention"}),
    "powmix, neighbours": ("powmix", {"n_out": 8, "partners": "feature"}),
}
MIXERS = {name: (name, {}) for name in mixing.MIXERS if name != "none"} | VARIANTS


@pytest.fixture(autouse=True)
def exact():
    """cuDNN rounds float32 to TF32 unless it is told not to."""
    with torch.backends.cudnn.flags(allow_tf32=False):
        yield


@cache
def corpus():
    return data.load(CORPUS, ("*", "tokens"))


def options_of(name, dropout=True):
    """Of a small model; without dropout also for BERT, which is frozen."""
    given = OPTIONS.get(name, {}) | (BERT if "text" in registry.defaults(name) else {})
    rates = {} if dropout else {key: 0.0 for key in registry.defaults(name) if "dropout" in key}
    return given | rates


def built(name, protocol=PROTOCOL, dropout=True):
    return models.build(name, options_of(name, dropout), models.inputs_of(corpus()), protocol)


def trained(folder, name, device, listener=None, dropout=False, seed=1, **changed):
    """A short training with PowMix: its record and its history."""
    made = mixing.build("powmix", {"p_mix": 0.7, "n_out": 16})
    options = {"max_epochs": 2, "batch_size": 32, "optimizer": optimizer(name), "device": str(device)} | changed
    record = train(partial(built, name, dropout=dropout), corpus(), made, Settings(**options), seed, folder, listener)
    return record


def optimizer(name):
    parts = ("", "_bert", "_audio", "_vision", "_other") if name == "self_mm" else ("",)
    return {
        f"{option}{part}": value
        for part in parts
        for option, value in (("learning_rate", 1e-3), ("weight_decay", 1e-3))
    }


@pytest.mark.parametrize("mixer", MIXERS)
def test_a_mixer_gives_what_it_gives_on_the_cpu(mixer):
    name, options = MIXERS[mixer]
    source = torch.Generator().manual_seed(0)
    hidden = {
        key: torch.randn(12, width, generator=source) for key, width in (("text", 5), ("audio", 3), ("vision", 8))
    }
    target = torch.rand(12, 1, generator=source) * 6 - 3
    found = []
    for device in ("cpu", DEVICE):
        given = {key: h.to(device, copy=True).requires_grad_() for key, h in hidden.items()}
        made = mixing.build(name, {"p_mix": 1.0, **options})
        mixed = made(given, target.to(device), generator=torch.Generator().manual_seed(1))
        sum(h.square().sum() for h in mixed.hidden.values()).backward()
        assert mixed.is_mixed and mixed.target.device.type == torch.device(device).type
        gradients = {key: h.grad for key, h in given.items()}
        found.append((mixed.hidden, mixed.target, mixed.row_weight, mixed.weights, gradients, made.memory))
    for expected, same in zip(*found, strict=True):
        torch.testing.assert_close(same, expected, rtol=1e-4, atol=1e-5, check_device=False)


@pytest.mark.parametrize("protocol", [PROTOCOL, SOUND], ids=["published", "sound"])
@pytest.mark.parametrize("name", ALL)
def test_a_models_prediction_losses_and_gradients_are_the_cpus(name, protocol):
    torch.manual_seed(0)
    model, found = built(name, protocol), []
    for device in (torch.device("cpu"), DEVICE):
        split, own = corpus().train.to(device), copy.deepcopy(model).to(device)
        own.prepare(split.target)
        batch = split.batch(torch.arange(16, device=device))
        encoded = own.encode(batch)
        mixed, prediction = clean(encoded.hidden, batch.target), own.fuse(encoded.hidden)
        losses = own.auxiliary_losses(encoded, mixed, batch)
        (LOSSES["l1"](prediction, batch.target, mixed.row_weight) + sum(losses.values())).backward()
        gradients = {key: p.grad for key, p in own.named_parameters() if p.grad is not None}
        found.append((prediction, losses, gradients))
    (prediction, losses, gradients), (same, same_losses, same_gradients) = found
    torch.testing.assert_close(same, prediction, rtol=1e-3, atol=1e-4, check_device=False)
    torch.testing.assert_close(same_losses, losses, rtol=1e-3, atol=1e-4, check_device=False)
    assert same_gradients.keys() == gradients.keys() and gradients
    most = max(float(gradient.abs().max()) for gradient in gradients.values())
    torch.testing.assert_close(same_gradients, gradients, rtol=1e-3, atol=1e-4 * most, check_device=False)


@pytest.mark.parametrize(
    "name",
    [
        name if name in ("lf_dnn", "self_mm", "late_fusion") else pytest.param(name, marks=pytest.mark.slow)
        for name in ALL
    ],
)
def test_a_training_is_the_cpus_and_in_bfloat16_close_to_it(name, tmp_path):
    there, low, here = (
        trained(tmp_path / str(place), name, device, amp=amp)
        for place, (device, amp) in enumerate(((DEVICE, "off"), (DEVICE, "bf16"), ("cpu", "off")))
    )
    for key in ("Loss", "Corr"):
        assert there["validation"][key] == pytest.approx(here["validation"][key], rel=0.01, abs=0.005)
    assert there["mixing"]["mixed_rate"] == here["mixing"]["mixed_rate"]
    assert low["validation"]["Loss"] == pytest.approx(here["validation"]["Loss"], rel=0.05)
    assert {value.dtype for value in weights(tmp_path / "1").values() if value.is_floating_point()} == {torch.float32}


@pytest.mark.parametrize("name", ["mult", "self_mm"])
def test_an_interrupted_training_goes_on_and_its_weights_serve_the_cpu(name, tmp_path):
    whole = trained(tmp_path / "whole", name, DEVICE, dropout=True, max_epochs=3)
    with pytest.raises(RuntimeError, match="stopped after epoch 1"):
        trained(tmp_path / "cut", name, DEVICE, Watcher(1), dropout=True, max_epochs=3)
    resumed = trained(tmp_path / "cut", name, DEVICE, again := Watcher(), dropout=True, max_epochs=3)
    assert [row["epoch"] for row in again.rows] == [2, 3]
    if DEVICE.type == "cpu":
        assert science(resumed) == science(whole)
    for part in ("validation", "test"):
        assert resumed[part]["Loss"] == pytest.approx(whole[part]["Loss"], rel=1e-3)
    model = built(name)
    checkpoint.fit(model, tmp_path / "whole" / "weights.safetensors")
    prediction = predict(model, corpus().test, 32, precision(torch.device("cpu"), "off"))
    lines = (tmp_path / "whole" / "predictions.csv").read_text().splitlines()[1:]
    written = torch.tensor([[float(line.rsplit(",", 1)[1])] for line in lines])
    torch.testing.assert_close(prediction, written, rtol=1e-3, atol=1e-3)
    assert json.loads((tmp_path / "cut" / "result.json").read_text())["status"] == "finished"


@pytest.mark.parametrize("rate", [0.1, 0.5])
def test_dropout_drops_at_its_rate_and_repeats(rate):
    draws = [
        Noise(torch.Generator(DEVICE).manual_seed(seed)).dropout(torch.ones(1000, 999, device=DEVICE), rate)
        for seed in (3, 3, 4)
    ]
    assert torch.equal(draws[0], draws[1]) and not torch.equal(draws[0], draws[2])
    assert (draws[0] == 0).float().mean().item() == pytest.approx(rate, abs=0.003)
    assert draws[0].mean().item() == pytest.approx(1, abs=0.01)


@pytest.mark.skipif(DEVICE.type != "cuda", reason="CUDA graphs need a GPU: POWMIX_DEVICE=cuda")
@pytest.mark.parametrize("mode", ["static", "graph"])
@pytest.mark.parametrize("name", ["mult", "lf_dnn", "tfn"])
def test_a_cuda_graph_of_the_whole_step_trains_as_the_solver_does(name, mode):
    from benchmarks import graph

    given = graph.arguments().parse_args(["--mode", mode, "--batches", "3", "--device", str(DEVICE)])
    assert graph.unequal(name, given) < graph.TOLERANCE
