"""What the mixers draw follows the stated distributions (fixed seeds, thresholds far beyond chance)."""

import numpy as np
import pytest
import torch
from mixing_cases import batch, seeded
from scipy import integrate, stats

from powmix import BMM, MSMix, MultiMix, PowMix
from powmix.mixing.b_mm import Partners
from powmix.mixing.ms_mix import Order, similarity
from powmix.mixing.powmix import Factors, rate

LIKELY = 1e-4
"""A correct law gives a smaller p-value once in 10,000 seeds; the seeds are fixed."""


def law_of_k(size, subset=(2.0, 4.0), p_scope="element", least=1):
    """P(K = 0), ..., P(K = B): binomials over p = min(P / B, 1), P ~ U(a, b), without the rows of under `least`.

    The integral is exact: a binomial is a polynomial in P where P < B, and the part of P >= B selects everything.
    """
    low, high = (min(bound, size) for bound in subset)
    node_N, weight_N = np.polynomial.legendre.leggauss(size + 1)
    p_N = (low + (high - low) * (node_N + 1) / 2) / size
    inside = (high - low) / (subset[1] - subset[0]) if subset[1] > subset[0] else 1.0
    p_N, weight_N = np.append(p_N, 1.0), np.append(weight_N / 2 * inside, 1 - inside)
    if p_scope == "element":
        p_N, weight_N = (weight_N @ p_N)[None], np.ones(1)
    law = weight_N @ stats.binom.pmf(np.arange(size + 1), size, p_N[:, None])
    law[: min(least, size)] = 0
    return torch.tensor(law / law.sum())


def counts(mixer, size, rows=20_000, seed=1):
    """K of each row drawn."""
    return mixer.mask(rows, size, seeded(seed)).sum(1)


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


def masked_dirichlets(size, anisotropic=True, mask_sharing=True, p_scope="element", modalities=3, rows=6000):
    """Lines 2 to 5 of Algorithm 1 as they are written, in NumPy; rows without survivors are drawn again."""
    rng = np.random.default_rng(1)
    sets, masks = (modalities if own else 1 for own in (anisotropic, not mask_sharing))
    alpha_SO = rng.uniform(0.5, 2, (sets, rows))
    lam_SOB = np.array([[rng.dirichlet(np.full(size, alpha)) for alpha in alpha_O] for alpha_O in alpha_SO])
    mask_NOB = np.zeros((masks, rows, size), dtype=bool)
    while len(empty := np.argwhere(~mask_NOB.any(-1))):
        p_EB = rng.uniform(2, 4, (len(empty), size if p_scope == "element" else 1)) / size
        mask_NOB[tuple(empty.T)] = rng.random((len(empty), size)) < np.minimum(p_EB, 1)
    return torch.tensor(lam_SOB * mask_NOB, dtype=torch.float32)


@pytest.mark.parametrize("size", [1, 2, 3, 4, 16, 32, 64])
@pytest.mark.parametrize("least", [1, 2])
def test_k_follows_the_truncated_binomial(size, least):
    mixer = PowMix(min_selected=least)
    for seed in (1, 2):
        assert agree(counts(mixer, size, seed=seed), law_of_k(size, least=least))


def test_mean_k_of_a_mixed_batch_is_the_truncated_binomials():
    hidden, target = batch(32)
    mixed = PowMix(n_out=20_000, reweight="uniform")(hidden, target, generator=seeded(0))
    expected = 3 / (1 - (1 - 3 / 32) ** 32)
    assert mixed.statistics["mean_k"] == pytest.approx(expected, abs=0.05)


@pytest.mark.parametrize(("size", "subset"), [(16, (2.0, 8.0)), (4, (2.0, 8.0)), (3, (0.2, 12.0)), (2, (5.0, 6.0))])
def test_row_scope_mixes_binomials_over_p(size, subset):
    p = torch.linspace(*subset, 20_001, dtype=torch.float64).clamp(max=size) / size
    law = torch.tensor(stats.binom.pmf(torch.arange(size + 1)[:, None], size, p[None])).mean(1)
    law[0] = 0
    exact = law_of_k(size, subset, "row")
    torch.testing.assert_close(exact, law / law.sum(), rtol=1e-3, atol=1e-4)
    for seed in (1, 2):
        assert agree(counts(PowMix(subset=subset, p_scope="row"), size, seed=seed), exact)


def test_per_element_only_the_mean_of_the_subset_matters_and_per_row_its_width():
    wide, narrow = (PowMix(subset=subset) for subset in [(2.0, 8.0), (4.0, 6.0)])
    assert rate(wide.subset, 32) == rate(narrow.subset, 32)
    assert stats.ks_2samp(counts(wide, 32, seed=1), counts(narrow, 32, seed=2)).pvalue > LIKELY
    by_row = [PowMix(subset=subset, p_scope="row") for subset in [(2.0, 8.0), (4.0, 6.0)]]
    samples = [counts(mixer, 32, seed=seed) for seed, mixer in enumerate(by_row)]
    assert stats.ks_2samp(*samples).pvalue < 1e-9


@pytest.mark.parametrize("subset", [(2.0, 4.0), (3.0, 3.0), (1.0, 9.0), (20.0, 30.0)])
def test_the_elements_rate_is_the_mean_of_the_clipped_probability(subset):
    low, high = subset
    expected = min(low / 8, 1)
    if low < high:
        expected = integrate.quad(lambda p: min(p / 8, 1), low, high)[0] / (high - low)
    assert rate(subset, 8) == pytest.approx(expected, rel=1e-6)


@pytest.mark.parametrize("p_scope", ["element", "row"])
def test_the_mask_favours_no_example(p_scope):
    for seed in (4, 5):
        mask = PowMix(p_scope=p_scope).mask(20_000, 16, seeded(seed))
        assert stats.chisquare(mask.sum(0)).pvalue > LIKELY
        pairs = (mask[:, 0] & mask[:, 1]).sum(), (mask[:, 7] & mask[:, 12]).sum()
        assert stats.chisquare([float(pair) for pair in pairs]).pvalue > LIKELY


@pytest.mark.parametrize("options", [{}, {"mask_sharing": False}, {"anisotropic": False}, {"p_scope": "row"}])
def test_draws_have_the_law_of_the_paper_s_masked_dirichlets(options):
    hidden, target = batch(16)
    mixer = PowMix(n_out=6000, **options)

    def sample(factors):
        mixed = mixer.apply(factors, hidden, target)
        return mixed.target[:, 0], mixed.weights["m1"].amax(1), mixed.hidden["m2"][:, 0]

    written = sample(Factors(masked_dirichlets(16, **options)))
    for seed in (2, 3):
        for ours, theirs in zip(sample(mixer.draw(hidden, target, seeded(seed))), written):
            assert stats.ks_2samp(ours, theirs).pvalue > LIKELY


def test_masked_dirichlet_rows_are_dirichlet_over_the_survivors():
    hidden, target = batch(3, count=1)
    mixed = PowMix(n_out=20_000, alpha=0.7, reweight="uniform", subset=(1.5, 1.5))(hidden, target, generator=seeded(0))
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
    mixer = PowMix(n_out=256, anisotropic=False, mask_sharing=False)
    lam_MOB = mixer.draw(hidden, target, seeded(0)).lam_GOB
    both = (lam_MOB[0] > 0) & (lam_MOB[1] > 0)
    assert both.any() and torch.equal(lam_MOB[0][both], lam_MOB[1][both])


def test_rows_that_seldom_have_enough_examples_are_drawn_until_they_have():
    mixer = PowMix(subset=(0.1, 0.1), min_selected=1)
    assert stats.binom.sf(0, 16, 0.1 / 16) < 0.1
    assert agree(counts(mixer, 16), law_of_k(16, mixer.subset))


@pytest.mark.parametrize(
    ("options", "size", "words"),
    [
        ({"subset": (0.001, 0.001), "min_selected": 3}, 64, "50 of 50 rows have fewer than 3 of 64 examples"),
        ({"min_selected": 1000}, 16, "50 of 50 rows have fewer than 16 of 16 examples"),
        ({"subset": (1e-30, 1e-30), "p_scope": "row"}, 16, "50 of 50 rows have fewer than 1 of 16 examples"),
    ],
)
def test_a_subset_that_hardly_ever_selects_enough_is_refused(options, size, words):
    with pytest.raises(ValueError, match=f"{words} after 1000 draws; raise subset or lower min_selected"):
        PowMix(**options).mask(50, size, seeded(0))


def test_more_examples_than_a_small_last_batch_has_are_all_of_it():
    assert PowMix(min_selected=8).mask(50, 3, seeded(0)).all()


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


def pairs_of(mixed, size):
    """The two examples of each mixed row, after the clean rows."""
    rows = mixed.weights["m0"][size:]
    assert torch.equal((rows > 0).sum(1), torch.full((len(rows),), 2))
    return [tuple(row.nonzero().flatten().tolist()) for row in rows]


def test_ms_mix_draws_different_pairs_uniformly_from_the_similar_ones():
    hidden, target = batch(6)
    scores = similarity([h.float() for h in hidden.values()])
    upper = torch.ones(6, 6).triu(1) > 0
    scaled = (scores - scores[upper].min()) / (scores[upper].max() - scores[upper].min())
    similar = [tuple(pair) for pair in ((scaled > 0.3) & upper).nonzero().tolist()]
    seen = dict.fromkeys(similar, 0)
    for seed in range(1000):
        pairs = pairs_of(MSMix(threshold=0.3)(hidden, target, generator=seeded(seed)), 6)
        assert len(set(pairs)) == 6 < len(similar)
        for pair in pairs:
            seen[pair] += 1
    drawn = list(seen.values())
    assert all(stats.binomtest(count, 1000, 6 / len(similar)).pvalue > LIKELY for count in drawn)


def test_where_few_pairs_are_similar_ms_mix_takes_the_most_similar_of_the_others():
    hidden, target = batch(6)
    scores = similarity([h.float() for h in hidden.values()])
    best = torch.where(torch.ones(6, 6).triu(1) > 0, scores, -torch.inf).flatten().topk(6).indices
    expected = {(int(index) // 6, int(index) % 6) for index in best}
    for seed in range(20):
        assert set(pairs_of(MSMix(threshold=1.0)(hidden, target, generator=seeded(seed)), 6)) == expected
    assert [len(MSMix()(*batch(size), generator=seeded(0)).target) - size for size in (2, 3, 4)] == [1, 3, 4]


def test_ms_mix_gives_the_more_intense_example_the_larger_part_of_a_modality():
    hidden = {"text": torch.tensor([[3.0, 0.0], [1.0, 0.0]]), "audio": torch.tensor([[0.0], [0.0]])}
    order = Order(torch.rand(2, 2), torch.tensor([0.5, 0.9]))
    mixed = MSMix().apply(order, hidden, torch.tensor([1.0, 0.0]))
    torch.testing.assert_close(mixed.weights["text"][2:], torch.tensor([[0.625, 0.375]]))
    torch.testing.assert_close(mixed.weights["audio"][2:], torch.tensor([[0.5, 0.5]]))
    torch.testing.assert_close(mixed.target[2], torch.tensor(0.5625))
    torch.testing.assert_close(mixed.row_weight, torch.tensor([0.25, 0.25, 0.5]))


def test_b_mm_with_equal_shares_is_mixup_by_one_lambda():
    hidden, target = batch(2000)
    drawn = BMM(alpha=0.7).draw(hidden, target, seeded(0))
    assert torch.equal(drawn.partner_B.sort().values, torch.arange(2000))
    assert stats.kstest(drawn.lam_B, stats.beta(0.7, 0.7).cdf).pvalue > LIKELY
    hidden, target = batch(8)
    drawn = Partners(torch.arange(8).roll(1), torch.linspace(0, 1, 8), torch.full((3,), 1 / 3))
    mixed = BMM().apply(drawn, hidden, target)
    own_B1 = torch.maximum(drawn.lam_B, 1 - drawn.lam_B)[:, None]
    for name, h in hidden.items():
        torch.testing.assert_close(mixed.hidden[name], own_B1 * h + (1 - own_B1) * h.roll(1, 0))
    torch.testing.assert_close(mixed.target, own_B1 * target + (1 - own_B1) * target.roll(1, 0))


def test_b_mm_mixes_the_modality_that_explains_the_target_and_leaves_the_others_clean():
    mixer, source = BMM(), seeded(0)
    for _ in range(60):
        hidden = {"tells": torch.randn(32, 4, generator=source), "noise": torch.randn(32, 4, generator=source)}
        mixed = mixer(hidden, hidden["tells"][:, :1].clone(), generator=source)
    part = {name: 1 - weights.diagonal() for name, weights in mixed.weights.items()}
    assert part["tells"].mean() > 0.3 and part["noise"].mean() < 0.02
    assert part["tells"].max() <= 0.5
