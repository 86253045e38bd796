"""PowMix keeps the paper's equations, whatever the mini-batch: properties over sizes, modalities and features."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from mixing_cases import batch, families, modalities, seeded, seeds, sizes

from powmix import PowMix
from powmix.mixing.powmix import Factors, attention

properties = settings(max_examples=60, deadline=None, derandomize=True)
switches = st.fixed_dictionaries(
    {
        "anisotropic": st.booleans(),
        "reweight": st.sampled_from(["relu", "uniform", "eps"]),
        "mask_sharing": st.booleans(),
        "dynamic": st.booleans(),
        "p_scope": st.sampled_from(["element", "row"]),
        "subset": st.sampled_from([(2, 4), (1, 1), (2, 8), (0.5, 100)]),
        "min_selected": st.sampled_from([1, 2]),
        "alpha": st.sampled_from([(0.5, 2.0), 1.0, 0.01]),
    }
)
cases = {"size": sizes, "count": modalities, "family": families, "seed": seeds}


def drawn(mixer, hidden, target, seed):
    """The mixing factors and what they make."""
    factors = mixer.draw(hidden, target, seeded(seed))
    return factors.lam_GOB, mixer.apply(factors, hidden, target)


@properties
@given(options=switches, **cases)
def test_weights_are_convex_and_stay_inside_the_mask(size, count, family, seed, options):
    hidden, target = batch(size, count, family, seed)
    lam_GOB, mixed = drawn(PowMix(n_out=24, **options), hidden, target, seed)
    for weights_OB, lam_OB in zip(mixed.weights.values(), lam_GOB.expand(count, -1, -1)):
        assert weights_OB.shape == (24, size) and weights_OB.dtype == torch.float32
        assert weights_OB.isfinite().all() and (weights_OB >= 0).all()
        torch.testing.assert_close(weights_OB.sum(1), torch.ones(24))
        assert not (weights_OB > 0)[lam_OB == 0].any()
    assert ((lam_GOB > 0).sum(-1) >= min(options["min_selected"] if options["dynamic"] else 1, size)).all()


@properties
@given(options=switches, **cases)
def test_rows_and_targets_are_their_weights_combinations(size, count, family, seed, options):
    hidden, target = batch(size, count, family, seed)
    _, mixed = drawn(PowMix(n_out=24, **options), hidden, target, seed)
    for name, h in hidden.items():
        torch.testing.assert_close(mixed.hidden[name], mixed.weights[name] @ h)
    expected = torch.stack([weights_OB @ target for weights_OB in mixed.weights.values()]).mean(0)
    torch.testing.assert_close(mixed.target, expected)
    torch.testing.assert_close(mixed.row_weight, torch.full((24,), 1 / 24))


@properties
@given(options=switches, **cases)
def test_targets_lie_in_the_hull_of_the_selected_labels(size, count, family, seed, options):
    hidden, target = batch(size, count, family, seed)
    lam_GOB, mixed = drawn(PowMix(n_out=24, **options), hidden, target, seed)
    selected_OB = (lam_GOB > 0).any(0)
    lowest = target.T.where(selected_OB, torch.inf).amin(1)
    highest = target.T.where(selected_OB, -torch.inf).amax(1)
    assert (mixed.target[:, 0] >= lowest - 1e-5).all() and (mixed.target[:, 0] <= highest + 1e-5).all()


@properties
@given(**cases)
def test_a_row_of_one_survivor_is_a_clean_example(size, count, family, seed):
    hidden, target = batch(size, count, family, seed)
    lam_GOB, mixed = drawn(PowMix(n_out=48, subset=(1, 1)), hidden, target, seed)
    lonely_O = (lam_GOB[0] > 0).sum(1) == 1
    assert lonely_O.any()
    example = (lam_GOB[0] > 0).int().argmax(1)[lonely_O]
    for name, h in hidden.items():
        assert torch.equal(mixed.hidden[name][lonely_O], h[example])
    torch.testing.assert_close(mixed.target[lonely_O], target[example])


@properties
@given(**cases)
def test_attention_is_equation_5_wherever_it_is_defined(size, count, family, seed):
    hidden, _ = batch(size, count, family, seed)
    a_MB, undefined_B = attention(hidden.values())
    means_MB = torch.stack([h.double().mean(1) for h in hidden.values()])
    noise_MB = torch.stack([h.double().abs().mean(1) for h in hidden.values()]) * 1e-6
    s_MB = means_MB.relu() * (means_MB > noise_MB)
    defined_B = s_MB.sum(0) > 0
    clear_B = ((means_MB - noise_MB).abs() > 0.05 * noise_MB).all(0)
    assert torch.equal(undefined_B[clear_B], ~defined_B[clear_B])
    sure_B = defined_B & clear_B
    torch.testing.assert_close(
        a_MB[:, sure_B].double(),
        (s_MB / s_MB.sum(0))[:, sure_B],
        rtol=1e-3 if family == "layer_norm" else 1e-4,
        atol=1e-6,
    )
    assert (a_MB[:, undefined_B] == 1 / count).all()
    torch.testing.assert_close(a_MB.sum(0), torch.ones(size))


def test_layer_norm_outputs_leave_attention_undefined():
    hidden, target = batch(32, family="layer_norm")
    mixed = PowMix(n_out=64)(hidden, target, generator=seeded(0))
    assert mixed.fallbacks["attention"] == mixed.fallbacks["attention_of"] == 32
    assert mixed.fallbacks["dropped"] == 0 and mixed.fallbacks["dropped_of"] == 3 * 64


def test_each_fallback_is_counted_where_it_happens():
    hidden = {"text": torch.tensor([[1.0], [-1.0], [-1.0]]), "audio": torch.tensor([[3.0], [2.0], [-1.0]])}
    lam_1OB = torch.tensor([[[1.0, 1.0, 0.0], [0.0, 2.0, 0.0], [0.0, 1.0, 3.0]]])
    mixed = PowMix(n_out=3).apply(Factors(lam_1OB), hidden, torch.zeros(3, 1))
    assert mixed.fallbacks == {"attention": 1, "attention_of": 3, "dropped": 1, "dropped_of": 6}
    torch.testing.assert_close(mixed.weights["text"], torch.tensor([[1.0, 0, 0], [0, 1, 0], [0, 0, 1]]))
    audio = torch.tensor([[0.75 / 1.75, 1 / 1.75, 0], [0, 1, 0], [0, 1 / 2.5, 1.5 / 2.5]])
    torch.testing.assert_close(mixed.weights["audio"], audio)


def test_eps_reweighting_never_selects_an_example_without_attention():
    hidden = {"text": torch.tensor([[1.0], [-1.0]]), "audio": torch.tensor([[3.0], [-2.0]])}
    mixed = PowMix(n_out=1, reweight="eps").apply(Factors(torch.ones(1, 1, 2)), hidden, torch.zeros(2, 1))
    torch.testing.assert_close(mixed.weights["audio"], torch.tensor([[1.0, 0.0]]))
    assert mixed.fallbacks["attention"] == 0


@pytest.mark.parametrize("detach", [True, False])
def test_gradient_reaches_the_weights_only_when_asked(detach):
    hidden, target = batch(16, family="sigmoid")
    hidden = {name: h.requires_grad_() for name, h in hidden.items()}
    mixed = PowMix(n_out=8, detach=detach)(hidden, target, generator=seeded(0))
    assert all(weights_OB.requires_grad is not detach for weights_OB in mixed.weights.values())
    if detach:
        mixed.hidden["m0"].sum().backward()
        expected = mixed.weights["m0"].sum(0)[:, None].expand_as(hidden["m0"])
        torch.testing.assert_close(hidden["m0"].grad, expected)
        assert hidden["m1"].grad is None
    else:
        mixed.target.sum().backward()
        assert all(h.grad.isfinite().all() and h.grad.any() for h in hidden.values())


def test_attention_gradient_is_finite_where_equation_5_is_undefined():
    hidden = {name: -torch.ones(4, 3, requires_grad=True) for name in "tav"}
    shown = {name: h.detach().clone().requires_grad_() for name, h in hidden.items()}
    PowMix(n_out=8, detach=False)(shown, torch.randn(4, 1), generator=seeded(0)).target.sum().backward()
    assert all(h.grad is None or h.grad.isfinite().all() for h in shown.values())


@properties
@given(size=sizes, seed=seeds, count=modalities)
def test_isotropic_uniform_mixing_keeps_labels_linear_in_the_features(size, seed, count):
    hidden, _ = batch(size, count, seed=seed)
    target = sum(h.sum(1, keepdim=True) for h in hidden.values())
    _, mixed = drawn(PowMix(n_out=24, anisotropic=False, reweight="uniform"), hidden, target, seed)
    torch.testing.assert_close(
        mixed.target, sum(h.sum(1, keepdim=True) for h in mixed.hidden.values()), rtol=0, atol=1e-4
    )


@properties
@given(options=switches, **cases)
def test_soft_classes_stay_distributions(size, count, family, seed, options):
    hidden, target = batch(size, count, family, seed, classes=3)
    _, mixed = drawn(PowMix(n_out=24, **options), hidden, target, seed)
    assert mixed.target.shape == (24, 3) and (mixed.target >= 0).all()
    torch.testing.assert_close(mixed.target.sum(1), torch.ones(24))


@properties
@given(options=switches, seed=seeds, count=modalities)
def test_same_generator_same_rows_and_the_global_rng_is_untouched(options, seed, count):
    hidden, target = batch(16, count, seed=seed)
    before = torch.get_rng_state()
    first, second = (PowMix(n_out=24, **options)(hidden, target, generator=seeded(seed)) for _ in range(2))
    assert torch.equal(before, torch.get_rng_state())
    assert torch.equal(first.target, second.target)
    assert all(torch.equal(first.hidden[name], second.hidden[name]) for name in hidden)


def test_without_a_generator_torch_seeds_decide():
    hidden, target = batch(16)
    torch.manual_seed(5)
    first = PowMix(n_out=8)(hidden, target)
    torch.manual_seed(5)
    assert torch.equal(first.target, PowMix(n_out=8)(hidden, target).target)
    assert not torch.equal(first.target, PowMix(n_out=8)(hidden, target).target)


def test_sequences_mix_along_the_batch_and_attend_over_all_other_axes():
    hidden, target = batch(16)
    sequences = {name: h[:, None] * torch.tensor([[[0.5], [1.5]]]) for name, h in hidden.items()}
    vectors = {name: h.flatten(1) for name, h in sequences.items()}
    mixer = PowMix(n_out=8)
    deep = mixer(sequences, target, generator=seeded(3))
    flat = mixer(vectors, target, generator=seeded(3))
    assert deep.hidden["m1"].shape == (8, 2, 7)
    assert all(torch.equal(deep.hidden[name].flatten(1), flat.hidden[name]) for name in hidden)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_hidden_states_keep_their_dtype_and_weights_are_float32(dtype):
    hidden, target = batch(16)
    mixed = PowMix(n_out=8)({name: h.to(dtype) for name, h in hidden.items()}, target, generator=seeded(0))
    assert all(h.dtype == dtype for h in mixed.hidden.values())
    assert all(weights_OB.dtype == torch.float32 for weights_OB in mixed.weights.values())
    assert mixed.target.dtype == target.dtype


def test_autocast_rounds_neither_rows_nor_targets():
    hidden, target = batch(16)
    plain = PowMix(n_out=8)(hidden, target, generator=seeded(0))
    with torch.autocast("cpu", dtype=torch.bfloat16):
        cast = PowMix(n_out=8)(hidden, target, generator=seeded(0))
    assert torch.equal(plain.target, cast.target) and torch.equal(plain.hidden["m0"], cast.hidden["m0"])


@pytest.mark.parametrize("shape", [(16,), (16, 1), (16, 3)])
def test_targets_keep_their_shape(shape):
    hidden, _ = batch(16)
    assert PowMix(n_out=8)(hidden, torch.rand(shape), generator=seeded(0)).target.shape == (8, *shape[1:])


def test_add_puts_clean_rows_first_and_halves_each_groups_weight():
    hidden, target = batch(16)
    mixed = PowMix(n_out=8, combine="add")(hidden, target, generator=seeded(0))
    alone = PowMix(n_out=8)(hidden, target, generator=seeded(0))
    assert torch.equal(mixed.target, torch.cat([target, alone.target]))
    assert torch.equal(mixed.hidden["m2"], torch.cat([hidden["m2"], alone.hidden["m2"]]))
    assert torch.equal(mixed.weights["m2"], torch.cat([torch.eye(16), alone.weights["m2"]]))
    torch.testing.assert_close(mixed.row_weight, torch.tensor([1 / 32] * 16 + [1 / 16] * 8))


def test_statistics_count_the_survivors_and_the_labels_spread():
    hidden, target = batch(16)
    lam_GOB, mixed = drawn(PowMix(n_out=64), hidden, target, 0)
    torch.testing.assert_close(mixed.statistics["mean_k"], (lam_GOB[0] > 0).sum(1).float().mean())
    torch.testing.assert_close(mixed.statistics["label_spread"], mixed.target.std(correction=0))


def test_several_seeds_mix_as_one_computation():
    mixer, (hidden, target) = PowMix(n_out=8), batch(16)
    factors = [mixer.draw(hidden, target, seeded(seed)) for seed in range(3)]
    stacked = {name: torch.stack([h * (1 + seed) for seed in range(3)]) for name, h in hidden.items()}
    together = torch.vmap(lambda lam, h: mixer.apply(Factors(lam), h, target).hidden["m1"])(
        torch.stack([f.lam_GOB for f in factors]), stacked
    )
    for seed, own in enumerate(factors):
        alone = mixer.apply(own, {name: h[seed] for name, h in stacked.items()}, target)
        torch.testing.assert_close(together[seed], alone.hidden["m1"])


@pytest.mark.parametrize(
    ("hidden", "target", "words"),
    [
        ({"text": torch.rand(4, 2)}, torch.zeros(4, dtype=torch.long), "soft targets"),
        ({"text": torch.rand(3, 2)}, torch.zeros(4), r"hidden\['text'\] must be \(4, ..., D\)"),
        ({}, torch.zeros(4), "at least one modality"),
    ],
)
def test_a_minibatch_that_cannot_be_mixed_is_refused(hidden, target, words):
    with pytest.raises(ValueError, match=words):
        PowMix(n_out=8, reweight="uniform", anisotropic=False)(hidden, target, generator=seeded(0))
