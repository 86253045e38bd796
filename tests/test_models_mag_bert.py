"""MAG-BERT: the gate's formula, alignment by blocks, early fusion as one modality, padding under both protocols."""

from __future__ import annotations

import pytest
import torch
from bert_cases import (
    ALIGNED,
    DIMS,
    INPUTS,
    PUBLISHED,
    SOUND,
    assert_padding_does_not_matter,
    assert_same_hidden,
    batch_of,
    count_outside_bert,
    left_padded,
    make,
    noise,
    padded,
)

from powmix.data.splits import real_steps
from powmix.models.base import Inputs
from powmix.models.mag_bert import AdaptationGate, block_average, masked_block_average

ALIGNED_INPUTS = Inputs(DIMS, ALIGNED, vocabulary=130)


@pytest.mark.parametrize(("dataset", "count"), [("mosi", 1_223_425), ("mosei", 1_352_449), ("sims", 2_324_737)])
def test_parameters_are_the_published_ones(dataset, count, monkeypatch):
    assert count_outside_bert("mag_bert", dataset, monkeypatch) == count


def test_the_gate_shifts_an_embedding_by_its_audio_and_vision():
    torch.manual_seed(0)
    gate, (e, audio, vision) = AdaptationGate(6, 2, 3, beta=0.7, dropout=0.0), map(torch.randn, (6, 2, 3))
    g_v = gate.vision_gate(torch.cat([vision, e])).relu()
    g_a = gate.audio_gate(torch.cat([audio, e])).relu()
    h = g_v * gate.vision_shift(vision) + g_a * gate.audio_shift(audio)
    alpha = min(0.7 * e.norm() / (h.norm() + 1e-6), 1)
    shifted = gate(e.view(1, 1, -1), audio.view(1, 1, -1), vision.view(1, 1, -1))
    torch.testing.assert_close(shifted[0, 0], gate.norm(alpha * h + e))


def test_a_shift_is_never_longer_than_beta_allows():
    gate = AdaptationGate(6, 2, 3, beta=0.5, dropout=0.0)
    gate.norm = torch.nn.Identity()
    e = torch.randn(4, 5, 6)
    moved = gate(e, 100 * torch.randn(4, 5, 2), 100 * torch.randn(4, 5, 3)) - e
    assert (moved.norm(dim=-1) <= 0.5 * e.norm(dim=-1) + 1e-4).all()


def test_a_silent_blind_token_has_finite_gradients():
    gate, e = AdaptationGate(6, 2, 3, beta=1.0, dropout=0.0), torch.randn(1, 1, 6, requires_grad=True)
    torch.nn.init.zeros_(gate.audio_shift.bias), torch.nn.init.zeros_(gate.vision_shift.bias)
    gate(e, torch.zeros(1, 1, 2), torch.zeros(1, 1, 3)).square().sum().backward()
    assert all(p.grad.isfinite().all() for p in (e, *gate.parameters()))


def test_sims_frames_are_averaged_in_blocks():
    frames = torch.arange(400.0).view(1, 400, 1)
    averaged = block_average(frames, 39)[0, :, 0]
    whole = torch.cat([frames[0, :, 0], torch.full((29,), 399.0)])
    assert torch.equal(averaged, whole.view(39, 11).mean(1))
    assert block_average(torch.arange(55.0).view(1, 55, 1), 39)[0, :3, 0].tolist() == [0.5, 2.5, 4.5]


def test_fewer_frames_than_tokens_repeat_the_last_one():
    assert block_average(torch.tensor([[[1.0], [2.0]]]), 4)[0, :, 0].tolist() == [1, 2, 2, 2]


@pytest.mark.parametrize(("frames", "tokens"), [(14, 9), (18, 9), (9, 9), (4, 9), (1, 1), (14, 1)])
def test_masked_blocks_are_those_of_the_example_without_padding(frames, tokens):
    x = torch.randn(1, 20, 3)
    averaged = masked_block_average(x, torch.tensor([frames]), torch.tensor([tokens]), 12)
    torch.testing.assert_close(averaged[:, :tokens], block_average(x[:, :frames], tokens))


def test_the_mixer_sees_one_pooled_vector():
    model = make("mag_bert")
    hidden = model.encode(batch_of()).hidden
    assert list(hidden) == ["fused"] and hidden["fused"].shape == (5, model.text.width)
    assert model.fuse({"fused": torch.zeros(7, model.text.width)}).shape == (7, 1)


def test_new_layers_start_as_in_bert():
    model = make("mag_bert")
    for linear in (*model.gate.linears(), model.output):
        assert linear.bias.eq(0).all() and 0.01 < linear.weight.std() < 0.03


def test_audio_and_vision_reach_the_prediction():
    model, batch = make("mag_bert"), batch_of()
    before = model(batch)
    batch.features["audio"] += 1
    assert not torch.allclose(model(batch), before, atol=1e-6)


@pytest.mark.parametrize("protocol", [PUBLISHED, SOUND])
def test_padding_does_not_matter_on_aligned_data(protocol):
    assert_padding_does_not_matter(make("mag_bert", protocol, ALIGNED_INPUTS), aligned_batch())


def aligned_batch():
    batch = batch_of(steps=ALIGNED)
    for name, x in batch.features.items():
        batch.lengths[name] = batch.lengths["text"]
        x *= real_steps(batch.lengths["text"], batch.side["text"], x.shape[-2]).unsqueeze(-1)
    return batch


def test_padding_does_not_matter_on_unaligned_data_under_sound_but_does_as_published():
    assert_padding_does_not_matter(make("mag_bert", SOUND), batch_of())
    published = make("mag_bert", PUBLISHED)
    assert not torch.allclose(published(padded(batch_of(), 20)), published(batch_of()), atol=1e-6)


def test_the_side_of_the_padding_does_not_matter_under_sound():
    model, batch = make("mag_bert", SOUND), batch_of()
    assert_same_hidden(model.encode(left_padded(batch)).hidden, model.encode(batch).hidden)


def test_a_frozen_encoder_still_trains_the_gate_through_it():
    model = make("mag_bert", text={"pretrained": "tiny", "finetune": False})
    model(batch_of(), noise()).sum().backward()
    assert all(p.grad is None for p in model.text.parameters())
    assert all(p.grad is not None and p.grad.isfinite().all() for p in model.gate.parameters())


def test_dropout_leaves_the_global_generator_and_the_state_alone():
    model, batch, generator = make("mag_bert", inputs=INPUTS), batch_of(), torch.get_rng_state()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    assert torch.equal(model(batch, noise(1)), model(batch, noise(1)))
    assert not torch.equal(model(batch, noise(1)), model(batch, noise(2)))
    assert torch.equal(torch.get_rng_state(), generator)
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
