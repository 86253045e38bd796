"""Self-MM: pseudo labels as an independent implementation has them, never from mixed rows; losses, groups, protocol."""

from __future__ import annotations

import json
from dataclasses import replace

import oracle_files
import pytest
import torch
from bert_cases import (
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
)

from powmix.mixing import Mixer, NoMixer, PowMix, clean
from powmix.models.base import Encoded
from powmix.models.ulgm import ULGM

TASKS = ("fusion", "text", "audio", "vision")
OPTIMIZER = {f"learning_rate_{name}": 1e-3 for name in ("bert", "audio", "vision", "other")} | {
    f"weight_decay_{name}": 0.01 for name in ("bert", "audio", "vision", "other")
}


class Given(torch.nn.Module):
    """A head whose prediction is its input."""

    def forward(self, x, noise=None):
        return x


def train(model, mixer, epochs, batches=2, seed=1):
    """The contract's step over `batches` batches per epoch."""
    whole, dropout, mixing = batch_of(5 * batches), noise(seed), torch.Generator().manual_seed(seed)
    model.prepare(whole.target)
    adam = torch.optim.Adam(model.parameter_groups(OPTIMIZER))
    for epoch in range(epochs):
        for index in torch.arange(5 * batches).split(5):
            batch = select(whole, index)
            encoded = model.encode(batch, dropout)
            mixed = mixer(encoded.hidden, batch.target, generator=mixing, epoch=epoch)
            error = (model.fuse(mixed.hidden, dropout) - mixed.target).abs().squeeze(-1)
            loss = (error * mixed.row_weight).sum()
            loss = loss + sum(model.auxiliary_losses(encoded, mixed, batch, dropout).values())
            adam.zero_grad(set_to_none=True)
            loss.backward()
            model.observe(encoded, batch, epoch + 1, dropout)
            adam.step()
    return model


def select(batch, index):
    return replace(
        batch,
        features={name: x[index] for name, x in batch.features.items()},
        tokens=batch.tokens[index],
        lengths={name: x[index] for name, x in batch.lengths.items()},
        target=batch.target[index],
        index=index,
    )


def state_of(model):
    return {name: value.clone() for name, value in model.state_dict().items()}


def same(first, second):
    return first.keys() == second.keys() and all(torch.equal(value, second[name]) for name, value in first.items())


def with_labels(model, batch):
    """The model in the middle of training: pseudo labels that differ from the labels."""
    model.prepare(batch.target)
    model.ulgm.labels_TN[1:] += torch.randn(3, len(batch.target), generator=torch.Generator().manual_seed(5))
    model.ulgm.last_epoch = 3
    return model


def test_labels_losses_and_centres_of_the_independent_implementation():
    oracle = oracle_files.read("self_mm_ulgm")
    config = json.loads(str(oracle["config"]))
    ulgm, model = ULGM({task: config["dims"][task] for task in TASKS}, bound=config["H"]), make("self_mm")
    ulgm.prepare(torch.from_numpy(oracle["in/y"]))
    model.ulgm, model.heads = ulgm, torch.nn.ModuleDict({task: Given() for task in TASKS})
    for step in range(config["batches_per_epoch"] * config["epochs"]):
        given = {
            kind: {task: torch.from_numpy(oracle[f"in/{step}/{kind}_{task}"]) for task in TASKS}
            for kind in ("feature", "pred")
        }
        index = torch.from_numpy(oracle[f"in/{step}/index"])
        batch = replace(select(batch_of(11), index), target=ulgm.labels_TN[0, index, None])
        task = (given["pred"].pop("fusion") - batch.target).abs().mean()
        losses = model.auxiliary_losses(Encoded(given["pred"]), clean(given["pred"], batch.target), batch)
        expected = torch.from_numpy(oracle["out/losses"][step]).float()
        torch.testing.assert_close(torch.stack([task, *losses.values()]), expected, atol=1e-5, rtol=1e-5)
        ulgm.update(given["feature"], index, step // config["batches_per_epoch"] + 1)
        labels = torch.from_numpy(oracle[f"out/{step}/labels"])
        torch.testing.assert_close(ulgm.labels_TN, labels, atol=1e-4, rtol=1e-4)
    for row, sign in enumerate(("pos", "neg")):
        centres = torch.cat([torch.from_numpy(oracle[f"out/centre_{task}_{sign}"]) for task in TASKS])
        torch.testing.assert_close(ulgm.centres_2F[row], centres, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize(("dataset", "count"), [("mosi", 159_332), ("mosei", 165_668), ("sims", 381_380)])
def test_parameters_are_the_published_ones(dataset, count, monkeypatch):
    assert count_outside_bert("self_mm", dataset, monkeypatch) == count


def test_hidden_widths_follow_the_encoder_and_the_options():
    hidden = make("self_mm", audio_out=6, vision_out=7).encode(batch_of()).hidden
    assert {name: h.shape[1] for name, h in hidden.items()} == {"text": 64, "audio": 6, "vision": 7}


def test_pseudo_labels_never_come_from_mixed_rows():
    batch, states = batch_of(), []
    for p_mix in (0.0, 1.0):
        model = with_labels(make("self_mm"), batch)
        encoded = model.encode(batch, noise(1))
        mixer = PowMix(n_out=20, p_mix=p_mix)
        mixed = mixer(encoded.hidden, batch.target, generator=torch.Generator().manual_seed(0))
        assert mixed.is_mixed == bool(p_mix)
        model.auxiliary_losses(encoded, mixed, batch, noise(2))
        model.observe(encoded, batch, 3, noise(3))
        states.append(state_of(model.ulgm))
    assert same(*states)


def test_p_mix_0_is_the_baseline_bit_for_bit():
    trained = [train(make("self_mm"), mixer, epochs=4) for mixer in (NoMixer(), PowMix(p_mix=0.0))]
    assert same(*(state_of(model) for model in trained))
    assert not same(state_of(trained[0]), state_of(train(make("self_mm"), PowMix(p_mix=1.0, n_out=8), epochs=4)))


def test_unimodal_heads_learn_mixed_vectors_with_labels_mixed_by_the_same_weights():
    batch = batch_of()
    model = with_labels(make("self_mm"), batch)
    encoded = model.encode(batch)
    mixed = PowMix(n_out=20, p_mix=1)(encoded.hidden, batch.target, generator=torch.Generator().manual_seed(0))
    losses = model.auxiliary_losses(encoded, mixed, batch)
    for task, name in enumerate(("text", "audio", "vision"), start=1):
        labels, weights = model.ulgm.labels_TN[task], mixed.weights[name]
        importance = (weights @ (labels - batch.target[:, 0])).abs().tanh()
        error = (model.heads[name](weights @ encoded.hidden[name])[:, 0] - weights @ labels).abs()
        torch.testing.assert_close(losses[name], (importance * error).mean(), atol=1e-5, rtol=1e-5)


def test_unimodal_clean_keeps_the_heads_on_clean_vectors():
    batch = batch_of()
    model = with_labels(make("self_mm", unimodal="clean"), batch)
    encoded = model.encode(batch)
    mixed = PowMix(n_out=20, p_mix=1)(encoded.hidden, batch.target, generator=torch.Generator().manual_seed(0))
    expected = model.auxiliary_losses(encoded, clean(encoded.hidden, batch.target), batch)
    assert model.auxiliary_losses(encoded, mixed, batch) == expected


def test_an_unknown_choice_for_the_unimodal_heads_is_refused():
    with pytest.raises(ValueError, match=r"model\.unimodal must be one of mixed, clean, got 'both'"):
        make("self_mm", unimodal="both")


def moved_heads(protocol, epochs):
    start = state_of(make("self_mm", protocol).heads)
    end = state_of(train(make("self_mm", protocol), Mixer(p_mix=0), epochs).heads)
    return {name.split(".")[0] for name, value in end.items() if not torch.equal(value, start[name])}


def test_published_unimodal_heads_decay_while_their_loss_weight_is_0_and_sound_ones_do_not():
    assert moved_heads(PUBLISHED, epochs=1) == {"fusion", "text", "audio", "vision"}
    assert moved_heads(SOUND, epochs=2) == {"fusion"}  # labels move during epoch 2, so weights are 0 until epoch 3
    assert moved_heads(SOUND, epochs=3) == {"fusion", "text", "audio", "vision"}


def test_published_and_sound_have_the_same_unimodal_losses_once_labels_differ():
    batch = batch_of()
    losses = []
    for protocol in (PUBLISHED, SOUND):
        model = with_labels(make("self_mm", protocol), batch)
        model.ulgm.last_epoch = 2
        encoded = model.encode(batch)
        losses.append(model.auxiliary_losses(encoded, clean(encoded.hidden, batch.target), batch))
    assert losses[0] and losses[0] == losses[1]


@pytest.mark.parametrize("sign", [1, -1, 0])
def test_an_empty_class_gives_no_nan(sign):
    ulgm, features = ULGM({"fusion": 3, "text": 2}, bound=3.0), {"fusion": torch.rand(4, 3), "text": torch.rand(4, 2)}
    ulgm.prepare(sign * torch.ones(4))
    for epoch in (1, 2, 3):
        ulgm.update(features, torch.arange(4), epoch)
        assert ulgm.labels_TN.isfinite().all() and ulgm.centres_2F.isfinite().all()


def test_a_class_that_becomes_empty_keeps_its_centre():
    ulgm = ULGM({"fusion": 2, "text": 2}, bound=3.0)
    ulgm.prepare(torch.tensor([1.0, -1.0]))
    ulgm.update({"fusion": torch.ones(2, 2), "text": torch.ones(2, 2)}, torch.arange(2), 1)
    ulgm.labels_TN[1] = 1.0
    ulgm.recentre()
    assert torch.equal(ulgm.centres_2F[1], torch.ones(4))


def test_zero_labels_are_positive_only_when_not_excluded():
    for exclude, expected in ((True, 2.0), (False, 1.5)):
        ulgm = ULGM({"fusion": 1}, bound=3.0, exclude_zero=exclude)
        ulgm.prepare(torch.tensor([0.0, 1.0]))
        ulgm.update({"fusion": torch.tensor([[1.0], [2.0]])}, torch.arange(2), 1)
        assert ulgm.centres_2F[0].item() == expected


def test_adam_has_five_groups():
    model = make("self_mm")
    optimizer = {f"{kind}_{name}": float(i) for i, name in enumerate(("bert", "audio", "vision", "other"), 1)
                 for kind in ("learning_rate", "weight_decay")}  # fmt: skip
    groups = model.parameter_groups(optimizer)
    assert [(group["lr"], group["weight_decay"]) for group in groups] == [(1, 1), (1, 0), (2, 2), (3, 3), (4, 4)]
    names = {id(p): name for name, p in model.named_parameters()}
    assert all(names[id(p)].endswith(("bias", "LayerNorm.weight")) for p in groups[1]["params"])
    assert sorted(names[id(p)] for group in groups for p in group["params"]) == sorted(names.values())


def test_a_frozen_encoder_leaves_three_groups():
    assert len(make("self_mm", text={"pretrained": "tiny", "finetune": False}).parameter_groups(OPTIMIZER)) == 3


def test_classification_trains_the_fusion_head_alone_and_says_so():
    with pytest.warns(UserWarning, match="only the fusion head is trained"):
        model = make("self_mm", inputs=replace(INPUTS, outputs=3))
    batch = replace(batch_of(), target=torch.eye(3)[torch.tensor([0, 1, 2, 1, 0])])
    model.prepare(batch.target)
    encoded = model.encode(batch, noise())
    assert model.fuse(encoded.hidden).shape == (5, 3) and list(model.heads) == ["fusion"]
    assert model.auxiliary_losses(encoded, clean(encoded.hidden, batch.target), batch) == {}
    model.observe(encoded, batch, 1)


def test_the_label_bound_follows_the_label_scale():
    assert make("self_mm", inputs=replace(INPUTS, label_range=(-1.0, 1.0))).ulgm.bound == 1.0
    assert make("self_mm", H=2.0).ulgm.bound == 2.0


def test_saved_weights_fit_a_model_that_was_never_trained():
    trained, fresh = train(make("self_mm"), NoMixer(), epochs=2), make("self_mm")
    fresh.load_state_dict(trained.state_dict())
    assert same(state_of(trained), state_of(fresh)) and fresh.ulgm.last_epoch == 2
    assert torch.equal(trained(batch_of()), fresh(batch_of()))


def test_forward_and_losses_write_no_state():
    batch = batch_of()
    model = with_labels(make("self_mm"), batch)
    before, encoded = state_of(model), model.encode(batch, noise())
    model.fuse(encoded.hidden, noise())
    model.auxiliary_losses(encoded, clean(encoded.hidden, batch.target), batch, noise())
    assert same(before, state_of(model))


def test_padding_does_not_matter():
    assert_padding_does_not_matter(make("self_mm"), batch_of())


def test_the_side_of_the_padding_does_not_matter():
    model, batch = make("self_mm"), batch_of()
    assert_same_hidden(model.encode(left_padded(batch)).hidden, model.encode(batch).hidden)


def test_an_example_without_frames_is_finite():
    batch = batch_of()
    batch.lengths["vision"][2] = 0
    assert make("self_mm")(batch).isfinite().all()
