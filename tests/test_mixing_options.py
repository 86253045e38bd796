"""When mixing happens, what mixers are called, and what they answer to a mistake."""

import ast
import inspect
import subprocess
import sys

import pytest
import torch
import yaml
from mixing_cases import batch, seeded

import powmix
from powmix import Mixer, MultiMix, NoMixer, PowMix, mixing
from powmix.mixing import MIXERS, build, clean, defaults
from powmix.mixing.options import RULES, mistakes
from powmix.places import CONF


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


@pytest.mark.parametrize("name", MIXERS)
def test_every_mixer_is_built_from_its_defaults_and_lists_them(name):
    mixer = build(name, defaults(name))
    assert isinstance(mixer, Mixer)
    assert {option: getattr(mixer, option) for option in defaults(name)} == defaults(name)
    assert set(defaults(name)) <= set(RULES)


def test_every_mixer_has_a_configuration_of_its_own_defaults_but_for_how_often_it_mixes():
    found = {path.stem: yaml.safe_load(path.read_text()) for path in (CONF / "mixer").glob("*.yaml")}
    assert set(found) >= set(MIXERS)
    for name in MIXERS:
        section = found[name]
        assert section.pop("name") == name
        written = {option: getattr(build(name, section), option) for option in section if option != "p_mix"}
        assert written == {option: getattr(build(name, {}), option) for option in written}
        assert set(defaults(name)) - set(section) <= {"eps"}


def test_lists_from_a_configuration_become_ranges():
    mixer = build("powmix", {"subset": [3, 5], "alpha": [1, 2], "p_mix": 1})
    assert mixer.subset == (3, 5) and mixer.alpha == (1, 2)
    assert mixer(*batch(16), generator=seeded(0)).is_mixed


def test_all_mistakes_are_named_at_once_with_the_nearest_match():
    with pytest.raises(ValueError) as refused:
        build("powmix", {"subst": (2, 4), "subset": [4, 2], "p_mix": 1.5, "n_out": 0, "reweight": "rellu"})
    message = str(refused.value)
    assert message.startswith("mixer powmix: unknown option 'subst' (did you mean subset?)")
    assert "subset must be two numbers [a, b] with 0 < a <= b <= 65536, got [4, 2]" in message
    assert "p_mix must be a number within [0, 1], got 1.5" in message
    assert "n_out must be a whole number within [1, 65536], got 0" in message
    assert "reweight must be one of relu, uniform, eps, got 'rellu' (did you mean relu?)" in message


def test_python_and_the_command_line_hear_the_same_of_the_same_values():
    options = {"p_mix": 1.5, "n_out": 0, "subset": [4, 2], "min_selected": 10**6}
    with pytest.raises(ValueError) as refused:
        build("powmix", options)
    assert str(refused.value) == "PowMix: " + "; ".join(mistakes(options)) and len(mistakes(options)) == 4
    assert mistakes({"name": "powmix", "p_mix": 2}, "mixer.") == ["mixer.p_mix must be a number within [0, 1], got 2"]


def test_an_unknown_mixer_is_answered_with_the_nearest():
    with pytest.raises(ValueError, match=r"got 'powmx' \(did you mean powmix\?\)"):
        build("powmx", {})


@pytest.mark.parametrize(
    "options",
    [
        {"p_mix": "half"},
        {"p_mix": float("nan")},
        {"p_mix": True},
        {"p_mix": float("inf")},
        {"p_mix": None},
        {"n_out": 2.5},
        {"n_out": 100_000_000},
        {"n_out": float("nan")},
        {"n_out": None},
        {"subset": (0, 4)},
        {"subset": (1, 2, 3)},
        {"subset": 3},
        {"subset": {"a": 1}},
        {"subset": (1e30, 1e31)},
        {"subset": (2.0, float("inf"))},
        {"subset": (float("nan"), 4.0)},
        {"subset": None},
        {"alpha": 0},
        {"alpha": (2.0, 0.5)},
        {"alpha": (1e-9, 1.0)},
        {"alpha": float("inf")},
        {"min_selected": 0},
        {"min_selected": 1_000_000},
        {"min_selected": None},
        {"p_scope": "cell"},
        {"combine": "both"},
        {"dynamic": "yes"},
        {"eps": 0},
        {"eps": 1e-50},
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


def test_c_mixup_refuses_a_bandwidth_at_which_no_partner_is_left():
    with pytest.raises(ValueError, match=r"CMixup: bandwidth must be a number within \[1e-06, 1e\+06\], got 1e-20"):
        mixing.CMixup(bandwidth=1e-20)


def test_the_largest_values_that_are_allowed_still_mix():
    mixed = PowMix(n_out=65_536, subset=(65_536, 65_536), min_selected=65_536, alpha=65_536)(
        *batch(4), generator=seeded(0)
    )
    assert len(mixed.target) == 65_536 and mixed.target.isfinite().all() and mixed.statistics["mean_k"] == 4


def test_every_mixer_of_the_table_is_public_and_nothing_else_is_missing():
    for row in MIXERS.values():
        assert getattr(powmix, row.class_name) is getattr(mixing, row.class_name)
        assert issubclass(getattr(powmix, row.class_name), Mixer)
    ours = {mixer.__name__ for mixer in Mixer.__subclasses__() if mixer.__module__.startswith("powmix.mixing.")}
    assert {row.class_name for row in MIXERS.values()} == ours
    for package in (powmix, mixing):
        assert all(getattr(package, name) is not None for name in package.__all__)
        with pytest.raises(AttributeError, match="'PowMixx'"):
            _ = package.PowMixx


@pytest.mark.parametrize("package", [powmix, mixing])
def test_type_checkers_are_told_of_every_class_that_is_imported_when_first_used(package):
    told = {
        name.asname
        for node in ast.walk(ast.parse(inspect.getsource(package)))
        if isinstance(node, ast.ImportFrom)
        for name in node.names
    }
    lazy = {*mixing.MODULES, *getattr(package, "HOMES", ())}
    assert {name for name in package.__all__ if name in lazy} == told - {None}


def test_no_two_mixers_look_alike_in_a_report():
    assert len({row.title for row in MIXERS.values()}) == len({row.colour for row in MIXERS.values()}) == len(MIXERS)


def test_names_titles_and_checks_need_no_torch():
    code = (
        "import sys, powmix; from powmix.mixing import MIXERS; from powmix.mixing.options import mistakes; "
        "assert mistakes({'p_mix': 2}) and MIXERS['powmix'].title == 'PowMix' and 'torch' not in sys.modules; "
        "from powmix import PowMix; assert 'torch' in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
