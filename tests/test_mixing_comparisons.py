"""The comparison mixers: pairs, partners by label, clean beside mixed, dropped modalities."""

import pytest
import torch
from hypothesis import given, settings
from mixing_cases import batch, families, modalities, seeded, seeds, sizes
from scipy import stats

from powmix import BMM, CMixup, ManifoldMixup, ModalityDropout, MSMix, MultiMix, PowMix, RegMixup
from powmix.mixing.convex import Pairs
from powmix.mixing.powmix import Factors

LIKELY = 1e-4
properties = settings(max_examples=40, deadline=None, derandomize=True)
ALIKE = [MultiMix(n_out=24), ManifoldMixup(), CMixup(), RegMixup()]
"""They mix all modalities by one matrix."""
MIXERS = [*ALIKE, MSMix(), BMM()]


@pytest.fixture(autouse=True)
def nothing_remembered():
    for mixer in MIXERS:
        mixer.memory.clear()


@properties
@given(size=sizes, count=modalities, family=families, seed=seeds)
def test_every_mixer_makes_convex_combinations(size, count, family, seed):
    hidden, target = batch(size, count, family, seed)
    for mixer in MIXERS:
        if size == 1:
            assert not mixer(hidden, target, generator=seeded(seed)).is_mixed
            continue
        mixed = mixer(hidden, target, generator=seeded(seed))
        torch.testing.assert_close(mixed.row_weight.sum(), torch.tensor(1.0))
        for name, weights_RB in mixed.weights.items():
            assert (weights_RB >= 0).all()
            torch.testing.assert_close(weights_RB.sum(1), torch.ones(len(weights_RB)))
            torch.testing.assert_close(mixed.hidden[name], weights_RB @ hidden[name])
        own_MR1 = torch.stack([weights_RB @ target for weights_RB in mixed.weights.values()])
        torch.testing.assert_close(mixed.target, own_MR1.mean(0))
        if mixer in ALIKE:
            torch.testing.assert_close(mixed.target, own_MR1[0])


@pytest.mark.parametrize("mixer", [*MIXERS, PowMix(n_out=8), ModalityDropout()], ids=lambda mixer: type(mixer).__name__)
@pytest.mark.parametrize("shape", [(16,), (16, 1), (16, 3)])
def test_every_mixer_takes_sequences_half_precision_and_any_target(mixer, shape):
    hidden = {name: torch.randn(16, 5, width, dtype=torch.bfloat16) for name, width in [("text", 3), ("audio", 2)]}
    target = torch.rand(shape)
    before = torch.get_rng_state()
    mixed = mixer(hidden, target, generator=seeded(0))
    assert torch.equal(before, torch.get_rng_state())
    rows = len(mixed.row_weight)
    assert mixed.target.shape == (rows, *shape[1:])
    assert {name: (h.shape, h.dtype) for name, h in mixed.hidden.items()} == {
        "text": ((rows, 5, 3), torch.bfloat16),
        "audio": ((rows, 5, 2), torch.bfloat16),
    }


@pytest.mark.parametrize(
    "mixer",
    [*MIXERS, PowMix(n_out=40), PowMix(n_out=8, combine="add"), ModalityDropout(), PowMix(p_mix=0)],
    ids=lambda mixer: f"{type(mixer).__name__}-{mixer.p_mix:g}",
)
@pytest.mark.parametrize("size", [2, 3, 16])
def test_a_mixed_step_is_real_where_any_source_is_and_only_there(mixer, size):
    lengths = {
        name: torch.randint(1, 8, (size,), generator=seeded(seed)) for seed, name in enumerate(("text", "audio"))
    }
    real = {name: torch.arange(7) < length_B[:, None] for name, length_B in lengths.items()}
    hidden = {name: real_BL[..., None] * torch.rand(size, 7, 3).add(0.1) for name, real_BL in real.items()}
    mixed = mixer(hidden, torch.rand(size, 1), generator=seeded(3))
    for name, real_BL in real.items():
        weights_RB = torch.eye(size) if mixed.weights is None else mixed.weights[name]
        by_hand = [real_BL[row > 0].any(0) for row in weights_RB]
        assert torch.equal(mixed.mask(name, real_BL), torch.stack(by_hand))
        if not isinstance(mixer, ModalityDropout):
            assert torch.equal(mixed.mask(name, real_BL), mixed.hidden[name].abs().sum(-1) > 0)
        longest = [int(lengths[name][row > 0].max()) for row in weights_RB]
        assert mixed.mask(name, real_BL).sum(1).tolist() == longest


def test_a_mask_that_is_not_the_minibatchs_is_refused():
    mixed = PowMix(n_out=8)({"text": torch.rand(4, 5, 2)}, torch.rand(4), generator=seeded(0))
    with pytest.raises(ValueError, match=r"name must be one of text, got 'txt' \(did you mean text\?\)"):
        mixed.mask("txt", torch.ones(4, 5, dtype=torch.bool))
    for wrong in (torch.ones(8, 5, dtype=torch.bool), torch.ones(4, 5), torch.ones(4, dtype=torch.bool)):
        with pytest.raises(ValueError, match=r"real must be \(4, L\) bool, got \("):
            mixed.mask("text", wrong)


@pytest.mark.parametrize(
    "mixer", [*MIXERS, PowMix(n_out=8, combine="add"), ModalityDropout()], ids=lambda mixer: type(mixer).__name__
)
def test_every_mixer_works_on_any_device_without_reading_from_it(mixer):
    hidden = {name: torch.empty(16, 5, device="meta") for name in ("text", "audio")}
    mixed = mixer(hidden, torch.empty(16, 1, device="meta"), generator=seeded(0))
    tensors = [
        mixed.target,
        mixed.row_weight,
        *mixed.hidden.values(),
        *mixed.weights.values(),
        *mixed.fallbacks.values(),
    ]
    assert {tensor.device.type for tensor in tensors if torch.is_tensor(tensor)} == {"meta"}


def test_manifold_mixup_pairs_the_halves_of_a_doubled_batch():
    hidden, target = batch(8)
    pairs = Pairs(torch.arange(4), torch.arange(4, 8), torch.tensor([0.0, 0.25, 0.5, 1.0]))
    mixed = ManifoldMixup().apply(pairs, hidden, target)
    lam = pairs.lam_R[:, None]
    torch.testing.assert_close(mixed.hidden["m1"], lam * hidden["m1"][:4] + (1 - lam) * hidden["m1"][4:])
    torch.testing.assert_close(mixed.target, lam * target[:4] + (1 - lam) * target[4:])
    drawn = ManifoldMixup().draw(hidden, target, seeded(0))
    assert torch.equal(drawn.first_R, pairs.first_R) and torch.equal(drawn.second_R, pairs.second_R)
    assert ManifoldMixup().batch_factor == 2 and PowMix().batch_factor == 1


@pytest.mark.parametrize("size", [3, 5, 33])
def test_manifold_mixup_leaves_the_odd_example_clean(size):
    hidden, target = batch(size)
    mixed = ManifoldMixup()(hidden, target, generator=seeded(0))
    assert len(mixed.target) == size // 2 + 1
    assert torch.equal(mixed.hidden["m0"][-1], hidden["m0"][-1]) and torch.equal(mixed.target[-1], target[-1])
    assert torch.equal(mixed.weights["m0"][-1], torch.eye(size)[-1])


@pytest.mark.parametrize("alpha", [1.0, 0.4])
def test_manifold_mixups_lambda_is_beta(alpha):
    lam = ManifoldMixup(alpha=alpha).draw({}, torch.zeros(20_000), seeded(0)).lam_R
    assert stats.kstest(lam, stats.beta(alpha, alpha).cdf).pvalue > LIKELY


def test_powmix_over_fixed_pairs_is_mixup_in_law():
    hidden, target = batch(8)
    pair_OB = (torch.eye(4).repeat(1, 2) > 0)[None]
    mixer = PowMix(n_out=4, anisotropic=False, reweight="uniform", dynamic=False, alpha=1.0)
    lam = []
    for seed in range(1500):
        factors = Factors(mixer.draw(hidden, target, seeded(seed)).lam_GOB * pair_OB)
        lam.append(mixer.weigh(factors.lam_GOB, hidden)[0][0, :, :4].diagonal())
    assert stats.kstest(torch.cat(lam), "uniform").pvalue > LIKELY
    mixed = mixer.apply(factors, hidden, target)
    mixup = ManifoldMixup().apply(Pairs(torch.arange(4), torch.arange(4, 8), lam[-1]), hidden, target)
    torch.testing.assert_close(mixed.hidden["m2"], mixup.hidden["m2"])
    torch.testing.assert_close(mixed.target, mixup.target)


def test_c_mixup_draws_partners_by_label_distance_and_never_itself():
    target = torch.tensor([0.0, 0.5, 1.0, 3.0])
    hidden = {"text": torch.eye(4)}
    mixer, seen = CMixup(bandwidth=0.8), torch.zeros(4, 4)
    for seed in range(4000):
        weights = mixer(hidden, target, generator=seeded(seed)).weights["text"]
        seen += (weights > 0) & ~torch.eye(4, dtype=torch.bool)
    assert torch.equal(seen.sum(1), torch.full((4,), 4000.0))
    kernel = torch.exp(-((target[:, None] - target) ** 2) / (2 * 0.8**2)).fill_diagonal_(0)
    expected = 4000 * kernel / kernel.sum(1, keepdim=True)
    others = ~torch.eye(4, dtype=torch.bool)
    for row in range(4):
        assert stats.chisquare(seen[row][others[row]], expected[row][others[row]]).pvalue > LIKELY


def test_regmixup_weighs_the_clean_and_the_mixed_mean_alike():
    hidden, target = batch(16)
    mixed = RegMixup()(hidden, target, generator=seeded(0))
    assert torch.equal(mixed.target[:16], target) and torch.equal(mixed.hidden["m1"][:16], hidden["m1"])
    loss = torch.rand(32)
    torch.testing.assert_close((loss * mixed.row_weight).sum(), (loss[:16].mean() + loss[16:].mean()) / 2)
    lam = RegMixup().draw({}, torch.zeros(10_000), seeded(0)).lam_R
    assert stats.kstest(lam, stats.beta(20, 20).cdf).pvalue > LIKELY


def test_modality_dropout_zeroes_at_most_one_modality_of_an_example():
    hidden, target = batch(5000, family="sigmoid")
    mixed = ModalityDropout(p=0.2)(hidden, target, generator=seeded(0))
    lost = torch.stack([(h == 0).all(1) for h in mixed.hidden.values()])
    assert lost.sum(0).max() == 1
    assert stats.binomtest(int(lost.sum()), 5000, 0.2).pvalue > LIKELY
    assert stats.chisquare(lost.sum(1)).pvalue > LIKELY
    for row, (name, h) in enumerate(mixed.hidden.items()):
        assert torch.equal(h[~lost[row]], hidden[name][~lost[row]])
    assert torch.equal(mixed.target, target) and torch.equal(mixed.weights["m0"], torch.eye(5000))


def test_modality_dropout_never_drops_a_lone_modality():
    hidden, target = batch(64, count=1, family="sigmoid")
    assert torch.equal(ModalityDropout(p=1.0)(hidden, target, generator=seeded(0)).hidden["m0"], hidden["m0"])
