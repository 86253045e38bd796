"""When mixing happens, what mixers are called, and what they answer to a mistake."""

import subprocess
import sys

import pytest
import torch
from mixing_cases import batch, seeded

from powmix import Mixer, MultiMix, NoMixer, PowMix
from powmix.mixing import NAMES, build, clean, defaults
from powmix.mixing.checks import RULES


def test_the_coin_mixes_a_minibatch_with_probability_p_mix():
    generator = seeded(0)
    mixed = sum(PowMix(p_mix=0.3).flip(generator, 16) for _ in range(4000))
    assert 0.27 < mixed / 4000 < 0.33


@pytest.mark.parametrize(
    ("mixer", "size", "epoch"),
    [
        (PowMix(p_mix=0.0), 16, None),
        (PowMix(start_epoch=2), 16, 1),
        (PowMix(), 1, None),
        (NoMixer(), 16, 5),
        (NoMixer(p_mix=1.0), 16, 5),
    ],
)
def test_a_clean_step_draws_nothing_and_hands_the_batch_back(mixer, size, epoch):
    hidden, target = batch(size)
    generator = seeded(0)
    before = generator.get_state()
    mixed = mixer(hidden, target, generator=generator, epoch=epoch)
    assert torch.equal(generator.get_state(), before)
    assert not mixed.is_mixed and mixed.target is target and all(mixed.hidden[name] is hidden[name] for name in hidden)
    torch.testing.assert_close(mixed.row_weight, torch.full((size,), 1 / size))


def test_mixing_begins_with_start_epoch():
    hidden, target = batch(16)
    assert PowMix(start_epoch=2)(hidden, target, generator=seeded(0), epoch=2).is_mixed
    assert PowMix(start_epoch=2)(hidden, target, generator=seeded(0)).is_mixed


@pytest.mark.parametrize("name", NAMES)
def test_every_mixer_is_built_from_its_defaults_and_lists_them(name):
    mixer = build(name, defaults(name))
    assert isinstance(mixer, Mixer)
    assert {option: getattr(mixer, option) for option in defaults(name)} == defaults(name)
    assert set(defaults(name)) <= set(RULES)


def test_lists_from_a_configuration_become_ranges():
    mixer = build("powmix", {"subset": [3, 5], "alpha": [1, 2], "p_mix": 1})
    assert mixer.subset == (3, 5) and mixer.alpha == (1, 2)
    assert mixer(*batch(16), generator=seeded(0)).is_mixed


def test_all_mistakes_are_named_at_once_with_the_nearest_match():
    with pytest.raises(ValueError) as refused:
        build("powmix", {"subst": (2, 4), "subset": [4, 2], "p_mix": 1.5, "n_out": 0, "reweight": "rellu"})
    message = str(refused.value)
    assert "'subst' (did you mean 'subset'?)" in message
    assert "0 < a <= b, got [4, 2]" in message
    assert "p_mix must be a number within [0, 1], got 1.5" in message
    assert "n_out must be a whole number of at least 1, got 0" in message
    assert "got 'rellu' (did you mean 'relu'?)" in message


def test_an_unknown_mixer_is_answered_with_the_nearest():
    with pytest.raises(ValueError, match=r"'powmx' \(did you mean 'powmix'"):
        build("powmx", {})


@pytest.mark.parametrize(
    "options",
    [
        {"p_mix": "half"},
        {"p_mix": float("nan")},
        {"p_mix": True},
        {"n_out": 2.5},
        {"subset": (0, 4)},
        {"subset": (1, 2, 3)},
        {"subset": 3},
        {"alpha": 0},
        {"alpha": (2.0, 0.5)},
        {"min_selected": 0},
        {"p_scope": "cell"},
        {"combine": "both"},
        {"sampler": "fast"},
        {"dynamic": "yes"},
        {"eps": 0},
        {"start_epoch": -1},
    ],
    ids=str,
)
def test_a_constructor_refuses(options):
    with pytest.raises(ValueError, match=f"PowMix: {next(iter(options))} must be"):
        PowMix(**options)


def test_a_mixer_is_written_as_its_options():
    assert repr(MultiMix(n_out=8, p_mix=0.5)) == "MultiMix(p_mix=0.5, start_epoch=0, n_out=8, alpha=(0.5, 2.0))"


def test_a_clean_batchs_rows_weigh_one():
    hidden, target = batch(7)
    torch.testing.assert_close(clean(hidden, target).row_weight.sum(), torch.tensor(1.0))


def test_names_and_checks_need_no_torch():
    code = (
        "import sys, powmix; from powmix.mixing import NAMES; from powmix.mixing.checks import mistakes; "
        "assert mistakes({'p_mix': 2}) and 'powmix' in NAMES and 'torch' not in sys.modules; "
        "from powmix import PowMix; assert 'torch' in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
