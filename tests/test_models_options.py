"""An option's value is one that its model can use, or it is refused: the name, what was got, what is allowed."""

import math
import subprocess
import sys

import bert_cases
import fusion_cases
import pytest
import torch
from conftest import REPOSITORY

from powmix.models import NAMES, defaults
from powmix.models.options import RULES, mistakes

SMALL = fusion_cases.OPTIONS | {
    "misa": {"hidden_size": 6},
    "self_mm": {f"post_{name}_dim": 4 for name in ("fusion", "text", "audio", "vision")},
    "mag_bert": {},
    "late_fusion": {"width": 8, "hidden": 6},
}
NONSENSE = [0, -1, None, math.inf, math.nan, "text", [1]]
WIDTHS = {"dim", "heads", "levels", "hidden_size", "text_hidden", "audio_hidden", "vision_hidden", "text_out"}
WIDTHS |= {"width", "hidden", "layers", "fusion_hidden"}
WIDTHS |= {"audio_hidden_size", "vision_hidden_size", "audio_out", "vision_out"}
WIDTHS |= {f"post_{name}_dim" for name in ("fusion", "text", "audio", "vision")}
WIDTHS |= {f"kernel_{name}" for name in ("text", "audio", "vision")}
MEANINGFUL = {
    "diff_weight": [0],
    "sim_weight": [0],
    "recon_weight": [0],
    "beta_shift": [0],
    "H": [None],
    "text.pretrained": ["text"],  # the name of an encoder; whether it is on this machine is asked elsewhere
}
"""What of NONSENSE an option may be; dropout may be 0, and widths none of it."""


def options_of(model):
    names = [name for name in defaults(model) if name != "text"]
    return [*names, *(["text", "text.pretrained", "text.finetune"] if "text" in defaults(model) else [])]


OPTIONS = [(model, name) for model in NAMES for name in options_of(model)]


def changed(name, value):
    """Options in which one is changed, a dotted name within its section."""
    section, _, key = name.partition(".")
    return {section: {"pretrained": "tiny", key: value}} if key else {name: value}


def is_meaningful(model, name, value):
    if (model, name, value) == ("late_fusion", "text.pretrained", None):
        return True
    if "dropout" in name:
        return value == 0
    return any(value is allowed or value == allowed for allowed in MEANINGFUL.get(name, []))


def trained(model, options):
    """A model's prediction and gradients after one step."""
    options = SMALL[model] | options
    if "text" not in defaults(model):
        network, batch = fusion_cases.model_of(model, options=options), fusion_cases.batch_of(4)
        noise = fusion_cases.noise_of(1)
    else:
        network, batch, noise = bert_cases.make(model, **options), bert_cases.batch_of(4), bert_cases.noise(1)
    network.prepare(batch.target)
    prediction = network(batch, noise)
    prediction.square().mean().backward()
    return [prediction, *(p.grad for p in network.parameters() if p.grad is not None)]


@pytest.mark.parametrize("value", NONSENSE, ids=str)
@pytest.mark.parametrize(("model", "name"), OPTIONS)
def test_a_value_is_meaningful_for_its_option_or_refused(model, name, value):
    found = mistakes(model, changed(name, value))
    if not is_meaningful(model, name, value):
        assert len(found) == 1 and found[0].startswith(f"model.{name} must be ")
        assert found[0].endswith(f", got {value!r}") or "(did you mean" in found[0]
        with pytest.raises(ValueError, match=rf"model\.{name} must be "):
            trained(model, changed(name, value))
    else:
        assert not found
        if name != "text.pretrained":
            assert all(torch.isfinite(tensor).all() for tensor in trained(model, changed(name, value)))


@pytest.mark.parametrize(("model", "name"), [(m, n) for m, n in OPTIONS if "dropout" in n])
def test_dropout_of_everything_is_refused(model, name):
    assert mistakes(model, {name: 1}) == [f"model.{name} must be a number within [0, 1), got 1"]
    assert mistakes(model, {name: 0.99}) == []


@pytest.mark.parametrize(("model", "name"), [(m, n) for m, n in OPTIONS if n in WIDTHS])
def test_a_width_that_no_memory_holds_is_refused(model, name):
    for value in (100_000_000, 1e8, True):
        assert mistakes(model, {name: value})[0].endswith(f"got {value!r}")
    assert mistakes(model, {name: 2}) == []


@pytest.mark.parametrize("model", NAMES)
def test_every_option_of_a_model_and_of_its_file_has_a_rule_and_no_other(model):
    from omegaconf import OmegaConf

    conf = OmegaConf.to_container(OmegaConf.load(REPOSITORY / "conf" / "model" / f"{model}.yaml"))
    assert set(RULES[model]) == set(options_of(model))
    assert conf.keys() - {"name"} == defaults(model).keys()
    assert mistakes(model, {key: value for key, value in conf.items() if key != "name"}) == []


def test_all_mistakes_are_named_at_once():
    found = mistakes("misa", {"text": {"pretained": "tiny", "finetune": "no"}, "dropout": 1.5, "hiden_size": 3})
    assert found[2:] == [
        "model.text.finetune must be true or false, got 'no'",
        "model.dropout must be a number within [0, 1), got 1.5",
    ]
    assert found[0].startswith("model misa: unknown option 'text.pretained' (did you mean text.pretrained?)")
    assert found[1].startswith("model misa: unknown option 'hiden_size' (did you mean hidden_size?); allowed: text, ")


def test_attention_needs_a_width_that_its_heads_divide():
    assert mistakes("mult", {"dim": 50, "heads": 12}) == ["model.dim must be a multiple of model.heads=12, got 50"]
    assert mistakes("misa", {"hidden_size": 7}) == ["model.hidden_size must be even, for two attention heads, got 7"]
    options = {"hidden": 7, "width": 6, "sequence_encoder": "transformer", "fusion": "transformer"}
    needed = "model.hidden must be even for model.sequence_encoder=transformer, with two attention heads, got 7"
    assert mistakes("late_fusion", options) == [needed]
    with pytest.raises(ValueError, match=r"multiple of model.heads=10, got 9"):  # 10 is the default
        fusion_cases.build("mult", {"dim": 9}, fusion_cases.Inputs(fusion_cases.DIMS, fusion_cases.UNALIGNED), {})


def test_options_are_checked_and_titles_known_without_torch():
    code = (
        "import sys; from powmix.models.options import mistakes; from powmix.models.registry import TITLES;"
        "assert mistakes('mult', {'attn_dropout': 1.5}) and TITLES['self_mm'] == 'Self-MM';"
        "assert 'torch' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
