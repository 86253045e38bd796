"""The private names of other libraries that powmix uses, and what it expects of each: an upgrade breaks here, by name.

A new use is listed in PRIVATE and gets a test. What is public is tested where it is used.
"""

import argparse
import ast
import re
from inspect import getsource, signature

import pytest
import torch

from powmix.places import PACKAGE

PRIVATE = {
    "argparse: Parser._actions": "mistakes.py",
    "fontTools: Options._drop_tables_default": "report/figures/style.py",
    "hydra: hydra._internal.utils.get_args_parser": "__main__.py search/application.py",
    "hydra: hydra._internal.core_plugins.basic_launcher.BasicLauncher": "command/launchers.py",
    "hydra: hydra._internal.core_plugins.basic_sweeper.BasicSweeper": "command/sweeping.py",
    "hydra: BasicSweeper._parse_config": "command/sweeping.py",
    "hydra: JobReturn._return_value": "command/launchers.py search/launching.py",
    "hydra: instantiate(_execution_whitelist_=...)": "search/samplers.py search/study.py",
    "hydra-optuna-sweeper: hydra_plugins.hydra_optuna_sweeper._impl.create_params_from_overrides": "search/space.py",
    "optuna: Trial._trial_id": "search/trials.py",
    "optuna: Study._study_id": "search/trials.py",
    "optuna: BaseDistribution._contains": "search/space.py",
    "submitit: SlurmInfoWatcher._info_dict": "command/launchers.py",
    "submitit: SlurmInfoWatcher._registered": "command/launchers.py",
    "submitit: SlurmInfoWatcher._finished": "command/launchers.py",
    "submitit: SlurmInfoWatcher._last_status_check": "command/launchers.py",
    "torch: torch._standard_gamma": "mixing/draws.py",
    "torch: torch._foreach_div_": "training/optimisation.py",
    "wandb-workspaces: Workspace._to_model": "report/workspace.py",
}
"""Library: name, and the files that use it. Of W&B itself nothing private is used."""
PUBLIC = {"_asdict", "_exit"}
"""Names with an underscore that Python documents."""


def is_private(name: str) -> bool:
    return name.startswith("_") and not name.startswith("__")


def last(entry: str) -> str:
    return entry.partition(": ")[2].partition("=")[0].replace("(", ".").rpartition(".")[2]


def private_names() -> dict[str, set[str]]:
    """Each private name that no file of powmix makes itself, and the files that use it."""
    used: dict[str, set[str]] = {}
    made: set[str] = set()
    for path in PACKAGE.rglob("*.py"):
        place = path.relative_to(PACKAGE).as_posix()
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            match node:
                case ast.FunctionDef(name=name) | ast.ClassDef(name=name) | ast.Name(id=name, ctx=ast.Store()):
                    made.add(name)
                case ast.Attribute(value=ast.Name(id="self"), attr=name, ctx=ast.Store()):
                    made.add(name)
                case ast.Attribute(attr=name) | ast.keyword(arg=str(name)) if is_private(name):
                    used.setdefault(name, set()).add(place)
                case ast.ImportFrom(module=str(module), names=names) if not module.startswith("powmix"):
                    for alias in names:
                        if any(map(is_private, [*module.split("."), alias.name])):
                            used.setdefault(alias.name, set()).add(place)
    return {name: places for name, places in used.items() if name not in made | PUBLIC}


def test_every_private_name_of_a_library_is_listed_here():
    listed = {last(entry): set(places.split()) for entry, places in PRIVATE.items()}
    made_by_a_subclass = {"_registered", "_finished", "_last_status_check"}
    assert private_names() == {name: places for name, places in listed.items() if name not in made_by_a_subclass}


# --- Python -----------------------------------------------------------------------------------------------------------


def test_a_parser_lists_its_options():
    parser = argparse.ArgumentParser()
    parser.add_argument("--out")
    assert "--out" in [option for action in parser._actions for option in action.option_strings]


# --- fontTools --------------------------------------------------------------------------------------------------------


def test_a_fonts_tables_for_shaping_are_left_out_of_a_subset_that_names_them(monkeypatch):
    from fontTools.subset import Options

    assert isinstance(Options._drop_tables_default, list) and "GSUB" not in Options().drop_tables
    monkeypatch.setattr(Options, "_drop_tables_default", [*Options._drop_tables_default, "GSUB"])
    assert "GSUB" in Options().drop_tables


# --- Hydra ------------------------------------------------------------------------------------------------------------


def test_hydras_parser_reads_a_command_line_with_flags_among_overrides():
    from hydra._internal.utils import get_args_parser

    given = get_args_parser().parse_intermixed_args(["a=1", "-m", "b=2", "--config-dir", "mine"])
    assert (given.overrides, given.multirun, given.config_dir) == (["a=1", "b=2"], True, "mine")
    given, _ = get_args_parser().parse_known_intermixed_args(["--config-name", "other", "--config-path", "conf"])
    assert (given.config_name, given.config_path) == ("other", "conf")


def test_hydras_grid_sweeper_splits_a_product_and_gives_the_configured_parameters():
    from hydra._internal.core_plugins.basic_sweeper import BasicSweeper
    from hydra.core.override_parser.overrides_parser import OverridesParser

    parsed = OverridesParser.create().parse_overrides(["x=1,2", "y=a,b"])
    assert BasicSweeper.split_arguments(parsed, None) == [
        [["x=1", "y=a"], ["x=1", "y=b"], ["x=2", "y=a"], ["x=2", "y=b"]]
    ]
    sweeper = BasicSweeper(None, {"x": "1,2"})
    assert sweeper._parse_config() == ["x=1,2"]
    assert list(sweeper.split_overrides_to_chunks([["x=1"], ["x=2"]], 1)) == [[["x=1"]], [["x=2"]]]


def test_hydras_basic_launcher_asks_its_loader_for_one_configuration_a_job():
    """powmix.command.launchers.Composer stands in for that loader."""
    from hydra._internal.core_plugins.basic_launcher import BasicLauncher

    assert set(re.findall(r"config_loader\.(\w+)", getsource(BasicLauncher))) == {"load_sweep_config"}
    assert {"hydra_context", "task_function", "config"} <= signature(BasicLauncher.setup).parameters.keys()


def test_a_jobs_return_holds_its_value_or_its_error():
    from hydra.core.utils import JobReturn, JobStatus

    assert JobReturn(status=JobStatus.COMPLETED, _return_value=0.5).return_value == 0.5
    error = ValueError("no")
    assert JobReturn(status=JobStatus.FAILED, _return_value=error)._return_value is error


def test_hydra_makes_only_objects_of_the_modules_that_are_allowed():
    from hydra.errors import InstantiationException
    from hydra.utils import instantiate

    allowed = {"_target_": "powmix.search.space.SubsetByWidth", "low": [1, 2], "width": [1, 2]}
    assert instantiate(allowed, _execution_whitelist_=("powmix.search.*",)).key == "mixer.subset"
    with pytest.raises(InstantiationException, match="whitelist"):
        instantiate({"_target_": "os.getcwd"}, _execution_whitelist_=("powmix.search.*",))


def test_hydras_loader_takes_a_folder_more_after_it_was_made(tmp_path):
    from hydra import compose, initialize_config_dir
    from hydra.core.global_hydra import GlobalHydra

    from powmix.places import CONF

    (tmp_path / "mixer").mkdir()
    (tmp_path / "mixer/mine.yaml").write_text("name: mine\n")
    with initialize_config_dir(str(CONF)):
        loader = GlobalHydra.instance().config_loader()
        loader.config_search_path.append("command-line", f"file://{tmp_path}")
        loader.repository.initialize_sources(loader.config_search_path)
        assert "mine" in loader.get_group_options("mixer")
        assert compose("config", ["mixer=mine"]).mixer.name == "mine"


def test_the_stock_sweeper_reads_overrides_as_distributions():
    from hydra_plugins.hydra_optuna_sweeper._impl import create_params_from_overrides
    from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution

    def law(override: str):
        searched, _, _ = create_params_from_overrides([override])
        return searched

    assert law("x=choice(a,b)") == {"x": CategoricalDistribution(("a", "b"))}
    assert law("x=interval(0.0,1.0)") == {"x": FloatDistribution(0.0, 1.0)}
    assert law("x=tag(log,interval(1,8))") == {"x": FloatDistribution(1.0, 8.0, log=True)}
    assert law("x=range(1,9)") == {"x": IntDistribution(1, 8)}
    assert law("x=1") == {}


# --- Optuna -----------------------------------------------------------------------------------------------------------


def test_a_study_and_a_trial_are_found_in_their_storage_by_their_keys():
    import optuna

    study = optuna.create_study()
    trial = study.ask()
    storage = study._storage
    assert storage.get_study_name_from_id(study._study_id) == study.study_name
    assert storage.get_trial(trial._trial_id).number == trial.number
    assert optuna.trial.Trial(study, trial._trial_id).number == trial.number
    assert study.get_trials()[0]._trial_id == trial._trial_id


def test_a_distribution_says_whether_a_value_lies_in_it():
    from optuna.distributions import FloatDistribution, IntDistribution

    inside = FloatDistribution(0.0, 1.0)
    assert inside._contains(inside.to_internal_repr(1.0)) and not inside._contains(inside.to_internal_repr(1.1))
    powers = IntDistribution(1, 8, log=True)
    assert powers._contains(powers.to_internal_repr(8)) and not powers._contains(powers.to_internal_repr(9))


# --- submitit ---------------------------------------------------------------------------------------------------------


def test_submitit_asks_its_watcher_for_the_states_of_jobs():
    core = pytest.importorskip("submitit.slurm.slurm")

    class Known(core.SlurmInfoWatcher):
        def update(self) -> None:
            self._info_dict["7"] = {"JobID": "7", "State": "COMPLETED"}
            self._last_status_check = float("inf")
            self._finished.add("7")

    watcher = Known(delay_s=1)
    watcher.register_job("7")
    assert watcher._registered == {"7"} and watcher.get_state("7", mode="force") == "COMPLETED" and watcher.is_done("7")
    assert isinstance(core.SlurmJob.watcher, core.SlurmInfoWatcher)


# --- torch ------------------------------------------------------------------------------------------------------------


def test_torch_draws_gamma_variates_from_a_generator_of_its_own():
    def drawn(seed: int) -> torch.Tensor:
        return torch._standard_gamma(torch.full((1000,), 2.0), generator=torch.Generator().manual_seed(seed))

    before = torch.get_rng_state()
    assert torch.equal(drawn(1), drawn(1)) and not torch.equal(drawn(1), drawn(2))
    assert torch.equal(torch.get_rng_state(), before)
    assert drawn(0).mean().item() == pytest.approx(2.0, abs=0.2)


def test_torch_divides_many_tensors_in_place():
    tensors = [torch.full((2,), 6.0), torch.full((3, 1), 3.0)]
    torch._foreach_div_(tensors, 3)
    assert torch.equal(tensors[0], torch.full((2,), 2.0)) and torch.equal(tensors[1], torch.ones(3, 1))


# --- W&B --------------------------------------------------------------------------------------------------------------


def test_wandb_takes_the_settings_and_the_way_to_begin_a_run_that_tracking_uses():
    import wandb

    settings = wandb.Settings(silent=True, init_timeout=30, console="off")
    assert (settings.silent, settings.init_timeout, settings.console) == (True, 30.0, "off")
    assert {"reinit", "settings", "mode", "id", "resume"} <= set(signature(wandb.init).parameters)
    assert "create_new" in str(signature(wandb.init).parameters["reinit"])
    assert hasattr(settings, "base_url") and hasattr(settings, "api_key")


def test_a_workspace_is_json_without_a_server():
    workspaces = pytest.importorskip("wandb_workspaces.workspaces")
    text = workspaces.Workspace("entity", "project", name="mine")._to_model().model_dump_json(by_alias=True)
    assert '"mine"' in text
