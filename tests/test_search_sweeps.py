"""The prepared sweeps, ablations and launcher presets: short, documented, and composable from the command line."""

import re
from functools import cache
from pathlib import Path

import pytest
from hydra import compose, initialize_config_dir
from hydra.plugins.launcher import Launcher
from hydra.utils import get_class
from omegaconf import OmegaConf

from powmix.command.composition import plain, register_resolvers
from powmix.command.searching import Powmix
from powmix.places import CONF
from powmix.search.space import SearchSpace
from powmix.search.study import HIDDEN, StudySweep

ROOT = Path(__file__).resolve().parents[1]
SWEEPS = {path.stem: path for path in sorted((ROOT / "sweeps").glob("*.yaml"))}
SEARCHES = ["p_mix", "n_out", "subset", "subset_width", "joint", "staged"]
COMPARISONS = ["demo", "table2", "table3", "figure3", "figure4", "figure8"]
ABLATIONS = {
    "full": None,
    "isotropic": "anisotropic",
    "no_reweighting": "reweight",
    "own_masks": "mask_sharing",
    "static": "dynamic",
}
LAUNCHERS = sorted(path.stem for path in (ROOT / "conf/hydra/launcher").glob("*.yaml"))


@cache
def composed(*overrides: str):
    """The composed configuration, made once: whoever changes it composes one of its own (`__wrapped__`)."""
    register_resolvers()
    with initialize_config_dir(str(CONF)):
        return compose("config", overrides=list(overrides), return_hydra_config=True)


def space_of(config) -> tuple[StudySweep, SearchSpace]:
    sweep = StudySweep(**{key: value for key, value in config.hydra.sweeper.items() if key != "_target_"})
    sweep.config, sweep.sweep_dir = config, "sweep"
    sweep.validate_batch_is_legal = lambda batch: None
    sweep.read([])
    return sweep, sweep.space


def test_every_sweep_that_the_project_promises_is_there():
    assert {*SEARCHES, *COMPARISONS} <= set(SWEEPS)


@pytest.mark.parametrize("name", SWEEPS)
def test_a_sweep_is_short_and_opens_with_its_command(name):
    lines = SWEEPS[name].read_text().splitlines()
    assert len(lines) < 40 and lines[0] == "# @package _global_"
    header = [line for line in lines[1:6] if line.startswith("#")]
    assert any(re.search(rf"powmix -m sweeps={name}\b", line) for line in header)


@pytest.mark.parametrize("name", SEARCHES)
def test_the_best_trial_is_rerun_by_a_command_that_a_single_run_takes_and_that_means_the_same(name):
    own = ["dataset=mosei", "model=tfn", "seeds=2"]
    config = composed(f"sweeps={name}", *own)
    again = Powmix().single([f"sweeps={name}", *own], config)
    assert not any(text.startswith("sweeps=") for text in again) and {"mixer=powmix", *own} <= set(again)
    assert plain(composed(*again)) == plain(config)


@pytest.mark.parametrize("name", SEARCHES)
def test_a_search_takes_any_dataset_and_model_and_starts_with_the_default_and_no_mixing(name):
    config = composed(f"sweeps={name}", "dataset=mosei", "model=tfn")
    assert (config.dataset.name, config.model.name, config.mixer.name) == ("mosei", "tfn", "powmix")
    sweep, space = space_of(config)
    assert list(sweep.warm_start) == ["defaults", "baseline"]
    assert space.inside(sweep.warm_start["defaults"]) is not None, "the sampler learns from the default"
    assert "mixer=none" in sweep.warm_start["baseline"]


def test_the_warm_start_begins_with_the_mixer_s_defaults():
    mixer = composed("mixer=powmix").mixer
    sweep, space = space_of(composed("sweeps=joint"))
    params = space.inside(sweep.warm_start["defaults"])
    assert space.overrides(params) == ["mixer.p_mix=0.5", "mixer.n_out=256", "mixer.subset=[2,4]"]
    assert (mixer.p_mix, mixer.n_out, list(mixer.subset)) == (0.5, 256, [2, 4])


def test_a_grid_of_n_out_has_its_eight_values_and_the_baseline():
    sweep, _ = space_of(composed("sweeps=n_out", "hydra.sweeper.n_trials=50"))
    assert sweep.n_trials == 9
    given = [point and point["mixer.n_out"] for point in sweep.given]
    assert given == [256, None, 16, 32, 64, 128, 512, 1024, 2048], "the default's point is not given again"


@pytest.mark.parametrize("pair", [[2, 4], [2, 8], [4, 8], [8, 16], [2, 16], [6, 8]])
@pytest.mark.parametrize("name", ["subset", "subset_width", "joint"])
def test_every_search_over_subset_ranges_reaches_each_range_of_the_paper(name, pair):
    _, space = space_of(composed(f"sweeps={name}"))
    low, high = pair
    texts = [f"mixer.subset=[{low},{high}]"]
    if name != "subset":
        texts = [f"mixer.subset.low={low}", f"mixer.subset.width={high - low}"]
    if name == "joint":
        texts += ["mixer.p_mix=0.5", "mixer.n_out=256"]
    params = space.inside(texts)
    assert params is not None and space.overrides(params)[-1] == f"mixer.subset=[{low},{high}]"


@pytest.mark.parametrize("sampler", ["tpe", "gp", "cmaes", "random", "qmc", "grid", "staged"])
def test_samplers_are_chosen_by_name(sampler):
    options = composed("sweeps=p_mix", f"hydra/sweeper/sampler={sampler}").hydra.sweeper.sampler
    assert options._target_.rpartition(".")[2].lower().startswith(sampler)


@pytest.mark.parametrize("pruner", ["none", "median", "hyperband", "wilcoxon"])
def test_pruners_are_chosen_by_name(pruner):
    sweep, _ = space_of(composed("sweeps=p_mix", f"hydra/sweeper/pruner={pruner}"))
    assert type(sweep.pruner).__name__.lower().startswith("nop" if pruner == "none" else pruner)


def test_a_password_in_the_command_is_in_no_record_of_a_job(monkeypatch, caplog):
    url = "postgresql://user:a/PASSWORD@h/db"
    monkeypatch.delenv(HIDDEN, raising=False)
    sweep, config = StudySweep(storage=url), composed.__wrapped__("sweeps=p_mix", f"hydra.sweeper.storage='{url}'")
    OmegaConf.set_readonly(config.hydra, True)  # as Hydra gives it to a sweeper
    sweep.config = config
    sweep._hide_password()
    assert "PASSWORD" not in OmegaConf.to_yaml(config) and config.hydra.sweeper.storage == url
    kept = OmegaConf.to_container(config.hydra.overrides.hydra)
    again = composed("sweeps=p_mix", *[text for text in kept if "storage" in text])
    assert "PASSWORD" not in OmegaConf.to_yaml(again) and again.hydra.sweeper.storage == url
    assert "PASSWORD" not in caplog.text and "stands in the command" in caplog.text


def test_the_stock_sweeper_is_still_there():
    target = composed("hydra/sweeper=optuna").hydra.sweeper._target_
    assert target == "hydra_plugins.hydra_optuna_sweeper.optuna_sweeper.OptunaSweeper"


@pytest.mark.parametrize("name", ABLATIONS)
def test_an_ablation_takes_one_component_away(name):
    whole, less = composed("mixer=powmix").mixer, composed("mixer=powmix", f"ablation={name}").mixer
    changed = {key for key in whole if whole[key] != less[key]}
    expected = {
        "isotropic": "anisotropic",
        "no_reweighting": "reweight",
        "own_masks": "mask_sharing",
        "static": "dynamic",
    }
    assert changed == ({expected[name]} if name in expected else set())


@pytest.mark.parametrize(
    ("option", "message"),
    [
        ("n_jobs=-1", "hydra.sweeper.n_jobs must be null or a whole number >= 1, got -1"),
        ("n_jobs=0", "hydra.sweeper.n_jobs must be null or a whole number >= 1, got 0"),
        ("heartbeat=0", "hydra.sweeper.heartbeat must be a number > 0, got 0"),
        ("heartbeat=-1", "hydra.sweeper.heartbeat must be a number > 0, got -1"),
        ("heartbeat=300", "hydra.sweeper.grace must be longer than heartbeat=300, got 120"),
        ("max_deaths=0", "hydra.sweeper.max_deaths must be a whole number >= 1, got 0"),
        ("n_trials=0", "hydra.sweeper.n_trials must be a whole number >= 1, got 0"),
        ("trials_per_gpu=0", "hydra.sweeper.trials_per_gpu must be a whole number >= 1, got 0"),
        ("direction=minimise", "got 'minimise' (did you mean minimize?)"),
        ("storage=/etc/passwd", "hydra.sweeper.storage: /etc/passwd is no study's journal"),
        ("storage=foo://x", "hydra.sweeper.storage: got 'foo://x', allowed"),
        ("gpus=[99]", "hydra.sweeper.gpus: got 99, this machine's GPUs: "),
    ],
)
def test_an_option_that_makes_no_sense_is_refused_with_what_is_allowed(option, message):
    with pytest.raises(ValueError) as refused:
        space_of(composed("sweeps=p_mix", f"hydra.sweeper.{option}"))
    assert message in str(refused.value) and "\n" not in str(refused.value)


@pytest.mark.parametrize("name", LAUNCHERS)
def test_a_launcher_preset_composes_and_opens_with_its_command(name):
    if name == "ray_cluster":
        pytest.importorskip("hydra_plugins.hydra_ray_launcher", reason="the extra `ray` is not installed")
    lines = (ROOT / f"conf/hydra/launcher/{name}.yaml").read_text().splitlines()
    assert any(f"hydra/launcher={name}" in line for line in lines[:4])
    assert issubclass(get_class(composed(f"hydra/launcher={name}").hydra.launcher._target_), Launcher)
