"""PowMix's switches that are ours: label weights, partners, a last epoch, an annealed p_mix; off, they do nothing."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from mixing_cases import batch, families, seeded, seeds
from scipy import stats
from test_mixing_laws import agree, law_of_k
from training_corpus import Watcher, same_weights, science, tiny_splits, tiny_train, weights

from powmix import PowMix
from powmix.mixing.modality_weights import PENALTY, contributions, leave_one_out
from powmix.mixing.neighbourhood import neighbours
from powmix.mixing.options import mistakes
from powmix.mixing.registry import option_mistakes
from powmix.runs.identity import signature

LIKELY = 1e-4
CONFIG = {
    **{key: {} for key in ("task", "model", "protocol", "trainer", "optimizer", "schedule", "loss")},
    "dataset": {"name": "synthetic"},
}
properties = settings(max_examples=60, deadline=None, derandomize=True)
label_weights = st.sampled_from(["attention", "learned", [2, 1, 0], {"m0": 0.5, "m1": 3, "m2": 1}])
partners = st.sampled_from(["any", "label", "feature"])


def test_switched_off_the_draws_are_what_they_were():
    mixed = PowMix(n_out=5)(*batch(8), generator=seeded(0))
    expected = torch.tensor([-0.6534345, 0.0402914, -0.1332341, 0.2096211, 1.8983347])
    torch.testing.assert_close(mixed.target[:, 0], expected, rtol=1e-5, atol=1e-6)
    expected = torch.tensor([1.0, 0.284106016, 0.110031605, 0.0862166733, 0.0])
    torch.testing.assert_close(mixed.weights["m1"][:, 3], expected, rtol=1e-5, atol=1e-6)


# --- what every combination keeps -------------------------------------------------------------------------------------


@properties
@given(
    size=st.sampled_from([2, 3, 4, 16, 32]),
    family=families,
    seed=seeds,
    labels=label_weights,
    partners=partners,
    width=st.sampled_from([0.05, 0.5, 3.0]),
    p_scope=st.sampled_from(["element", "row"]),
    combine=st.sampled_from(["replace", "add"]),
)
def test_rows_stay_convex_combinations_and_labels_a_convex_combination_of_theirs(
    size, family, seed, labels, partners, width, p_scope, combine
):
    hidden, target = batch(size, 3, family, seed)
    mixer = PowMix(
        n_out=24, label_weights=labels, partners=partners, neighbourhood=width, p_scope=p_scope, combine=combine
    )
    before = torch.get_rng_state()
    mixed = mixer(hidden, target, generator=seeded(seed))
    assert torch.equal(before, torch.get_rng_state())
    torch.testing.assert_close(mixed.row_weight.sum(), torch.tensor(1.0))
    for name, weights_RB in mixed.weights.items():
        assert weights_RB.isfinite().all() and (weights_RB >= 0).all()
        torch.testing.assert_close(weights_RB.sum(1), torch.ones(len(weights_RB)))
        torch.testing.assert_close(mixed.hidden[name], weights_RB @ hidden[name])
    own_MR = torch.stack([weights_RB @ target for weights_RB in mixed.weights.values()])[..., 0]
    assert (mixed.target[:, 0] >= own_MR.amin(0) - 1e-5).all() and (mixed.target[:, 0] <= own_MR.amax(0) + 1e-5).all()
    shares = torch.stack([mixed.statistics[f"label_weight_{name}"] for name in hidden])
    assert (shares >= 0).all()
    torch.testing.assert_close(shares.sum(), torch.tensor(1.0))
    again = PowMix(
        **{option: getattr(mixer, option) for option in mixer.__dict__ if option not in ("memory", "epochs")}
    )
    assert torch.equal(again(hidden, target, generator=seeded(seed)).target, mixed.target)


# --- label weights ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("given", [[1, 0, 3], {"m2": 3, "m0": 1, "m1": 0}])
def test_given_numbers_weigh_the_modalities_labels_by_place_or_by_name(given):
    hidden, target = batch(16)
    mixed = PowMix(n_out=40, label_weights=given)(hidden, target, generator=seeded(0))
    expected = 0.25 * mixed.weights["m0"] @ target + 0.75 * mixed.weights["m2"] @ target
    torch.testing.assert_close(mixed.target, expected)
    plain = PowMix(n_out=40)(hidden, target, generator=seeded(0))
    assert all(torch.equal(mixed.hidden[name], plain.hidden[name]) for name in hidden), "only labels change"


def test_equal_numbers_and_uniform_attention_are_the_papers_mean():
    hidden, target = batch(16, family="layer_norm")
    plain = PowMix(n_out=40)(hidden, target, generator=seeded(0))
    for same in ([2, 2, 2], "attention"):
        mixed = PowMix(n_out=40, label_weights=same)(hidden, target, generator=seeded(0))
        torch.testing.assert_close(mixed.target, plain.target, rtol=1e-5, atol=1e-5)


def test_attention_weighs_each_row_by_the_attention_of_its_examples():
    hidden = {"loud": torch.ones(8, 3), "silent": torch.zeros(8, 2)}
    target = torch.rand(8, 1, generator=seeded(1))
    mixer = PowMix(n_out=40, label_weights="attention", reweight="uniform")
    mixed = mixer(hidden, target, generator=seeded(0))
    torch.testing.assert_close(mixed.target, mixed.weights["loud"] @ target)
    hidden["loud"][4:], hidden["silent"][4:] = 0.0, 1.0
    mixed = mixer(hidden, target, generator=seeded(0))
    share_R1 = (mixed.weights["loud"] + mixed.weights["silent"])[:, :4].sum(1, keepdim=True) / 2
    expected = share_R1 * (mixed.weights["loud"] @ target) + (1 - share_R1) * (mixed.weights["silent"] @ target)
    torch.testing.assert_close(mixed.target, expected)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ([1, 2], r"label_weights must be 3 numbers \(m0, m1, m2\), got 2"),
        ({"m0": 1, "m1": 1, "n2": 1}, r"unknown modality 'n2' \(did you mean m2\?\).*modality 'm2' has no number"),
    ],
)
def test_numbers_that_are_not_the_models_modalities_are_refused_when_first_mixed(given, message):
    with pytest.raises(ValueError, match=message):
        PowMix(label_weights=given)(*batch(8), generator=seeded(0))


@pytest.mark.parametrize(("size", "width"), [(2, 3), (5, 2), (16, 40)])
def test_leave_one_out_is_what_heads_fitted_to_the_others_err_by(size, width):
    x, y = (torch.randn(size, columns, generator=seeded(size)).double() for columns in (width, 2))
    length = (x - x.mean(0)).square().sum(1).mean()
    errors = []
    for out in range(size):
        rest = torch.arange(size) != out
        design = torch.cat([x, torch.ones(size, 1)], 1).double()
        penalty = torch.diag(torch.tensor([PENALTY * length] * width + [0.0])).double()
        head = torch.linalg.solve(design[rest].T @ design[rest] + penalty, design[rest].T @ y[rest])
        errors.append(y[out] - design[out] @ head)
    torch.testing.assert_close(leave_one_out(x.float(), y.float()).double(), torch.stack(errors), rtol=1e-3, atol=1e-4)
    mean_of_others = (y.sum(0) - y) / (size - 1)
    constant = leave_one_out(torch.ones(size, 1), y.float()).double()
    torch.testing.assert_close(constant, y - mean_of_others, rtol=1e-4, atol=1e-5)


def test_learned_weights_go_to_the_modality_that_explains_the_target():
    memory, source = {}, seeded(0)
    for _ in range(40):
        hidden = {"tells": torch.randn(32, 6, generator=source), "noise": torch.randn(32, 6, generator=source)}
        share = contributions(hidden, hidden["tells"] @ torch.arange(6.0)[:, None], memory)
    assert share[0] > 0.97 and share.sum() == pytest.approx(1)
    hidden["noise"] = hidden["tells"] * 5
    for _ in range(200):
        share = contributions(hidden, hidden["tells"] @ torch.arange(6.0)[:, None], memory)
    torch.testing.assert_close(share, torch.full((2,), 0.5), rtol=0.01, atol=0.01)


@pytest.mark.parametrize("target", [torch.zeros(16, 1), torch.full((16, 3), 1 / 3)])
def test_where_nothing_is_explained_learned_weights_are_equal(target):
    hidden, _ = batch(16)
    torch.testing.assert_close(contributions(hidden, target, {}), torch.full((3,), 1 / 3))


def test_class_targets_keep_their_sum_under_any_label_weights():
    hidden, target = batch(16, classes=4)
    for labels in ("attention", "learned", [3, 1, 1]):
        mixed = PowMix(n_out=24, label_weights=labels)(hidden, target, generator=seeded(0))
        torch.testing.assert_close(mixed.target.sum(1), torch.ones(24))


def test_averaged_labels_attenuate_a_dominant_modality_and_its_own_label_does_not():
    source, rows = seeded(3), []
    for labels in ("mean", [1, 0, 0]):
        mixer = PowMix(n_out=64, reweight="uniform", label_weights=labels)
        for _ in range(300):
            hidden = {name: torch.randn(32, 1, generator=source) for name in ("text", "audio", "vision")}
            rows.append(mixer(hidden, hidden["text"].clone(), generator=source))
    shared = np.mean([float((one.weights["text"] * one.weights["audio"]).sum(1).mean()) for one in rows[:300]])
    own = np.mean([float(one.weights["text"].square().sum(1).mean()) for one in rows[:300]])
    expected = (1 + 2 * shared / own) / 3
    for some, slope in ((rows[:300], expected), (rows[300:], 1.0)):
        h = torch.cat([torch.cat(list(one.hidden.values()), 1) for one in some])
        y = torch.cat([one.target for one in some])
        fitted = torch.linalg.lstsq(h, y).solution[:, 0]
        assert fitted[0].item() == pytest.approx(slope, abs=0.02)
    assert expected < 0.9


# --- partners ---------------------------------------------------------------------------------------------------------


def test_neighbours_are_a_kernel_over_scaled_distances():
    y = torch.tensor([0.0, 1.0, 3.0])
    squared = (y[:, None] - y).square()
    kernel = torch.exp(-squared / squared.sum() * 6 / (2 * 0.5**2))
    torch.testing.assert_close(neighbours([y], 0.5), kernel / kernel.sum(1, keepdim=True))
    torch.testing.assert_close(neighbours([100 * y], 0.5), neighbours([y[:, None]], 0.5))
    torch.testing.assert_close(neighbours([y], 1e6), torch.full((3, 3), 1 / 3))
    torch.testing.assert_close(neighbours([torch.ones(4, 2)], 0.5), torch.full((4, 4), 1 / 4))


@pytest.mark.parametrize("p_scope", ["element", "row"])
def test_partners_enter_a_row_in_proportion_to_how_near_they_are_to_its_centre(p_scope):
    near = neighbours([torch.tensor([0.0, 0.2, 0.3, 1.0, 1.1, 4.0])], 0.8)
    rows = 40_000
    mask = PowMix(subset=(1.0, 2.0), p_scope=p_scope).coins(rows, 6, seeded(0), near).double()
    p = np.linspace(1, 2, 2001)[:, None, None]
    chance = np.minimum(p * near.double().numpy(), 1)
    pairs = (chance[..., :, None] * chance[..., None, :]).mean((0, 1))
    if p_scope == "element":
        one = chance.mean(0)
        pairs = (one[:, :, None] * one[:, None, :]).mean(0)
    np.fill_diagonal(pairs, chance.mean((0, 1)))
    seen = (mask.T @ mask).numpy()
    for index in np.ndindex(6, 6):
        assert stats.binomtest(int(seen[index]), rows, pairs[index]).pvalue > LIKELY


@pytest.mark.parametrize("kind", ["label", "feature"])
def test_a_neighbourhood_of_all_examples_is_the_papers_law(kind):
    hidden, target = batch(16)
    mixer = PowMix(n_out=20_000, partners=kind, neighbourhood=1e6)
    lam = mixer.draw(hidden, target, seeded(1)).lam_GOB
    assert agree((lam[0] > 0).sum(1), law_of_k(16))
    assert stats.chisquare((lam[0] > 0).sum(0)).pvalue > LIKELY


def test_near_partners_are_nearer():
    hidden, target = batch(32)

    def spread(values, **options):
        mixed = PowMix(n_out=2000, anisotropic=False, reweight="uniform", min_selected=2, **options)(
            hidden, target, generator=seeded(0)
        )
        w = mixed.weights["m0"]
        return float((w @ values.square() - (w @ values).square()).sum(1).mean())

    features = torch.cat([h / h.std() for h in hidden.values()], 1)
    for values, kind in ((target, "label"), (features, "feature")):
        wide, narrow = (spread(values, partners=kind, neighbourhood=width) for width in (1.0, 0.5))
        assert narrow < wide < spread(values)


# --- the schedule -----------------------------------------------------------------------------------------------------


def test_nothing_is_mixed_from_stop_epoch_on():
    mixer = PowMix(p_mix=0.5, start_epoch=1, stop_epoch=3)
    assert [mixer.probability(epoch) for epoch in range(5)] == [0, 0.5, 0.5, 0, 0]
    assert mixer.probability() == 0.5, "without an epoch there is no schedule"
    generator = seeded(0)
    before = generator.get_state()
    assert not mixer(*batch(8), generator=generator, epoch=3).is_mixed
    assert torch.equal(generator.get_state(), before)


def annealed(epochs=None, **options):
    mixer = PowMix(p_mix=0.8, **options)
    mixer.epochs = epochs
    return mixer


def test_an_annealed_p_mix_falls_to_0_at_the_end():
    linear = annealed(4, anneal="linear")
    assert [linear.probability(epoch) for epoch in range(5)] == pytest.approx([0.8, 0.6, 0.4, 0.2, 0])
    cosine = annealed(10, anneal="cosine", start_epoch=2)
    expected = [0, 0, *(0.4 * (1 + math.cos(math.pi * (epoch - 2) / 8)) for epoch in range(2, 10)), 0]
    assert [cosine.probability(epoch) for epoch in range(11)] == pytest.approx(expected)
    for epochs, expected in ((None, [0.8, 0.4, 0]), (100, [0.8, 0.4, 0]), (1, [0.8, 0, 0])):
        both = annealed(epochs, anneal="linear", stop_epoch=2)
        assert [both.probability(epoch) for epoch in range(3)] == pytest.approx(expected)
    mixed = sum(linear.flip(seeded(seed), 16, 2) for seed in range(2000))
    assert stats.binomtest(mixed, 2000, 0.4).pvalue > LIKELY


@pytest.mark.parametrize(("epoch", "epochs"), [(None, None), (3, None), (None, 10)])
def test_annealing_without_knowing_the_epoch_and_the_last_one_is_refused(epoch, epochs):
    with pytest.raises(ValueError, match="anneal=linear needs the epoch and the last one"):
        annealed(epochs, anneal="linear")(*batch(8), generator=seeded(0), epoch=epoch)


# --- in a training ----------------------------------------------------------------------------------------------------

SWITCHES = {"label_weights": "learned", "partners": "feature", "anneal": "cosine", "stop_epoch": 6, "n_out": 24}


def test_the_switches_survive_an_interruption_bit_for_bit(tmp_path):
    whole = tiny_train(tmp_path / "whole", PowMix(**SWITCHES), max_epochs=8)
    with pytest.raises(RuntimeError):
        tiny_train(tmp_path / "cut", PowMix(**SWITCHES), listener=Watcher(3), max_epochs=8)
    assert science(tiny_train(tmp_path / "cut", PowMix(**SWITCHES), max_epochs=8)) == science(whole)
    assert same_weights(weights(tmp_path / "cut"), weights(tmp_path / "whole"))


def test_what_one_seed_learned_is_not_told_to_the_next(tmp_path):
    mixer = PowMix(**SWITCHES)
    tiny_train(tmp_path / "first", mixer, seed=1)
    after, alone = (tiny_train(tmp_path / name, one, seed=2) for name, one in (("a", mixer), ("b", PowMix(**SWITCHES))))
    assert science(after) == science(alone) and mixer.memory == {}


def test_the_history_shows_when_and_with_which_label_weights_a_training_mixed(tmp_path):
    watcher = Watcher()
    tiny_train(tmp_path, PowMix(label_weights="learned", stop_epoch=2, n_out=24), listener=watcher, max_epochs=4)
    assert [row["mixing_mixed_rate"] for row in watcher.rows] == [1, 1, 0, 0]
    shares = [watcher.rows[1][f"mixing_label_weight_{name}"] for name in tiny_splits().dims]
    assert sum(shares) == pytest.approx(1) and shares[0] == max(shares), "the target is made of the text above all"


def test_a_stop_after_the_last_epoch_changes_nothing(tmp_path):
    never, late = (
        tiny_train(tmp_path / name, PowMix(p_mix=0.5, n_out=24, **options))
        for name, options in (("never", {}), ("late", {"stop_epoch": 6}))
    )
    assert science(never) == science(late)


# --- mistakes, and what a run is --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"label_weights": "mena"}, "one of mean, attention, learned, or numbers .* got 'mena' (did you mean mean?)"),
        ({"label_weights": [0, 0]}, "one of mean, attention, learned, or numbers"),
        ({"label_weights": {"text": -1, "audio": 2}}, "one of mean, attention, learned, or numbers"),
        ({"partners": "near"}, "one of any, label, feature"),
        ({"neighbourhood": 0}, "a number within [0.001, 1e+06]"),
        ({"stop_epoch": 0}, "null or a whole number >= 1"),
        ({"anneal": "linaer"}, "one of none, linear, cosine, got 'linaer' (did you mean linear?)"),
    ],
    ids=str,
)
def test_a_switch_says_what_it_may_be(options, words):
    [sentence] = mistakes(options, "mixer.")
    first, _, rest = words.partition(" .* ")
    assert sentence.startswith(f"mixer.{next(iter(options))} must be {first}") and rest in sentence
    with pytest.raises(ValueError, match="PowMix: "):
        PowMix(**options)


def test_switches_that_contradict_each_other_are_refused_on_the_command_line_too():
    section = {"name": "powmix", "start_epoch": 4, "stop_epoch": 4, "partners": "label", "mask_sharing": False}
    assert option_mistakes(section) == [
        "mixer.stop_epoch must be above start_epoch=4, got 4: no epoch would be mixed",
        "mixer.partners=label chooses the examples of a row: it needs mask_sharing=true",
    ]
    with pytest.raises(ValueError, match=r"partners=feature .* it needs dynamic=true"):
        PowMix(partners="feature", dynamic=False)


def test_every_switch_is_part_of_a_runs_signature():
    off = {"name": "powmix", "label_weights": "mean", "partners": "any", "stop_epoch": None, "anneal": "none"}
    on = {"label_weights": {"text": 2, "audio": 1}, "partners": "label", "stop_epoch": 5, "anneal": "linear"}
    names = {signature({**CONFIG, "mixer": {**off, key: value}}) for key, value in on.items()}
    assert len(names | {signature({**CONFIG, "mixer": off})}) == 5
