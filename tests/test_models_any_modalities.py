"""LF-DNN, TFN and MulT take two modalities or more, vectors and sequences; what they do not take, they name."""

import pytest
import torch
from any_modalities import batch_of, inputs_for, padded, share_left
from fusion_cases import OPTIONS, PUBLISHED, noise_of

from powmix import mixing
from powmix.models import build, model_class, outer_linear
from powmix.models.mult import pairs_of

MODELS = ("lf_dnn", "tfn", "mult")
WIDTHS = {"text_hidden": 6, "audio_hidden": 3, "vision_hidden": 3, "text_out": 3, "post_fusion_dim": 12}
SMALL = OPTIONS | {"lf_dnn": WIDTHS, "tfn": WIDTHS | {"post_fusion_dropout": 0.1}}
SETS = {
    "two vectors": {"x": "vector", "y": "vector"},
    "two of the paper's": {"vision": "sequence", "text": "sequence"},
    "four": {"pose": "sequence", "text": "vector", "weight": "vector", "audio": "sequence"},
    "six": {f"view{n}": "vector" if n % 2 else "sequence" for n in range(6)},
}


def model_of(name, kinds, outputs=1, **switches):
    torch.manual_seed(0)
    return build(name, SMALL[name], inputs_for(kinds, outputs), PUBLISHED | switches)


@pytest.mark.parametrize("mixer", ["none", "powmix"])
@pytest.mark.parametrize(
    ("name", "modalities"),
    [
        pytest.param(name, modalities, marks=[pytest.mark.slow] * (name == "mult" and modalities == "six"))
        for name in MODELS
        for modalities in SETS
    ],
)
def test_two_four_and_six_modalities_are_learnt_and_all_parameters_get_a_gradient(name, modalities, mixer):
    kinds = SETS[modalities]
    model, batch = model_of(name, kinds), batch_of(kinds)
    assert share_left(model, batch, noise_of, mixing.build(mixer, {}), steps=30) < 0.8
    assert set(model.encode(batch).hidden) == set(kinds)
    model(batch, noise_of(1)).square().sum().backward()
    missing = {name for name, p in model.named_parameters() if p.requires_grad and (p.grad is None or not p.grad.any())}
    assert missing == set()


@pytest.mark.parametrize("side", ["right", "left"])
@pytest.mark.parametrize("name", MODELS)
def test_with_mask_padding_further_modalities_are_read_without_their_padding(name, side):
    kinds = SETS["four"]
    model, batch = model_of(name, kinds, mask_padding=True), batch_of(kinds, side=side)
    batch = padded(batch, filler=0.0)
    torch.testing.assert_close(model(padded(batch, filler=0.0)), model(batch), rtol=1e-4, atol=1e-5)


def test_mult_has_a_network_for_every_ordered_pair():
    model = model_of("mult", SETS["four"])
    assert model.modalities == ("text", "audio", "pose", "weight")
    assert model.pairs == pairs_of(model.modalities) and len(set(model.pairs)) == 12
    assert all(h.shape == (16, 3 * 8) for h in model.encode(batch_of(SETS["four"])).hidden.values())


@pytest.mark.parametrize("vectors", [1, 2, 3, 5])
def test_the_outer_product_of_any_number_of_vectors_is_the_whole_one(vectors):
    torch.manual_seed(0)
    given = [torch.randn(4, width) for width in (3, 2, 4, 2, 3)[:vectors]]
    product = given[0]
    for x in given[1:]:
        product = torch.einsum("rp,rx->rpx", product, x).flatten(1)
    weight, bias = torch.randn(7, product.shape[1]), torch.randn(7)
    ours = outer_linear.outer_linear(outer_linear.as_three(given), weight, bias, 0.0, None)
    torch.testing.assert_close(ours, product @ weight.T + bias)


@pytest.mark.parametrize("name", MODELS)
def test_one_modality_and_images_are_refused_in_a_line_that_names_late_fusion(name):
    with pytest.raises(ValueError, match=f"^model {name} needs two modalities or more, got x: model=late_fusion "):
        model_of(name, {"x": "vector"})
    with pytest.raises(ValueError, match=f"^model {name} reads sequences and vectors, photo holds images: model=late_"):
        model_of(name, {"x": "vector", "photo": "image", "y": "vector"})


def test_tfn_refuses_a_product_that_is_too_large_with_its_size():
    with pytest.raises(ValueError, match=r"model tfn: the outer product of 6 vectors has 33 x .* = 1291467969 entries"):
        build("tfn", {}, inputs_for(SETS["six"]), PUBLISHED)


@pytest.mark.parametrize("name", MODELS)
def test_all_dense_modalities_of_a_dataset_are_needed(name):
    assert model_class(name).needs_of({}) == ("*",)


@pytest.mark.parametrize("name", MODELS)
def test_the_same_data_under_the_papers_names_and_others_are_of_equal_size(name):
    named = {"audio": "sequence", "vision": "sequence"}
    other = {"left": "sequence", "right": "sequence"}
    same = SMALL[name] | ({"kernel_vision": SMALL["mult"]["kernel_audio"]} if name == "mult" else {})
    sizes = [
        sum(p.numel() for p in build(name, same, inputs_for(kinds), PUBLISHED).parameters()) for kinds in (named, other)
    ]
    assert sizes[0] == sizes[1]
