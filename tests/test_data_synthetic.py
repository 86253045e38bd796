"""The synthetic corpus: equal for equal seeds, readable, text dominant, with a noise floor that means something."""

import numpy as np
import pytest
import torch

from powmix.data import load, sentences, synthetic

ALL = ("tokens", "text", "audio", "vision")


@pytest.fixture(scope="module")
def corpus():
    return synthetic.build({})


def mean_features(split, modalities):
    return np.concatenate(
        [(split.features[m].sum(1) / split.lengths[m].unsqueeze(-1)).numpy() for m in modalities], 1
    ).astype(float)


def ridge_mae(splits, modalities, strength=100.0):
    x, x_test = mean_features(splits.train, modalities), mean_features(splits.test, modalities)
    mean, std = x.mean(0), x.std(0)
    x, x_test = (x - mean) / std, (x_test - mean) / std
    y = splits.train.target[:, 0].numpy()
    weight = np.linalg.solve(x.T @ x + strength * np.eye(x.shape[1]), x.T @ (y - y.mean()))
    return float(np.abs(x_test @ weight + y.mean() - splits.test.target[:, 0].numpy()).mean())


def test_equal_seeds_give_equal_corpora_and_others_do_not(corpus):
    again, other = synthetic.build({}), synthetic.build({"corpus_seed": 1})
    assert again.digest == corpus.digest != other.digest
    assert again.notes == corpus.notes
    assert all(torch.equal(again.train.features[m], corpus.train.features[m]) for m in ("text", "audio", "vision"))
    assert again.train.raw_text == corpus.train.raw_text != other.train.raw_text


def test_the_global_random_state_plays_no_part(corpus):
    torch.manual_seed(5)
    np.random.seed(5)
    assert synthetic.build({}).digest == corpus.digest


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_text_dominates_and_all_modalities_together_are_best(seed):
    splits = synthetic.build({"corpus_seed": seed, "sizes": {"train": 1200, "valid": 30, "test": 900}})
    alone = {modality: ridge_mae(splits, [modality]) for modality in ("text", "audio", "vision")}
    together = ridge_mae(splits, ["text", "audio", "vision"])
    constant = splits.notes["constant_mae"]
    assert together < alone["text"] - 0.04
    assert alone["text"] < min(alone["audio"], alone["vision"])
    assert max(alone.values()) < constant - 0.02
    assert together < constant - 0.2
    assert splits.notes["noise_floor_mae"] < splits.notes["text_floor_mae"] < together


def test_the_noise_floor_follows_the_annotators_noise():
    floors = [synthetic.build({"noise": noise}).notes["noise_floor_mae"] for noise in (0.4, 0.7, 1.5)]
    assert floors == sorted(floors) and floors[0] < 0.2 and 0.2 < floors[1] < 0.35 < floors[2]


def test_no_predictor_of_the_true_sentiment_is_better_than_the_floor():
    options = {"sizes": {"train": 30, "valid": 30, "test": 1000}}
    splits = synthetic.build(options)
    rng = np.random.default_rng(0)
    clips = synthetic._clips(3000, 20, 0.7, rng)
    best = np.abs(clips.label_N - clips.sentiment_N).mean()
    assert splits.notes["noise_floor_mae"] <= best + 0.02


def test_speakers_belong_to_one_split_and_differ_in_mood(corpus):
    speakers = [{name.split("$_$")[0] for name in getattr(corpus, s).ids} for s in ("train", "valid", "test")]
    assert not speakers[0] & speakers[1] and not speakers[0] & speakers[2]
    who = np.array([name.split("$_$")[0] for name in corpus.train.ids])
    label = corpus.train.target[:, 0].numpy()
    moods = np.array([label[who == name].mean() for name in sorted(speakers[0])])
    assert moods.std() > 3 * label.std() / np.sqrt(len(label) / len(moods)) * 0.5


def test_sentences_are_readable_and_tokens_have_bert_s_layout(corpus):
    split = corpus.train
    words = {number: word for word, number in sentences.TOKEN_ID.items()}
    for row in range(50):
        ids, mask, kind = split.tokens[row].tolist()
        length = int(split.lengths["text"][row])
        assert ids[0] == 101 and ids[length - 1] == 102 and sum(ids[length:]) == 0
        assert sum(mask) == length and sum(kind) == 0
        assert " ".join(words[number] for number in ids[1 : length - 1]) == split.raw_text[row]
    assert int(split.tokens.max()) < sentences.VOCABULARY


def test_negation_flips_an_intensifier_scales_and_but_outweighs():
    rng = np.random.default_rng(0)
    said = [sentences.compose(rng.normal(), 18, "um", rng) for _ in range(3000)]
    plain = {s.words[-1]: s.sentiment for s in said if len(s.words) == 4 and s.words[0] == "the"}
    assert all(sentiment == sentences.VALENCE[word] for word, sentiment in plain.items()) and len(plain) > 20
    negated = [s for s in said if len(s.words) == 5 and s.words[3] in sentences.NEGATION]
    assert all(s.sentiment * sentences.VALENCE[s.words[4]] <= 0 for s in negated) and negated
    joined = [s for s in said if "but" in s.words]
    assert all(s.focus > s.words.index("but") for s in joined) and joined
    assert max(len(s.words) for s in said) <= 18 and max(abs(s.sentiment) for s in said) <= 3


def test_labels_are_means_of_five_answers_within_three(corpus):
    label = torch.cat([corpus.train.target, corpus.test.target])
    assert torch.allclose(label * 5, (label * 5).round(), atol=1e-5)
    assert label.abs().max() <= 3 and 1 < label.std() < 1.7 and label.mean().abs() < 0.5


def test_padded_steps_are_zero_and_real_ones_are_not(corpus):
    batch = corpus.valid.batch(torch.arange(len(corpus.valid)))
    for modality in ("text", "audio", "vision"):
        assert torch.equal(batch.features[modality].ne(0).any(-1), batch.mask(modality))


def test_aligned_modalities_step_with_the_tokens():
    splits = synthetic.build({"aligned": True})
    assert set(splits.steps.values()) == {20}
    assert torch.equal(splits.train.lengths["audio"], splits.train.lengths["text"])


def test_sizes_steps_and_dims_are_options():
    options = {
        "sizes": {"train": 7, "valid": 3, "test": 4},
        "steps": {"text": 8, "audio": 40, "vision": 9},
        "dims": {"text": 16, "audio": 3, "vision": 5},
    }
    splits = load({"name": "synthetic", **options}, ALL)
    assert [len(splits.train), len(splits.valid), len(splits.test)] == [7, 3, 4]
    assert splits.train.features["audio"].shape == (7, 40, 3) and splits.train.tokens.shape == (7, 3, 8)
    assert splits.dims == options["dims"] and splits.steps == options["steps"]


def test_wrong_options_are_all_named_at_once():
    with pytest.raises(ValueError) as error:
        synthetic.build({"sizes": {"train": 0, "valid": 3, "test": 4}, "noise": -1, "dims": {"text": 3}})
    assert all(
        name in str(error.value)
        for name in ("dataset.sizes must be a section of train", "dataset.noise must", "dataset.dims must")
    )


def test_the_defaults_are_those_of_the_configuration():
    from pathlib import Path

    import yaml

    folder = Path(__file__).parents[1] / "conf" / "dataset"
    section = yaml.safe_load((folder / "synthetic.yaml").read_text())
    assert load(section, ALL).digest == synthetic.build({}).digest
