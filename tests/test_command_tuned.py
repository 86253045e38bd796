"""powmix-tuned: a search for every way, rows with fresh seeds, tables of tuned against tuned; it continues."""

import json
import shlex
from pathlib import Path

import pytest
import report_runs as fabricate
import yaml

from powmix.command import steps, tuned

SCORES = {
    ("dropout", "default"): 0.60,
    ("dropout", "tuned"): 0.58,
    ("powmix", "default"): 0.55,
    ("powmix", "tuned"): 0.50,
}
"""Test MAE that the made-up rows have, seed by seed a little apart."""


def plan_file(folder, **changes):
    told = {
        "common": ["model=late_fusion", "dataset.sizes={train: 60, valid: 30, test: 30}", "trainer.max_epochs=1"],
        "tasks": {"small": ["dataset=synthetic"], "other": ["dataset=synthetic", "dataset.noise=0.7"]},
        "trials": 3,
        "tuning_seeds": 1,
        "seeds": 6,
        "baseline": "dropout",
        "ways": {
            "dropout": {"choose": ["mixer=none"], "search": {"model.dropout": "choice(0.0,0.2,0.5)"}},
            "powmix": {
                "choose": ["mixer=powmix"],
                "search": {"mixer.p_mix": "interval(0.05,1.0)", "mixer.n_out": "choice(16,256)"},
            },
        },
    }
    path = folder / "plan.yaml"
    path.write_text(yaml.safe_dump(told | changes, sort_keys=False))
    return str(path)


@pytest.fixture
def commands(monkeypatch, tmp_path):
    """What would be run, in order. A search leaves made-up trials; a row has test scores as SCORES says."""
    monkeypatch.chdir(tmp_path)
    ran = []

    def pretend(module, arguments):
        ran.append(arguments)
        named = dict(word.split("=", 1) for word in arguments if "=" in word)
        names = {"dataset": "synthetic", "model": "late_fusion"}
        outputs, mixer = Path(named["outputs"]), named["mixer"]
        if "hydra/sweeper=optuna_study" in arguments:
            key, values = ("model.dropout", (0.2, 0.5)) if mixer == "none" else ("mixer.p_mix", (0.5, 0.3))
            trials = [
                fabricate.write_run(outputs, mixer, {1: error}, **names, config={key: value, "mixer.n_out": 16})
                for value, error in zip(values, (0.8, 0.7))
            ]
            fabricate.write_sweep(outputs, named["sweep"], trials)
        else:
            _, way, kind = named["sweep"].split("-")
            seeds = json.loads(named["seeds"])
            scores = {
                seed: SCORES[way, kind] + (0.001 if kind == "tuned" else 0.002) * (i % 3)
                for i, seed in enumerate(seeds)
            }
            changes = {"trainer.batch_size": 32 if kind == "default" else 33}
            run = fabricate.write_run(outputs, mixer, scores, **names, config=changes)
            fabricate.write_sweep(outputs, named["sweep"], [run])

    monkeypatch.setattr(steps, "run", pretend)
    return ran


def test_every_way_has_a_search_of_its_own_with_the_same_budget_and_its_defaults_first(commands, tmp_path):
    assert tuned.main(["--plan", plan_file(tmp_path), "--tasks", "small"]) == 0
    searches = [one for one in commands if "hydra/sweeper=optuna_study" in one]
    assert all("hydra.sweeper.n_trials=3" in one and "seeds=1" in one for one in searches)
    assert [one[-1] for one in searches] == ["sweep=small-dropout", "sweep=small-powmix"]
    assert '+hydra.sweeper.warm_start={defaults:["model.dropout=0.2"]}' in searches[0]
    assert '+hydra.sweeper.warm_start={defaults:["mixer.p_mix=0.5","mixer.n_out=256"]}' in searches[1]


def test_what_a_search_found_is_trained_with_fresh_seeds_beside_the_defaults(commands, tmp_path):
    assert tuned.main(["--plan", plan_file(tmp_path), "--tasks", "small"]) == 0
    rows = {one[-1].removeprefix("sweep=small-"): one for one in commands if "hydra/sweeper=optuna_study" not in one}
    assert list(rows) == ["dropout-default", "dropout-tuned", "powmix-default", "powmix-tuned"]
    assert all("seeds=[2111,2112,2113,2114,2115,2116]" in one for one in rows.values())
    assert "model.dropout=0.5" in rows["dropout-tuned"], "the best on validation"
    assert {"mixer.p_mix=0.3", "mixer.n_out=16"} <= set(rows["powmix-tuned"])
    assert not any(word.startswith("mixer.") for word in rows["powmix-default"])


def test_tables_say_what_tuning_was_worth_and_compare_tuned_with_tuned(commands, tmp_path, capsys):
    assert tuned.main(["--plan", plan_file(tmp_path), "--tasks", "small"]) == 0
    lines = (tmp_path / "outputs/tuned/tuned.md").read_text().splitlines()
    head, _, *rows = [line for line in lines if line.startswith("|")]
    cells = [[cell.strip() for cell in row.strip("|").split("|")] for row in rows]
    assert "tuned − default | tuned − dropout" in head
    assert [row[0] for row in cells] == ["dropout", "powmix"]
    assert cells[1][1:4] == ["p_mix 0.3, n_out 16", "0.552 ± 0.002", "0.501 ± 0.001"]
    assert (
        cells[1][4].startswith("−0.051 [−0.052, −0.050]")
        and cells[1][5].startswith("−0.080")
        and cells[1][6] == "better"
    )
    assert cells[0][5] == cells[0][6] == "", "the baseline is not compared with itself"
    found = json.loads((tmp_path / "outputs/tuned/tuned.json").read_text())["tasks"]["small"]
    assert found["powmix"]["values"] == {"mixer.p_mix": 0.3, "mixer.n_out": 16} and found["powmix"]["trials"] == 2
    assert "### small" in capsys.readouterr().out


def test_options_of_one_task_and_of_all_tasks_go_where_they_belong(tmp_path, capsys):
    words = ["other:dataset.noise=0.8", "trainer.early_stop=3", "hydra/launcher=processes"]
    assert tuned.main(["--plan", plan_file(tmp_path), "--dry-run", *words]) == 0
    lines = [shlex.split(line) for line in capsys.readouterr().out.splitlines()]
    assert len(lines) == 2 * 2 * 3
    assert all("trainer.early_stop=3" in line and "hydra/launcher=processes" in line for line in lines)
    assert all(("dataset.noise=0.8" in line) == ("sweep=other" in line[-1]) for line in lines)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--tasks", "smal"], "unknown task 'smal' (did you mean small?)"),
        (["--ways", "powmx"], "unknown way 'powmx' (did you mean powmix?)"),
        (["--trials", "1"], "--trials: got 1, allowed a whole number >= 2"),
        (["smal:dataset.noise=1"], "unknown task 'smal'"),
        (["trainer.max_epoch=3"], "did you mean trainer.max_epochs?"),
        (["seeds=3"], "seeds=3: say --seeds"),
        (["small"], "got 'small', allowed key=value, or TASK:key=value"),
        (["--plan", "nowhere.yaml"], "--plan nowhere.yaml: cannot be read"),
    ],
)
def test_mistakes_are_said_before_anything_runs(commands, tmp_path, capsys, arguments, message):
    assert tuned.main(["--plan", plan_file(tmp_path), *arguments]) == 2
    assert message in capsys.readouterr().err and not commands


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"task": {}}, "unknown section 'task' (did you mean tasks?)"),
        ({"ways": {"a": {"choose": ["model.dropout=0"], "search": {}}}}, "ways.a.choose: names no mixer"),
        ({"ways": {"a": {"choose": ["mixer=none"]}}}, "ways.a: allowed choose and search"),
        ({"tasks": {"a": "dataset=mfeat"}}, "tasks.a: got 'dataset=mfeat'"),
    ],
)
def test_a_plan_that_is_wrong_is_named(tmp_path, capsys, changes, message):
    assert tuned.main(["--plan", plan_file(tmp_path, **changes), "--dry-run"]) == 2
    assert message in capsys.readouterr().err


@pytest.mark.slow
def test_the_plan_that_comes_with_powmix_is_sound(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert tuned.main(["--show-plan"]) == 0
    told = yaml.safe_load(capsys.readouterr().out)
    assert tuned.main(["--tasks", "htad_40,mfeat_40", "--dry-run"]) == 0
    assert len(capsys.readouterr().out.splitlines()) == 2 * len(told["ways"]) * 3


@pytest.mark.slow
def test_it_ends_with_tables_and_finds_again_what_is_done(tmp_path, monkeypatch, capfd):
    monkeypatch.chdir(tmp_path)
    arguments = ["--plan", plan_file(tmp_path), "--tasks", "small", "--seeds", "2"]
    assert tuned.main(arguments) == 0
    first = capfd.readouterr().out
    weights = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("seed_*/weights.safetensors")}
    assert len(weights) >= 2 * (3 + 2)
    assert tuned.main(arguments) == 0
    assert {path: path.stat().st_mtime_ns for path in tmp_path.rglob("seed_*/weights.safetensors")} == weights
    assert first[first.index("### small") :] == (again := capfd.readouterr().out)[again.index("### small") :]
