"""late_fusion takes any number of modalities of any kind: it trains, reads no padding, and repeats by its seed."""

import pytest
import torch
from any_modalities import batch_of, inputs_for, padded, rows_of, share_left, splits_of
from bert_cases import INPUTS as TOKENS
from bert_cases import batch_of as token_batch
from bert_cases import padded as padded_tokens
from fusion_cases import noise_of

from powmix import mixing
from powmix.models import Inputs, build, model_class
from powmix.training import Settings, train

KINDS = ("vector", "sequence", "image")
SEQUENCES = ("conv", "gru", "transformer")
FUSIONS = ("concat", "transformer", "tensor", "gated", "mean_of_heads")
THREE = {"pose": "sequence", "camera": "image", "weight": "vector"}
SETS = {
    "one vector": {"x": "vector"},
    "one sequence": {"x": "sequence"},
    "one image": {"x": "image"},
    "three kinds": THREE,
}
TEXT = {"pretrained": "tiny", "finetune": True}


def model_of(kinds, seed=0, outputs=1, **options):
    torch.manual_seed(seed)
    return build("late_fusion", {"width": 8, "hidden": 12, **options}, inputs_for(kinds, outputs), {})


@pytest.mark.parametrize("outputs", [1, 3])
@pytest.mark.parametrize("fusion", FUSIONS)
@pytest.mark.parametrize("modalities", SETS)
def test_every_fusion_of_every_kind_learns_and_all_its_parameters_get_a_gradient(modalities, fusion, outputs):
    kinds = SETS[modalities]
    model, batch = model_of(kinds, outputs=outputs, fusion=fusion, layers=2), batch_of(kinds, outputs=outputs)
    assert share_left(model, batch, noise_of, mixing.build("none", {})) < 0.6
    model(batch).square().sum().backward()
    assert [name for name, p in model.named_parameters() if p.grad is None or not p.grad.any()] == []


@pytest.mark.parametrize("encoder", SEQUENCES)
@pytest.mark.parametrize("mixer", ["none", "powmix", "multimix"])
def test_every_sequence_encoder_learns_under_every_mixer(encoder, mixer):
    kinds = {"a": "sequence", "b": "sequence"}
    model, batch = model_of(kinds, sequence_encoder=encoder, layers=2), batch_of(kinds)
    assert share_left(model, batch, noise_of, mixing.build(mixer, {})) < 0.6


@pytest.mark.parametrize("side", ["right", "left"])
@pytest.mark.parametrize("encoder", SEQUENCES)
def test_an_example_is_predicted_the_same_alone_in_any_order_and_however_far_it_is_padded(encoder, side):
    model = model_of(THREE, sequence_encoder=encoder, layers=2)
    batch = batch_of(THREE, side=side)
    batch.lengths["pose"][:2] = torch.tensor([1, 9])
    whole = model(batch)
    assert whole.std() > 1e-3
    torch.testing.assert_close(model(padded(batch)), whole, rtol=1e-4, atol=1e-5)
    backwards = list(range(15, -1, -1))
    torch.testing.assert_close(model(rows_of(batch, backwards)), whole[backwards], rtol=1e-4, atol=1e-5)
    for row in range(4):
        torch.testing.assert_close(model(rows_of(batch, [row])), whole[row : row + 1], rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("encoder", SEQUENCES)
def test_an_empty_sequence_is_finite_and_its_padding_is_not_read(encoder):
    kinds = {"x": "sequence"}
    model, batch = model_of(kinds, sequence_encoder=encoder), batch_of(kinds)
    batch.lengths["x"].zero_()
    prediction = model(padded(batch))
    assert prediction.isfinite().all() and torch.allclose(prediction, prediction[:1])


def test_padding_side_does_not_change_what_is_read():
    model, right, left = model_of(THREE), batch_of(THREE, side="right"), batch_of(THREE, side="left")
    for row, length in enumerate(right.lengths["pose"].tolist()):
        left.features["pose"][row] = right["pose"][row].roll(9 - length, 0)
    torch.testing.assert_close(model(left), model(right))


@pytest.mark.parametrize("fusion", FUSIONS)
def test_hidden_vectors_are_equally_wide_never_negative_and_fusion_takes_any_number_of_rows(fusion):
    model, batch = model_of(THREE, fusion=fusion), batch_of(THREE)
    hidden = model.encode(batch).hidden
    assert list(hidden) == list(THREE)
    assert all(h.shape == (16, 8) and h.min() >= 0 for h in hidden.values())
    mixed = mixing.build("powmix", {"n_out": 40})(hidden, batch.target, generator=torch.Generator().manual_seed(0))
    assert mixed.is_mixed and model.fuse(mixed.hidden).shape == (40, 1)


def test_a_seed_decides_weights_and_dropout_and_a_state_dict_brings_them_back():
    batch = batch_of(THREE)
    first, again, other = (model_of(THREE, seed) for seed in (1, 1, 2))
    assert torch.equal(first(batch, noise_of(1)), again(batch, noise_of(1)))
    assert not torch.equal(first(batch, noise_of(1)), first(batch, noise_of(2)))
    other.load_state_dict(first.state_dict())
    assert torch.equal(other(batch), first(batch))


def test_names_that_a_module_could_not_have_are_fine():
    kinds = {"keys": "vector", "left.hand": "sequence", "": "image"}
    assert model_of(kinds)(batch_of(kinds)).isfinite().all()


def test_the_defaults_are_the_benchmarks_network():
    model = build("late_fusion", {}, inputs_for({"x0": "vector", "x1": "vector"}, outputs=3), {})
    shapes = [tuple(p.shape) for name, p in model.named_parameters() if name.endswith("weight")]
    assert shapes == [(64, 5), (32, 64)] * 2 + [(64, 64), (3, 64)]


def test_an_outer_product_that_is_too_large_is_refused_with_its_size():
    kinds = {f"x{n}": "vector" for n in range(6)}
    needed = (
        "model late_fusion: the outer product of 6 vectors has .* = 1291467969 entries, at most 2097152 are allowed"
    )
    with pytest.raises(ValueError, match=needed):
        build("late_fusion", {"fusion": "tensor"}, inputs_for(kinds), {})


def test_token_ids_are_read_where_a_text_encoder_is_named_and_nowhere_else():
    batch, cls = token_batch(), model_class("late_fusion")
    assert cls.needs_of({}) == cls.needs_of({"text": {"pretrained": None}}) == ("*",)
    assert cls.needs_of({"text": TEXT}) == ("*", "tokens")
    torch.manual_seed(0)
    model = build("late_fusion", {"text": TEXT}, TOKENS, {})
    hidden = model.encode(batch).hidden
    assert list(hidden) == ["text", "audio", "vision"]
    torch.testing.assert_close(model(padded_tokens(batch, 4)), model(batch), atol=1e-5, rtol=0)
    model(batch).sum().backward()
    assert all(p.grad is not None for p in model.encoders[0].parameters())


def test_a_text_encoder_stands_in_for_dense_text():
    inputs = Inputs({"text": 12, "audio": 3, "vision": 4}, TOKENS.steps, vocabulary=130)
    model = build("late_fusion", {"text": TEXT}, inputs, {})
    assert [encoder.name for encoder in model.encoders] == ["text", "audio", "vision"]
    assert model(token_batch()).shape == (5, 1)


@pytest.mark.parametrize("mixer", ["none", "powmix"])
def test_a_run_is_trained_tested_and_repeated_bit_for_bit(mixer, tmp_path):
    splits = splits_of(THREE, outputs=3)
    settings = Settings(
        optimizer={"learning_rate": 3e-3, "weight_decay": 0.0},
        max_epochs=3,
        batch_size=16,
        device="cpu",
        task="classification",
    )

    def made():
        return build("late_fusion", {"width": 8, "hidden": 12}, inputs_for(THREE, 3), {})

    first, again = (
        train(made, splits, mixing.build(mixer, {}), settings, 1111, tmp_path / folder) for folder in ("first", "again")
    )
    assert first["test"] == again["test"] and first["validation"] == again["validation"]
