"""The prepared comparisons, composed bare: what they run is what the paper ran."""

import re
import shlex
from functools import cache
from itertools import product
from types import SimpleNamespace

import pytest
import yaml
from hydra import compose, initialize_config_dir
from hydra.core.global_hydra import GlobalHydra
from hydra.core.override_parser.overrides_parser import OverridesParser

from powmix.analysis.catalogue import ANALYSES, REPETITIONS
from powmix.command.composition import register_resolvers
from powmix.command.overrides import check_command
from powmix.command.sweeping import ComparisonSweeper, beside
from powmix.places import CONF
from powmix.runs.identity import seed_list

pytestmark = pytest.mark.usefixtures("composed_once")
PAPER = ["table2", "table3", "figure3", "figure4", "figure5", "figure6", "figure7", "figure8"]


@pytest.fixture(scope="module")
def figures(shared):
    return yaml.safe_load((shared / "paper/figures.yaml").read_text("utf-8"))


@cache
def jobs(name: str, *overrides: str) -> list:
    """The composed configurations of `powmix -m sweeps=NAME ...`: all jobs, with overrides one of each kind."""
    register_resolvers()
    with initialize_config_dir(str(CONF)):
        own = [f"sweeps={name}", *overrides]
        sweeper = compose("config", overrides=own, return_hydra_config=True).hydra.sweeper
        assert sweeper._target_.endswith((".BasicSweeper", ".ComparisonSweeper"))
        made = ComparisonSweeper(None, dict(sweeper.params), sweeper.get("baseline", []))
        parsed = OverridesParser.create().parse_overrides([*made._parse_config(), *own])
        [batch] = made.split_arguments(parsed, None)
        if overrides:
            made.hydra_context = SimpleNamespace(config_loader=GlobalHydra.instance().config_loader())
            batch = made._kinds(batch)
        return [compose("config", overrides=list(job)) for job in batch]


def chosen(found: list, *keys: str) -> set:
    from omegaconf import OmegaConf

    def plain(value):
        return tuple(value) if OmegaConf.is_list(value) else value

    return {tuple(plain(OmegaConf.select(config, key)) for key in keys) for config in found}


@pytest.mark.parametrize("name", [name for name in PAPER if name != "table2"])
def test_a_bare_preset_runs_the_papers_models_on_the_papers_data(name, figures):
    stated = figures.get(name, {"dataset": "mosei", "model": "self_mm"})
    models = stated.get("models") or [stated.get("model")]
    if name == "figure5":
        models = ["mult", "self_mm"]
    found = jobs(name)
    assert chosen(found, "dataset.name") == {(stated["dataset"],)}
    assert chosen(found, "model.name") == {(model,) for model in models}
    assert {len(seed_list(config.seeds)) for config in found} == {3 if name == "figure5" else 5}
    starts = {(config.model.name, config.mixer.start_epoch) for config in found}
    assert starts == {(model, 2 if model == "self_mm" else 0) for model in models}, "the published recipes"


def test_figure_3_has_the_papers_five_ranges_under_both_readings_and_the_baseline_once(figures):
    ranges = [tuple(pair) for pair in figures["figure3"]["ranges_best_first"]]
    expected = {("powmix", pair, scope) for pair in ranges for scope in ("element", "row")}
    found = jobs("figure3")
    assert chosen(found, "mixer.name", "mixer.subset", "mixer.p_scope") == {*expected, ("none", None, None)}
    assert len(found) == 11


def test_figure_4_has_every_value_that_the_paper_names_and_the_baseline(figures):
    found = chosen(jobs("figure4"), "mixer.n_out")
    assert {(value,) for value in figures["figure4"]["named_values"]} | {(None,)} <= found and len(found) == 9


def test_table_3_has_the_papers_five_rows_and_the_baseline():
    switches = ("mixer.name", "mixer.anisotropic", "mixer.reweight", "mixer.mask_sharing", "mixer.dynamic")
    assert chosen(jobs("table3"), *switches) == {
        ("none", None, None, None, None),
        ("powmix", True, "relu", True, True),
        ("powmix", False, "relu", True, True),
        ("powmix", True, "uniform", True, True),
        ("powmix", True, "relu", False, True),
        ("powmix", True, "relu", True, False),
    }


@pytest.mark.parametrize("name", ["figure5", "figure6", "figure7", "figure8"])
def test_the_analyses_compare_powmix_with_no_mixing_alone(name, figures):
    stated = figures[name]
    models = stated.get("models", ["mult", "self_mm"])
    assert stated["variants"] == ["none", "powmix"]
    found = jobs(name)
    assert chosen(found, "model.name", "mixer.name") == set(product(models, stated["variants"]))
    analyses = {"figure5": ["unimodal"], "figure6": ["noise"], "figure7": ["dominance"], "figure8": []}
    assert all(list(config.analyses) == analyses[name] for config in found)


@pytest.mark.parametrize(("figure", "analysis"), [("figure6", "noise"), ("figure7", "dominance")])
def test_noise_goes_from_5_to_40_percent_and_15_runs_are_damage_draws_or_trainings(figure, analysis, figures):
    p = [value for value in ANALYSES[analysis].settings(REPETITIONS)["p"] if value > 0]
    assert [min(p), max(p)] == figures[figure]["p"] and REPETITIONS == figures[figure]["runs"] == 15
    assert {len(seed_list(config.seeds)) for config in jobs(figure, "seeds=15")} == {15}


def test_figure_8_has_the_two_parts_that_the_paper_names():
    found = {fraction for (fraction,) in chosen(jobs("figure8"), "dataset.fraction")}
    assert {0.1, 0.2, 1.0} <= found


@pytest.mark.parametrize("dataset", ["mosi", "mosei", "sims"])
def test_table_2_has_the_papers_twelve_rows_on_any_corpus(dataset):
    found = jobs("table2", f"dataset={dataset}")
    mixers = ("none", "manifold_mixup", "multimix", "powmix")
    assert chosen(found, "dataset.name", "model.name", "mixer.name") == set(
        product([dataset], ["mult", "misa", "self_mm"], mixers)
    )


@pytest.mark.parametrize("name", PAPER)
def test_every_preset_may_be_run_on_another_model_and_corpus(name):
    assert chosen(jobs(name, "dataset=synthetic", "model=lf_dnn"), "dataset.name", "model.name") == {
        ("synthetic", "lf_dnn")
    }


def commands_of_the_page() -> list[list[str]]:
    """The overrides of every `powmix` command in docs/paper.md."""
    text = (CONF.parent / "docs/paper.md").read_text("utf-8")
    return [shlex.split(words)[1:] for words in re.findall(r"`(powmix [^`]*)`", text)]


@pytest.mark.parametrize("words", commands_of_the_page(), ids=" ".join)
def test_every_command_of_the_papers_page_is_legal(words, tmp_path):
    (tmp_path / "FILE").write_bytes(b"")
    overrides = [word.replace("=FILE", f"={tmp_path}/FILE") for word in words if word != "-m"]
    register_resolvers()
    errors = check_command(overrides)
    assert [error for error in errors if "local Hugging Face cache" not in error] == []


def test_the_papers_page_has_every_table_and_figure():
    text = (CONF.parent / "docs/paper.md").read_text("utf-8")
    rows = re.findall(r"^\| ((?:Table|Figure) \d)[^|]*\| `(powmix[^`]*)`", text, re.MULTILINE)
    assert {name for name, _ in rows} == {*(f"Table {i}" for i in (1, 2, 3)), *(f"Figure {i}" for i in range(1, 9))}


def test_a_baseline_stands_once_beside_each_model_and_keeps_what_is_not_the_mixers():
    grid = [[f"model={m}", f"mixer.n_out={n}", "ablation=static", "seeds=2"] for m in ("tfn", "mult") for n in (1, 2)]
    assert beside(grid, ["mixer=none"]) == [
        ["model=tfn", "seeds=2", "mixer=none"],
        ["model=mult", "seeds=2", "mixer=none"],
    ]


def test_before_a_sweep_one_job_of_each_choice_of_groups_is_composed_whatever_its_values():
    sweeper = ComparisonSweeper(None, None, [])
    loader = SimpleNamespace(get_group_options=lambda key: ["none", "powmix"] if key == "mixer" else [])
    sweeper.hydra_context = SimpleNamespace(config_loader=loader)
    values = [["mixer=powmix", f"mixer.p_mix={value}", "seeds=2"] for value in (0.1, 0.2, 0.3)]
    jobs = [["mixer=none", "seeds=2"], *values, ["mixer=none", "mixer.p_mix=0.1", "seeds=2"]]
    assert sweeper._kinds(jobs) == [jobs[0], jobs[1], jobs[4]]
