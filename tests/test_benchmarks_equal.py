"""powmix's fast models compute what the plain reference computes: outputs, gradients and a whole training."""

from dataclasses import replace

import pytest
import torch
from reference_weights import as_reference

from benchmarks import reference
from benchmarks.contenders import composed
from benchmarks.corpus import mosi_sized
from benchmarks.reference.dataset import Items
from powmix import models

TINY = {"hidden_size": 64, "num_hidden_layers": 4, "num_attention_heads": 4, "intermediate_size": 256}
"""The sizes of powmix's `tiny` text encoder."""
UNUSED = (
    "num_batches_tracked",
    "discriminator.weight",
    "discriminator.bias",
    "pooler.dense.weight",
    "pooler.dense.bias",
)


def pair(name, splits):
    """powmix's model and the reference with the same weights; a narrow MulT, so that the test is quick."""
    options = composed(name)
    del options["model"]["name"]
    if "text" in options["model"]:
        options["model"]["text"]["pretrained"] = "tiny"
    recipe = reference.MOSI[name]
    if name == "mult":
        options["model"] |= {"dim": 8, "heads": 2}
        recipe = replace(recipe, model={**recipe.model, "dst_feature_dim_nheads": (8, 2)})
    torch.manual_seed(0)
    inputs = replace(models.inputs_of(splits), token_ids=None)
    ours = models.build(name, options["model"], inputs, options["protocol"])
    theirs = reference.build(name, splits.dims, recipe, {**TINY, "vocab_size": inputs.vocabulary})
    missing, unexpected = theirs.load_state_dict(as_reference(name, ours.state_dict()), strict=False)
    assert not unexpected and all(key.endswith(UNUSED) for key in missing)
    items = Items(splits.train, tokens=recipe.tokens, average=recipe.average)
    return ours.eval(), theirs.eval(), next(iter(torch.utils.data.DataLoader(items, batch_size=len(items))))


@pytest.mark.parametrize("setting", ["aligned", "unaligned"])
@pytest.mark.parametrize("name", reference.NAMES)
def test_outputs_and_gradients_equal_the_references(name, setting):
    if (name, setting) == ("mag_bert", "unaligned"):
        pytest.skip("MAG-BERT reads aligned features")
    splits = mosi_sized(setting, 3)
    ours, theirs, collated = pair(name, splits)
    batch = splits.train.batch(torch.arange(3))
    mine, expected = ours(batch), theirs(collated)["M"]
    torch.testing.assert_close(mine, expected, rtol=1e-4, atol=1e-5)
    (mine - batch.target).abs().mean().backward()
    (expected - collated["labels"]["M"]).abs().mean().backward()
    gradients = as_reference(name, {key: p.grad for key, p in ours.named_parameters() if p.grad is not None})
    compared = {key: p.grad for key, p in theirs.named_parameters() if p.grad is not None}
    assert compared.keys() == gradients.keys()
    scale = max(gradient.abs().max() for gradient in compared.values())
    for key, gradient in compared.items():
        torch.testing.assert_close(
            gradients[key], gradient, rtol=1e-3, atol=1e-5 * float(scale), msg=lambda m, key=key: f"{key}: {m}"
        )
