"""Mistakes on the command line are all named at once, before anything heavy is imported."""

import subprocess
import sys

import pytest
from hydra import compose, initialize_config_dir

from powmix.command.composition import plain, register_resolvers, settled
from powmix.command.overrides import check_command, deferred
from powmix.command.validation import check_config
from powmix.places import CONF

pytestmark = pytest.mark.usefixtures("composed_once")
register_resolvers()


def test_a_correct_command_has_no_mistakes():
    assert check_command([]) == []
    assert check_command(["model=mult", "mixer.p_mix=0.5", "seeds=[3,4]", "trainer.max_epochs=2"]) == []


def test_all_mistakes_are_named_in_one_message():
    errors = check_command(["mixer.p_mix=1.5", "mixer.subset=[4,2]", "modle=mult"])
    assert len(errors) == 3
    assert any("mixer.p_mix must be a number within [0, 1], got 1.5" in error for error in errors)
    assert any("mixer.subset" in error and "got [4, 2]" in error for error in errors)
    assert any("modle" in error and "did you mean model?" in error for error in errors)


def test_a_mistake_of_the_training_is_named_once():
    with initialize_config_dir(str(CONF)):
        config = settled(plain(compose("config", ["vary=foo", "label_smoothing=2"])))
    assert sorted(check_config(config, {})) == [
        "label_smoothing must be 0 with task=regression loss=l1: it is cross_entropy's",
        "label_smoothing must be a number within [0, 1), got 2",
        "vary must be null, or a list of split, init, shuffle, dropout, mixing, got 'foo'",
    ]


@pytest.mark.parametrize(
    "override, expected",
    [
        ("mixer.n_out=0", "mixer.n_out must be a whole number within [1, 65536], got 0"),
        ("mixer=powmx", "did you mean powmix?"),
        ("mixer.p_mx=0.2", "did you mean mixer.p_mix?"),
        ("seeds=0", "a list of different seeds >= 0, or until_decided, got 0"),
        ("seeds=[1,1]", "different seeds >= 0, or until_decided, got [1, 1]"),
        ("objective=test_MAE", "objective must be a validation metric"),
        ("trainer.batch_size=ten", "batch_size must be"),
        ("dataset.fraction=0", "dataset.fraction must be a number within (0, 1], got 0"),
        ("dataset=mosi", "dataset.path: mosi needs its feature file"),
        ("mixer.anisotropic=7", "mixer.anisotropic must be true or false, got 7"),
        ("mixer.p_mix=[", "mixer.p_mix=["),
        ("sweeps=tabel3", "did you mean table3?"),
    ],
)
def test_a_mistake_names_what_was_got_and_what_is_allowed(override, expected):
    errors = check_command([override])
    assert len(errors) == 1 and expected in errors[0]


def test_every_value_of_a_sweep_is_checked():
    errors = check_command(["mixer.p_mix=0.1,0.5,2", "mixer.n_out=16,0"])
    assert len(errors) == 2 and "got 2" in errors[0] and "got 0" in errors[1]
    assert check_command(["mixer=none,powmix,multimax"])[0].endswith("(did you mean multimix?)")
    assert "a number within [0, 1], got 1.2" in check_command(["mixer.p_mix=interval(0.1,1.2)"])[0]


def test_a_key_must_exist_under_every_swept_model_the_presets_included():
    assert check_command(["model=misa,self_mm", "model.text.pretrained=tiny"]) == []
    for command in (["model=mult,self_mm"], ["sweeps=table2"]):
        assert check_command([*command, "model.text.pretrained=tiny"]) == [
            "model.text.pretrained: model=mult has no such option"
        ]


def test_what_lies_beneath_a_swept_group_waits_for_its_jobs():
    command = ["model=misa,self_mm", "model.text.pretrained=a/b", "mixer.p_mix=0.5", "seeds=3"]
    assert deferred(command) == [command[0], "model.text.pretrained=choice(a/b)", *command[2:]]
    assert deferred(["sweeps=table2", "model.dim=20"]) == ["sweeps=table2", "model.dim=choice(20)"]
    assert deferred(["model=mult", "model.dim=20"]) == ["model=mult", "model.dim=20"]


def test_an_ablation_needs_powmix():
    assert check_command(["ablation=isotropic"]) == []
    assert "mixer=multimix" in check_command(["ablation=isotropic", "mixer=multimix"])[0]


def test_a_missing_feature_file_is_named():
    [error] = check_command(["dataset=mosi", "dataset.path=/nowhere/mosi.pkl"])
    assert error.startswith("dataset.path: no file '/nowhere/mosi.pkl'. CMU-MOSI: its authors hand out")


def test_mistakes_are_found_without_torch():
    code = (
        "import sys; from powmix.command.composition import register_resolvers; register_resolvers();"
        "import powmix.__main__; from powmix.command.overrides import check_command;"
        "assert check_command(['mixer.p_mix=2']); assert 'torch' not in sys.modules and 'wandb' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
