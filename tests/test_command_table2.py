"""powmix-table2: searches, carries the best values over, trains with fresh seeds, prints one table; it continues."""

import json
import shlex
import subprocess
from pathlib import Path

import pytest
import report_runs as fabricate

from powmix.command import steps, table2
from powmix.runs.records import read_record

TINY = (
    *("dataset.sizes={train: 60, valid: 30, test: 30}", "dataset.aligned=true", "trainer.max_epochs=1"),
    *("trainer.device=cpu", "model.dim=8", "model.heads=2", "model.levels=1"),
)


@pytest.fixture
def commands(monkeypatch, tmp_path):
    """What `make` would run, in order; a search leaves made-up trials of which n_O = 64, p_mix = 0.3 is the best."""
    monkeypatch.chdir(tmp_path)
    ran = []

    def pretend(module, arguments):
        ran.append([module, *arguments])
        if "sweeps=staged" in arguments:
            named = dict(word.split("=", 1) for word in arguments if "=" in word)
            trials = []
            for error, mixer, p_mix, n_out in ((0.5, "none", 0.0, 1), (0.8, "", 0.5, 256), (0.7, "", 0.3, 64)):
                changes = {} if mixer else {"mixer.p_mix": p_mix, "mixer.n_out": n_out}
                names = {"dataset": named["dataset"], "model": named["model"], "config": changes}
                trials.append(fabricate.write_run(Path(named["outputs"]), mixer or named["mixer"], {1: error}, **names))
            fabricate.write_sweep(Path(named["outputs"]), named["sweep"], trials)

    monkeypatch.setattr(steps, "run", pretend)
    return ran


def test_the_best_values_that_mix_are_carried_over_and_trained_with_fresh_seeds(commands, tmp_path):
    assert table2.main(["synthetic", "--models", "mult", "--seeds", "2"]) == 0
    words = [" ".join(one) for one in commands]
    assert [word for word in words if "sweeps=staged" not in word][:-1] == [
        f"powmix -m dataset=synthetic model=mult mixer={mixer} seeds=[2111,2112] "
        f"outputs=outputs/table2_tuned sweep=synthetic-mult-{name}"
        for mixer, name in (
            ("none,manifold_mixup", "none-manifold_mixup"),
            ("multimix mixer.p_mix=0.3 mixer.n_out=64", "multimix"),
            ("powmix mixer.p_mix=0.3 mixer.n_out=64", "powmix"),
        )
    ]
    searches = [word for word in words if "sweeps=staged" in word]
    assert [word.split("mixer=")[1].split()[0] for word in searches] == ["multimix", "powmix"]
    assert all("seeds=3 hydra.sweeper.n_trials=24" in word for word in searches)
    assert words[-1].startswith("powmix.report outputs/table2_tuned/sweeps --paper")
    found = json.loads((tmp_path / "outputs/table2_tuned/sweeps/tuned.json").read_text())["rows"]
    assert [(row["mixer"], row["p_mix"], row["n_out"], row["validation"]) for row in found] == [
        ("multimix", 0.3, 64, 0.7),
        ("powmix", 0.3, 64, 0.7),
    ]


@pytest.mark.slow
def test_every_corpus_and_model_has_its_steps_and_options_go_where_they_belong(tmp_path, capsys):
    file = tmp_path / "mosi.pkl"
    file.write_bytes(b"")
    options = ["--models", "mult,self_mm", "--dry-run", "model.text.pretrained=tiny", "hydra.sweeper.n_jobs=2"]
    assert table2.main([f"mosi={file}", "synthetic", *options]) == 0
    lines = [shlex.split(line) for line in capsys.readouterr().out.splitlines()]
    assert len(lines) == 2 * 2 * 5
    assert all((f"dataset.path={file}" in line) == ("dataset=mosi" in line) for line in lines)
    assert all(("model.text.pretrained=tiny" in line) == ("model=self_mm" in line) for line in lines)
    assert all(("hydra.sweeper.n_jobs=2" in line) == ("sweeps=staged" in line) for line in lines)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["mosi=nowhere.pkl", "--models", "mult"], "dataset.path: no file 'nowhere.pkl'"),
        (["synthetic", "--models", "mutl"], "unknown model 'mutl' (did you mean mult?)"),
        (["synthetic", "--models", "mult", "model.text.pretrained=tiny"], "none of mult has such an option"),
        (["synthetic", "--models", "mult", "trainer.max_epoch=3"], "did you mean trainer.max_epochs?"),
        (["synthetic", "--models", "mult", "seeds=3"], "seeds=: say --seeds"),
        (["trainer.max_epochs=3"], "no corpus given"),
        (["mossi"], "unknown corpus 'mossi' (did you mean mosi?)"),
    ],
)
def test_mistakes_are_said_before_anything_runs(commands, capsys, arguments, message):
    assert table2.main(arguments) == 2
    assert message in capsys.readouterr().err and not commands


def test_a_step_that_fails_stops_the_command_with_its_words(commands, capsys, monkeypatch):
    def failing(module, arguments):
        raise subprocess.CalledProcessError(1, ["python", "-m", module, *arguments])

    monkeypatch.setattr(steps, "run", failing)
    assert table2.main(["synthetic", "--models", "mult"]) == 1
    assert "dataset=synthetic model=mult mixer=none,manifold_mixup" in capsys.readouterr().err


@pytest.mark.slow
def test_it_ends_with_one_table_and_finds_again_what_is_done(tmp_path, monkeypatch, capfd):
    monkeypatch.chdir(tmp_path)
    options = ["--models", "mult", "--trials", "6", "--tuning-seeds", "1", "--seeds", "2", *TINY]
    assert table2.main(["synthetic", *options]) == 0
    printed = capfd.readouterr().out
    table = printed[printed.index("PowMix paper, Table 2: ours") : printed.index("PowMix paper, Table 2: MOSI")]
    heads = [line[1:18].strip() for line in table.splitlines() if line.startswith((" MulT", " +"))]
    assert heads == ["MulT", "+ Manifold MixUp", "+ MultiMix", "+ PowMix"]
    tuned = json.loads((tmp_path / "outputs/table2_tuned/sweeps/tuned.json").read_text())["rows"]
    assert [row["trials"] for row in tuned] == [5, 5]
    weights = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("seed_*/weights.safetensors")}
    assert len(weights) >= 4 * 2
    rows = [read_record(folder) for folder in tmp_path.glob("outputs/table2_tuned/runs/*")]
    assert all([seed.seed for seed in row.seeds] == [2111, 2112] for row in rows), "no seed of the searches"
    assert table2.main(["synthetic", *options]) == 0
    again = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("seed_*/weights.safetensors")}
    assert again == weights
    for name in ("table.md", "table.tex", "report.html"):
        assert "PowMix paper, Table 2: ours" in (tmp_path / "outputs/table2_tuned" / name).read_text()
