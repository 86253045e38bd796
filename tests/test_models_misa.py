"""MISA: the losses of the independent implementation, the shapes of the paper, lengths, and its protocol switches."""

from __future__ import annotations

from dataclasses import replace

import oracle_files
import pytest
import torch
from bert_cases import (
    PUBLISHED,
    SOUND,
    alone,
    assert_padding_does_not_matter,
    assert_same_hidden,
    batch_of,
    count_outside_bert,
    left_padded,
    make,
    noise,
)
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

from powmix.mixing import PowMix, clean
from powmix.models.misa import (
    HIDDEN,
    UtteranceLSTM,
    difference_loss,
    reconstruction_loss,
    similarity_loss,
)
from powmix.models.transformer import TransformerLayer

DROPPED = (128 * 4 + 4) + 2 * 1536
"""sp_discriminator and tlayer_norm, in no output and no loss."""


def test_losses_of_the_independent_implementation():
    oracle = oracle_files.read("misa_losses")
    private, common, reconstruction, projection = (
        torch.stack([torch.from_numpy(oracle[f"in/{kind}{m}"]) for m in "tva"]) for kind in "psro"
    )
    torch.testing.assert_close(difference_loss(private, common).item(), float(oracle["out/diff"]), atol=1e-6, rtol=0)
    torch.testing.assert_close(similarity_loss(common).item(), float(oracle["out/cmd"]), atol=1e-6, rtol=0)
    recon = reconstruction_loss(reconstruction, projection).item()
    torch.testing.assert_close(recon, float(oracle["out/recon"]), atol=1e-6, rtol=0)


@pytest.mark.parametrize(("dataset", "count"), [("mosi", 1_138_033), ("mosei", 1_435_105), ("sims", 21_664_749)])
def test_parameters_are_the_published_ones_less_the_unused(dataset, count, monkeypatch):
    assert count_outside_bert("misa", dataset, monkeypatch) == count - DROPPED


def test_the_utterance_is_read_as_by_packed_bidirectional_lstms():
    torch.manual_seed(0)
    ours, lengths, x = UtteranceLSTM(3), torch.tensor([7, 2, 5]), torch.randn(3, 7, 3)
    theirs = [torch.nn.LSTM(width, 3, bidirectional=True, batch_first=True) for width in (3, 6)]
    for stage, lstm in zip((ours.first, ours.second), theirs):
        for direction, suffix in zip(stage, ("", "_reverse")):
            for name, value in direction.named_parameters():
                getattr(lstm, f"{name}_l0{suffix}").data.copy_(value.data)
    packed, (h1, _) = theirs[0](pack_padded_sequence(x, lengths, batch_first=True, enforce_sorted=False))
    y = ours.norm(pad_packed_sequence(packed, batch_first=True)[0])
    _, (h2, _) = theirs[1](pack_padded_sequence(y, lengths, batch_first=True, enforce_sorted=False))
    expected = torch.cat([h1[0], h2[0], h1[1], h2[1]], dim=-1)
    torch.testing.assert_close(ours(x, lengths), expected, atol=1e-6, rtol=0)


def test_fusion_is_a_post_norm_transformer_layer():
    torch.manual_seed(0)
    ours, x = TransformerLayer(8), torch.randn(5, 6, 8)
    theirs = torch.nn.TransformerEncoderLayer(8, 2, 2048, batch_first=True).eval()
    for own, other in (
        (ours.attention_out, theirs.self_attn.out_proj),
        (ours.inner, theirs.linear1),
        (ours.outer, theirs.linear2),
    ):
        other.load_state_dict(own.state_dict())
    theirs.self_attn.in_proj_weight.data.copy_(ours.attention_in.weight)
    theirs.self_attn.in_proj_bias.data.copy_(ours.attention_in.bias)
    torch.testing.assert_close(ours(x), theirs(x), atol=1e-5, rtol=0)
    assert not torch.equal(ours(x, noise()), ours(x))


def test_the_mixer_sees_six_sigmoid_vectors_in_the_published_order():
    hidden = make("misa", hidden_size=16).encode(batch_of()).hidden
    modalities = ("text", "vision", "audio")
    assert tuple(hidden) == HIDDEN == tuple(f"{kind}_{m}" for kind in ("private", "shared") for m in modalities)
    assert all(h.shape == (5, 16) and h.min() > 0 and h.max() < 1 for h in hidden.values())


def test_auxiliary_losses_are_those_of_the_clean_vectors_whatever_the_mixer_does():
    model, batch = make("misa"), batch_of()
    encoded = model.encode(batch)
    mixed = PowMix(n_out=7, p_mix=1)(encoded.hidden, batch.target, generator=torch.Generator().manual_seed(0))
    assert model.fuse(mixed.hidden).shape == (7, 1)
    assert model.auxiliary_losses(encoded, mixed, batch) == model.auxiliary_losses(
        encoded, clean(encoded.hidden, batch.target), batch
    )


def test_loss_weights_are_those_of_the_recipe():
    losses = []
    for weight in (1.0, 2.0):
        model = make("misa", diff_weight=weight, sim_weight=weight, recon_weight=weight)
        encoded = model.encode(batch_of())
        losses.append(model.auxiliary_losses(encoded, clean(encoded.hidden, batch_of().target), batch_of()))
    assert set(losses[0]) == {"difference", "similarity", "reconstruction"}
    assert all(torch.equal(2 * losses[0][name], losses[1][name]) for name in losses[0])


def test_a_batch_of_one_has_finite_gradients():
    model, batch = make("misa"), batch_of(1)
    encoded = model.encode(batch, noise())
    sum(model.auxiliary_losses(encoded, clean(encoded.hidden, batch.target), batch).values()).backward()
    assert all(p.grad.isfinite().all() for p in model.parameters() if p.grad is not None)


def test_published_ignores_frames_beyond_the_text_length_and_sound_does_not():
    batch = batch_of()
    text = batch.lengths["text"]
    beyond = torch.arange(batch.features["audio"].shape[1]) >= text.unsqueeze(-1)
    loud = replace(batch, features={**batch.features, "audio": batch.features["audio"] + 1000 * beyond.unsqueeze(-1)})
    published, sound = make("misa", PUBLISHED), make("misa", SOUND)
    assert torch.equal(published(loud), published(batch))
    assert not torch.allclose(sound(loud), sound(batch))


def test_audio_and_vision_shorter_than_the_text_are_read_whole():
    batch = batch_of(steps={"text": 9, "audio": 4, "vision": 3})
    assert make("misa", PUBLISHED)(batch).isfinite().all()


def test_padding_does_not_matter_with_own_lengths():
    assert_padding_does_not_matter(make("misa", SOUND), batch_of())


def test_own_lengths_respect_the_side_of_the_padding():
    model, batch = make("misa", SOUND), batch_of()
    assert_same_hidden(model.encode(left_padded(batch)).hidden, model.encode(batch).hidden)


def test_an_example_without_frames_is_finite():
    batch = batch_of()
    batch.lengths["audio"][1] = 0
    assert make("misa", SOUND)(batch).isfinite().all()


def test_weight_decay_acts_under_sound_only():
    optimizer = {"learning_rate": 1e-4, "weight_decay": 5e-5}
    decays = [make("misa", p).parameter_groups(optimizer)[0]["weight_decay"] for p in (PUBLISHED, SOUND)]
    assert decays == [0.0, 5e-5]


def test_forward_writes_no_state():
    model, batch = make("misa"), batch_of()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    model(batch, noise()), model(alone(batch, 1))
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
