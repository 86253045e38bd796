"""What the mixers draw follows the stated distributions (fixed seeds, thresholds far beyond chance)."""

import pytest
import torch
from mixing_cases import batch, seeded
from scipy import stats

from powmix import MultiMix, PowMix
from powmix.mixing.selection import Selection, rate

LIKELY = 1e-4
"""A correct law gives a smaller p-value once in 10,000 seeds; the seeds are fixed."""


def counts(selection, size, sampler, rows=20_000, seed=1):
    """K of each row drawn."""
    return selection.draw(rows, size, sampler, seeded(seed)).sum(1)


def agree(k_R, law):
    """Chi-square of drawn K against its law, rare values pooled."""
    observed = torch.bincount(k_R, minlength=len(law)).double()
    expected = law * len(k_R)
    common = expected > 10
    observed, expected = (torch.cat([x[common], x[~common].sum()[None]]) for x in (observed, expected))
    kept = expected > 1e-6
    if kept.sum() == 1:
        return observed[kept].item() == len(k_R)
    return stats.chisquare(observed[kept], expected[kept] * observed[kept].sum() / expected[kept].sum()).pvalue > LIKELY


@pytest.mark.parametrize("size", [1, 2, 3, 4, 16, 32, 64])
@pytest.mark.parametrize("least", [1, 2])
def test_k_follows_the_truncated_binomial(size, least):
    selection = Selection((2.0, 4.0), min_selected=least)
    binomial = torch.tensor(stats.binom.pmf(range(size + 1), size, rate((2.0, 4.0), size)))
    binomial[: min(least, size)] = 0
    torch.testing.assert_close(selection.law_of_k(size), binomial / binomial.sum())
    for sampler in ("dense", "sparse"):
        assert agree(counts(selection, size, sampler), selection.law_of_k(size))


def test_mean_k_of_a_mixed_batch_is_the_truncated_binomials():
    hidden, target = batch(32)
    mixed = PowMix(n_out=20_000, reweight="uniform")(hidden, target, generator=seeded(0))
    expected = 3 / (1 - (1 - 3 / 32) ** 32)
    assert mixed.statistics["mean_k"] == pytest.approx(expected, abs=0.05)


@pytest.mark.parametrize(("size", "subset"), [(16, (2.0, 8.0)), (4, (2.0, 8.0)), (3, (0.2, 12.0)), (2, (5.0, 6.0))])
def test_row_scope_mixes_binomials_over_p(size, subset):
    selection = Selection(subset, p_scope="row")
    p = torch.linspace(*subset, 20_001, dtype=torch.float64).clamp(max=size) / size
    law = torch.tensor(stats.binom.pmf(torch.arange(size + 1)[:, None], size, p[None])).mean(1)
    law[0] = 0
    torch.testing.assert_close(selection.law_of_k(size), law / law.sum(), rtol=1e-3, atol=1e-4)
    for sampler in ("dense", "sparse"):
        assert agree(counts(selection, size, sampler), selection.law_of_k(size))


def test_per_element_only_the_mean_of_the_subset_matters_and_per_row_its_width():
    wide, narrow = (Selection(subset) for subset in [(2.0, 8.0), (4.0, 6.0)])
    torch.testing.assert_close(wide.law_of_k(32), narrow.law_of_k(32))
    assert stats.ks_2samp(counts(wide, 32, "dense", seed=1), counts(narrow, 32, "dense", seed=2)).pvalue > LIKELY
    by_row = [Selection(subset, p_scope="row") for subset in [(2.0, 8.0), (4.0, 6.0)]]
    samples = [counts(selection, 32, "dense", seed=seed) for seed, selection in enumerate(by_row)]
    assert stats.ks_2samp(*samples).pvalue < 1e-9


@pytest.mark.parametrize("subset", [(2.0, 4.0), (3.0, 3.0), (1.0, 9.0), (20.0, 30.0)])
def test_the_elements_rate_is_the_mean_of_the_clipped_probability(subset):
    sample = torch.empty(400_000).uniform_(*subset, generator=seeded(0)).div(8).clamp(max=1).mean()
    assert rate(subset, 8) == pytest.approx(float(sample), abs=2e-3)


@pytest.mark.parametrize("p_scope", ["element", "row"])
def test_the_mask_favours_no_example(p_scope):
    for sampler in ("dense", "sparse"):
        mask = Selection(p_scope=p_scope).draw(20_000, 16, sampler, seeded(4))
        assert stats.chisquare(mask.sum(0)).pvalue > LIKELY
        pairs = (mask[:, 0] & mask[:, 1]).sum(), (mask[:, 7] & mask[:, 12]).sum()
        assert stats.chisquare([float(pair) for pair in pairs]).pvalue > LIKELY


@pytest.mark.parametrize("options", [{}, {"mask_sharing": False}, {"anisotropic": False}, {"p_scope": "row"}])
def test_dense_sparse_and_automatic_samplers_are_one_law(options):
    hidden, target = batch(16)

    def sample(sampler, seed):
        mixed = PowMix(n_out=6000, sampler=sampler, **options)(hidden, target, generator=seeded(seed))
        return mixed.target[:, 0], mixed.weights["m1"].amax(1), mixed.hidden["m2"][:, 0]

    dense = sample("dense", 1)
    for seed, sampler in enumerate(["sparse", "auto"], start=2):
        for ours, theirs in zip(sample(sampler, seed), dense):
            assert stats.ks_2samp(ours, theirs).pvalue > LIKELY


def test_masked_dirichlet_rows_are_dirichlet_over_the_survivors():
    hidden, target = batch(3, count=1)
    mixed = PowMix(n_out=20_000, alpha=0.7, reweight="uniform", sampler="dense", subset=(1.5, 1.5))(
        hidden, target, generator=seeded(0)
    )
    weights = mixed.weights["m0"]
    pair = (weights[:, 0] > 0) & (weights[:, 1] > 0) & (weights[:, 2] == 0)
    assert stats.kstest(weights[pair, 0], stats.beta(0.7, 0.7).cdf).pvalue > LIKELY


def test_factors_are_shared_or_own_as_the_switches_say():
    hidden, target = batch(16)

    def supports_and_weights(**options):
        mixed = PowMix(n_out=64, reweight="uniform", **options)(hidden, target, generator=seeded(0))
        first, second = mixed.weights["m0"], mixed.weights["m1"]
        return torch.equal(first > 0, second > 0), torch.equal(first, second)

    assert supports_and_weights() == (True, False)
    assert supports_and_weights(anisotropic=False) == (True, True)
    assert supports_and_weights(mask_sharing=False) == (False, False)
    assert supports_and_weights(mask_sharing=False, anisotropic=False) == (False, False)


def test_isotropic_factors_under_separate_masks_are_the_same_variates():
    hidden, target = batch(16)
    for sampler in ("dense", "auto"):
        mixer = PowMix(n_out=256, anisotropic=False, mask_sharing=False, sampler=sampler)
        lam_MOB = mixer.draw(hidden, target, seeded(0)).lam_GOB
        both = (lam_MOB[0] > 0) & (lam_MOB[1] > 0)
        assert both.any() and torch.equal(lam_MOB[0][both], lam_MOB[1][both])


def test_a_subset_that_selects_almost_nothing_still_ends():
    assert (counts(Selection((0.001, 0.001), min_selected=3), 64, "auto", rows=50) >= 3).all()
    with pytest.raises(ValueError, match="sampler=auto or sparse"):
        Selection((0.001, 0.001), min_selected=3).draw(50, 64, "dense", seeded(0))


def test_powmix_without_its_four_components_is_multimix_draw_for_draw():
    hidden, target = batch(32)
    ours = PowMix(n_out=64, anisotropic=False, reweight="uniform", dynamic=False)
    bare, multimix = (mixer(hidden, target, generator=seeded(0)) for mixer in (ours, MultiMix(n_out=64)))
    assert torch.equal(bare.target, multimix.target)
    assert all(torch.equal(bare.hidden[name], multimix.hidden[name]) for name in hidden)


def test_multimix_rows_are_dirichlet():
    hidden, target = batch(8)
    mixed = MultiMix(n_out=20_000, alpha=1.5)(hidden, target, generator=seeded(0))
    assert stats.kstest(mixed.weights["m0"][:, 3], stats.beta(1.5, 1.5 * 7).cdf).pvalue > LIKELY
    assert mixed.weights["m0"] is not None and torch.equal(mixed.weights["m0"], mixed.weights["m2"])
