"""Fractions nest and keep the label distribution; corruption does what it says and nothing at p = 0."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from powmix.data import corruption, load, synthetic
from powmix.data.splitting import fraction_rows

LABELS = torch.randn(500, 1, generator=torch.Generator().manual_seed(0))


@given(st.integers(1, 300), st.floats(0.01, 1), st.floats(0.01, 1), st.integers(0, 5))
@settings(max_examples=60, deadline=None)
def test_a_smaller_fraction_is_a_subset_of_a_larger(size, a, b, seed):
    small, large = (set(fraction_rows(LABELS[:size], f, seed)) for f in sorted((a, b)))
    assert small <= large
    assert len(large) == max(1, round(max(a, b) * size))


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("fraction", [0.1, 0.25, 0.5])
def test_a_fraction_keeps_the_label_distribution(fraction, seed):
    part = LABELS[fraction_rows(LABELS, fraction, seed), 0]
    quantiles = torch.linspace(0.1, 0.9, 9)
    assert (part.quantile(quantiles) - LABELS[:, 0].quantile(quantiles)).abs().max() < 0.2
    assert sorted(part.tolist()) != sorted(LABELS[: len(part), 0].tolist())


def test_a_fraction_keeps_classes_and_another_seed_takes_other_rows():
    target = torch.nn.functional.one_hot(torch.arange(300) % 3, 3).float()
    rows = fraction_rows(target, 0.1)
    assert (target[rows].sum(0) - 10).abs().max() <= 2
    assert rows != fraction_rows(target, 0.1, seed=1)


def test_the_training_split_alone_is_reduced():
    whole, half = (load({"name": "synthetic", "fraction": f}, ("audio",)) for f in (1.0, 0.5))
    assert len(half.train) == len(whole.train) / 2 and len(half.test) == len(whole.test)
    assert set(half.train.ids) < set(whole.train.ids)


@pytest.fixture(scope="module")
def splits():
    return synthetic.build({"sizes": {"train": 120, "valid": 30, "test": 400}})


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


def test_nothing_changes_at_p_0(splits):
    for same in (
        corruption.drop_frames(splits.test, 0, aligned=True),
        corruption.drop_frames(splits.test, 0.0, aligned=False),
        corruption.drop_text(splits.test, 0),
        corruption.drop_text(splits.test, 0, replacement_D=corruption.training_mean(splits.train)),
    ):
        assert all(same.features[name] is value for name, value in splits.test.features.items())
        assert same.tokens is splits.test.tokens and same.lengths == splits.test.lengths


@pytest.mark.parametrize("aligned", [True, False])
def test_the_share_of_lost_frames_is_p_and_the_rest_is_untouched(splits, aligned):
    before = {name: value.clone() for name, value in splits.test.features.items()}
    damaged = corruption.drop_frames(splits.test, 0.3, aligned, generator())
    batch = splits.test.batch(torch.arange(400))
    for name, value in damaged.features.items():
        real, kept = batch.mask(name), value.ne(0).any(-1)
        assert torch.equal(value[kept], splits.test.features[name][kept])
        assert abs(1 - kept[real].float().mean() - 0.3) < 0.03
        assert torch.equal(splits.test.features[name], before[name])
    again = corruption.drop_frames(splits.test, 0.3, aligned, generator())
    assert all(torch.equal(again.features[name], damaged.features[name]) for name in damaged.features)
    assert torch.equal(damaged.target, splits.test.target)


def test_aligned_modalities_lose_the_same_steps_and_independent_ones_do_not():
    split = synthetic.build({"aligned": True}).test
    for aligned in (True, False):
        lost = [
            value.eq(0).all(-1) for value in corruption.drop_frames(split, 0.4, aligned, generator()).features.values()
        ]
        assert (torch.equal(lost[0], lost[1]) and torch.equal(lost[0], lost[2])) is aligned


def test_aligned_moments_agree_across_lengths_and_padding_sides(splits):
    from dataclasses import replace

    test = splits.test
    left = replace(
        test,
        features=test.features
        | {
            "audio": torch.stack(
                [row.roll(30 - int(n), 0) for row, n in zip(test.features["audio"], test.lengths["audio"])]
            )
        },
        side=test.side | {"audio": "left"},
    )
    right, turned = (corruption.drop_frames(split, 0.3, True, generator()).features["audio"] for split in (test, left))
    for row, length in enumerate(test.lengths["audio"].tolist()):
        assert torch.equal(right[row, :length], turned[row, 30 - length :])


def test_lost_words_are_unknown_and_the_sentence_keeps_its_length(splits):
    test = splits.test
    damaged = corruption.drop_frames(test, 0.5, False, generator()).tokens
    assert torch.equal(damaged[:, 1:], test.tokens[:, 1:])
    changed = damaged[:, 0] != test.tokens[:, 0]
    assert (damaged[:, 0][changed] == 100).all() and not changed[:, 0].any()
    assert (damaged[:, 0] == 102).sum() == len(test)
    everything = corruption.drop_frames(test, 1.0, True, generator()).tokens[:, 0]
    assert set(everything.unique().tolist()) == {0, 100, 101, 102}


def test_lost_text_is_zero_or_the_training_mean_and_the_empty_sentence(splits):
    test, mean_D = splits.test, corruption.training_mean(splits.train)
    real = splits.test.batch(torch.arange(400)).mask("text")
    zeroed = corruption.drop_text(test, 0.4, generator())
    meant = corruption.drop_text(test, 0.4, generator(), mean_D)
    lost = zeroed.features["text"].eq(0).all(-1).all(-1)
    assert abs(lost.float().mean() - 0.4) < 0.08
    assert torch.equal(zeroed.features["text"][~lost], test.features["text"][~lost])
    assert (meant.features["text"][lost][real[lost]] == mean_D).all()
    assert (meant.features["text"][lost][~real[lost]] == 0).all()
    assert zeroed.tokens[lost][:, 0, :3].unique(dim=0).tolist() == [[101, 102, 0]]
    assert (zeroed.tokens[lost].sum(-1)[:, 1] == 2).all()
    assert torch.equal(zeroed.features["audio"], test.features["audio"])


def test_the_training_mean_counts_real_steps_only(splits):
    train = splits.train
    steps = [train.features["text"][row, :length] for row, length in enumerate(train.lengths["text"].tolist())]
    torch.testing.assert_close(corruption.training_mean(train), torch.cat(steps).mean(0), atol=1e-4, rtol=1e-4)


def test_without_dense_text_a_lost_text_has_length_two():
    split = load({"name": "synthetic"}, ("tokens", "audio")).test
    damaged = corruption.drop_text(split, 1.0, generator())
    assert (damaged.lengths["text"] == 2).all()
    assert torch.equal(damaged.lengths["text"], damaged.tokens[:, 1].sum(-1))


@pytest.mark.parametrize("p", [-0.1, 1.1])
def test_a_probability_outside_0_and_1_is_refused(splits, p):
    for damage in (lambda: corruption.drop_frames(splits.test, p, True), lambda: corruption.drop_text(splits.test, p)):
        with pytest.raises(ValueError, match=r"within \[0, 1\]"):
            damage()
