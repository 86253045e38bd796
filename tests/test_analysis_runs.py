"""Analyses start from a run's own numbers, are measured once, and say what is wrong."""

import json
import shutil
import subprocess
import sys

import pytest
import torch
import yaml
from analysis_runs import BERT, MULT, SMALL, train
from trained_runs import forgetting, on_lab

from powmix import analysis
from powmix.analysis import catalogue
from powmix.analysis.__main__ import main
from powmix.analysis.damage import over_probabilities
from powmix.places import CONF
from powmix.report.figures import robustness
from powmix.runs.files import file_sha256
from powmix.runs.records import read_record

TWO = {"repetitions": 2, "device": "cpu"}


@pytest.fixture(scope="session")
def runs(tmp_path_factory):
    """{model: run folder}: LF-DNN with PowMix (two seeds), MulT, Self-MM, MISA and MAG-BERT."""
    outputs = tmp_path_factory.mktemp("outputs")
    return {
        "lf_dnn": train(outputs, "seeds=[1,2]", "trainer.max_epochs=2", "mixer=powmix"),
        "mult": train(outputs, *MULT, "mixer=manifold_mixup"),
        "self_mm": train(outputs, *BERT, "model=self_mm", "mixer=powmix"),
        "misa": train(outputs, *BERT, "model=misa", "mixer=none"),
        "mag_bert": train(outputs, *BERT, "model=mag_bert", "mixer=multimix"),
    }


@pytest.fixture
def copy(runs, tmp_path):
    """The LF-DNN run without analyses, for a test to spoil."""
    return shutil.copytree(runs["lf_dnn"], tmp_path / "run", ignore=shutil.ignore_patterns("analysis"))


def own_metrics(folder):
    return {seed["seed"]: seed["test"] for seed in json.loads((folder / "result.json").read_text())["seeds"]}


def metrics_of(row):
    return {k: v for k, v in row.items() if k not in ("seed", "repetition", "kind", "p", "target")}


@pytest.mark.parametrize("model", ["lf_dnn", "mult", "self_mm", "misa", "mag_bert"])
@pytest.mark.parametrize("name", ["noise", "dominance"])
def test_without_damage_the_metrics_are_the_runs_own_bit_for_bit(runs, name, model):
    rows = analysis.run([name], runs[model], **TWO)[name]
    own = own_metrics(runs[model])
    clean = [row for row in rows if row["p"] == 0]
    assert {row["seed"] for row in clean} == set(own)
    assert all(metrics_of(row) == own[row["seed"]] for row in clean)


@pytest.mark.parametrize("model", ["lf_dnn", "mult", "self_mm", "misa"])
def test_every_modality_has_a_head_and_fusion_is_the_runs_own_bit_for_bit(runs, model):
    rows = analysis.run(["unimodal"], runs[model], **TWO)["unimodal"]
    own = own_metrics(runs[model])
    assert {row["target"] for row in rows} == {"text", "audio", "vision", "fusion"}
    assert all(metrics_of(row) == own[row["seed"]] for row in rows if row["target"] == "fusion")
    assert all(metrics_of(row).keys() == own[row["seed"]].keys() for row in rows)


def test_a_model_that_fuses_early_has_no_unimodal_head_and_no_mean_text(runs):
    found = analysis.run(["unimodal", "dominance"], runs["mag_bert"], **TWO)
    assert [row["target"] for row in found["unimodal"]] == ["fusion"]
    assert {row["kind"] for row in found["dominance"]} == {"drop"}


@pytest.mark.parametrize("model", ["mult", "self_mm"])
def test_damage_changes_the_metrics_and_repetitions_differ(runs, model):
    found = analysis.run(["noise", "dominance"], runs[model], **TWO)
    for rows in found.values():
        for kind in {row["kind"] for row in rows}:
            some = [row["Loss"] for row in rows if row["kind"] == kind and row["p"] == 0.4]
            clean = next(row["Loss"] for row in rows if row["kind"] == kind and row["p"] == 0)
            assert len(set(some)) == 2 and clean not in some


def test_the_grids_are_the_papers(runs):
    found = analysis.run(["noise", "dominance"], runs["lf_dnn"], **TWO)
    p = {name: sorted({row["p"] for row in rows}) for name, rows in found.items()}
    assert p["noise"] == p["dominance"] == [0, 0.05, 0.1, 0.15, 0.2, 0.25, 0.3, 0.35, 0.4]
    kinds = {name: {row["kind"] for row in rows} for name, rows in found.items()}
    assert kinds == {"noise": {"aligned", "independent"}, "dominance": {"drop", "mean"}}


def test_where_nothing_or_all_is_lost_nothing_is_left_to_chance(runs):
    def damaged(p, generator):
        return {"draw": torch.rand((), generator=generator).item()}

    rows = list(over_probabilities({"draw": -1.0}, {"drop": damaged}, [0, 0.5, 1], repetitions=2))
    assert [(row["p"], row["repetition"]) for row in rows] == [(0, 0), (0.5, 0), (0.5, 1), (1, 0)]
    assert rows[0]["draw"] == -1.0 and rows[1]["draw"] != rows[2]["draw"]
    measured = analysis.run(["dominance"], runs["lf_dnn"], **TWO)["dominance"]
    assert all(row["repetition"] == 0 for row in measured if row["p"] == 0)
    assert {row["repetition"] for row in measured if row["p"] == 0.2} == {0, 1}


def test_measuring_twice_gives_the_same_rows(runs):
    first = analysis.run(catalogue.NAMES, runs["lf_dnn"], **TWO)
    assert analysis.run(catalogue.NAMES, runs["lf_dnn"], **TWO, force=True) == first


def test_what_is_measured_is_not_measured_again(copy):
    first = analysis.run(["noise"], copy, **TWO)
    for weights in copy.glob("seed_*/weights.safetensors"):
        weights.unlink()
    assert analysis.run(["noise"], copy, **TWO) == first
    with pytest.raises(ValueError, match=r"weights\.safetensors is missing"):
        analysis.run(["noise"], copy, **{**TWO, "repetitions": 3})
    with pytest.raises(ValueError, match=r"weights\.safetensors is missing"):
        analysis.run(["noise"], copy, **TWO, force=True)


def test_only_a_new_seed_is_measured(copy):
    analysis.run(["regularity"], copy, **TWO)
    path = copy / "analysis" / "regularity.json"
    content = json.loads(path.read_text())
    whole = [dict(row) for row in content["rows"]]
    content["measured"].pop("2")
    path.write_text(json.dumps({**content, "rows": content["rows"][:1]}))
    (copy / "seed_1" / "weights.safetensors").unlink()
    assert analysis.run(["regularity"], copy, **TWO)["regularity"] == whole


def test_a_broken_file_of_an_analysis_is_measured_again(copy):
    rows = analysis.run(["regularity"], copy, **TWO)
    (copy / "analysis" / "regularity.json").write_text('{"schema": 1, "rows": [')
    assert analysis.run(["regularity"], copy, **TWO) == rows


def test_mixing_shows_in_the_geometry(runs):
    mixed, clean = (analysis.run(["regularity"], runs[model], **TWO)["regularity"][0] for model in ("self_mm", "misa"))
    assert clean["effective_number"] == 1 and clean["gradient_alignment"] == pytest.approx(1)
    assert mixed["effective_number"] > 1.2 and mixed["gradient_alignment"] < 0.999
    assert mixed["label_spread"] < clean["label_spread"]
    assert 0 <= mixed["calibration_error"] < 0.5


def test_the_report_reads_what_an_analysis_writes(runs):
    analysis.run(catalogue.NAMES, runs["lf_dnn"], **TWO)
    record = read_record(runs["lf_dnn"])
    assert all(record.analysis(name) for name in catalogue.NAMES)
    curves = robustness.curve(record.analysis("noise"), "MAE", robustness.KINDS["noise"])
    assert {seed: curve[0.0] for seed, curve in curves.items()} == {
        seed: test["MAE"] for seed, test in own_metrics(runs["lf_dnn"]).items()
    }


def test_an_unfinished_run_is_refused_with_its_command(copy):
    result = json.loads((copy / "result.json").read_text())
    (copy / "result.json").write_text(json.dumps({**result, "status": "failed", "error": "RuntimeError: lost power"}))
    with pytest.raises(ValueError, match=r"is failed, not finished \(RuntimeError: lost power\).*powmix 'seeds="):
        analysis.run(["noise"], copy)


def vouch(seed_folder):
    """Makes a seed's record name the weights that lie there now, as if they had been trained so."""
    result = json.loads((seed_folder / "result.json").read_text())
    result["files"]["weights.safetensors"]["sha256"] = file_sha256(seed_folder / "weights.safetensors")
    (seed_folder / "result.json").write_text(json.dumps(result))


def test_weights_that_are_not_the_records_are_refused(copy):
    shutil.copy(copy / "seed_2" / "weights.safetensors", copy / "seed_1" / "weights.safetensors")
    with pytest.raises(ValueError, match=r"seed_1/weights.safetensors has changed since it was written"):
        analysis.run(["noise"], copy, **TWO)
    vouch(copy / "seed_1")
    with pytest.raises(ValueError, match=r"seed_1: the test Loss is .*, the run recorded"):
        analysis.run(["noise"], copy, **TWO)


def test_weights_of_another_model_are_refused(runs, copy):
    shutil.copy(runs["mult"] / "seed_3" / "weights.safetensors", copy / "seed_1" / "weights.safetensors")
    vouch(copy / "seed_1")
    with pytest.raises(ValueError, match="weights of another model"):
        analysis.run(["noise"], copy, **TWO)
    (copy / "seed_1" / "weights.safetensors").write_bytes(b"torn")
    vouch(copy / "seed_1")
    with pytest.raises(ValueError, match="cannot be read"):
        analysis.run(["noise"], copy, **TWO)


def test_other_data_are_refused(copy):
    result = json.loads((copy / "result.json").read_text())
    result["provenance"]["dataset"]["digest"] = "0" * 64
    (copy / "result.json").write_text(json.dumps(result))
    with pytest.raises(ValueError, match=r"trained on data 000000000000\.\.\., .* not the same data"):
        analysis.run(["noise"], copy, **TWO)
    with pytest.raises(ValueError, match=r"--dataset-path: the synthetic corpus of .* has no file"):
        analysis.run(["noise"], copy, **TWO, dataset_path=copy / "features.pkl")


def test_moved_data_are_asked_for_by_name(copy):
    config = (copy / "config.yaml").read_text()
    (copy / "config.yaml").write_text(config.replace("name: synthetic", "name: mosi\n  path: nowhere.pkl", 1))
    with pytest.raises(ValueError, match=r"no file 'nowhere.pkl': its data have moved; name them by --dataset-path"):
        analysis.run(["noise"], copy, **TWO)


def test_the_command_prints_a_table_and_leaves_the_unfinished_out(runs, copy, tmp_path, capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "120")
    broken = shutil.copytree(copy, tmp_path / "broken")
    result = json.loads((broken / "result.json").read_text())
    (broken / "result.json").write_text(json.dumps({**result, "signature": "other", "status": "running"}))
    assert main(["noise,regularity", str(copy), str(broken), "--repetitions", "2"]) == 0
    out, err = capsys.readouterr()
    assert "synthetic/lf_dnn/powmix" in out and "MAE p=0.4" in out and "gradient alignment" in out
    assert "left out" in err and str(broken) in err and str(copy) not in err


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (
            ["nois", "."],
            "unknown analysis 'nois' (did you mean noise?); allowed: all, unimodal, noise, dominance, regularity",
        ),
        (["limited"], "it is a sweep: powmix -m sweeps=figure8"),
        (["noise"], "no PATH given"),
        (["noise", "nowhere-at-all"], "nowhere-at-all does not exist"),
        (["noise", ".", "--repetitions", "0"], "repetitions"),
        (["noise", ".", "--repetition", "2"], "(did you mean --repetitions?)"),
    ],
)
def test_a_mistake_is_one_line_and_status_2(arguments, message, tmp_path, capsys, monkeypatch, runs):
    monkeypatch.chdir(runs["lf_dnn"])
    try:
        status = main(arguments)
    except SystemExit as stop:
        status = stop.code
    err = capsys.readouterr().err
    assert status == 2 and message in err and err.count("\n") == 1


def test_one_failing_run_stops_no_other_but_tells(runs, copy, tmp_path, capsys):
    result = json.loads((copy / "result.json").read_text())
    (copy / "result.json").write_text(json.dumps({**result, "signature": "other"}))
    (copy / "seed_1" / "weights.safetensors").unlink()
    assert main(["regularity", str(copy), str(runs["mult"])]) == 2
    out, err = capsys.readouterr()
    assert "weights.safetensors is missing" in err and "synthetic/mult/manifold_mixup" in out


def test_every_analysis_has_its_sweep():
    sweeps = [yaml.safe_load(path.read_text()) for path in (CONF / "sweeps").glob("*.yaml")]
    asked = [name for sweep in sweeps for name in sweep.get("analyses", [])]
    assert sorted(asked) == sorted(catalogue.NAMES)


def test_help_imports_no_torch():
    code = "\n".join(
        [
            "import atexit, sys",
            "atexit.register(lambda: print('torch' in sys.modules))",
            "from powmix.analysis.__main__ import main",
            "main(['--help'])",
        ]
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.endswith("False\n")


def test_classification_has_heads_noise_and_no_residuals(tmp_path):
    options = ("task=classification", "objective=Accuracy", "seeds=[1]", "trainer.max_epochs=1")
    folder = train(tmp_path, *options)
    found = analysis.run(["unimodal", "dominance", "regularity"], folder, **TWO)
    assert {row["target"] for row in found["unimodal"]} == {"text", "audio", "vision", "fusion"}
    assert all({"Accuracy", "Weighted_F1", "Loss"} <= row.keys() for row in found["unimodal"] + found["dominance"])
    assert "calibration_error" not in found["regularity"][0]


@pytest.mark.slow
def test_on_real_mosi_no_damage_gives_the_runs_own_metrics_and_a_moved_file_is_found(shared, tmp_path):
    original = shared / "data" / "mosi" / "mosi_std_ta_ctx5.pkl"
    file = shutil.copy(original, tmp_path / "features.pkl")
    options = ("dataset=mosi", f"dataset.path={file}", "model=self_mm", "model.text.pretrained=tiny")
    folder = train(tmp_path, *options, "seeds=[1]", "trainer.max_epochs=1", small=SMALL[1:])
    (tmp_path / "features.pkl").unlink()
    with pytest.raises(ValueError, match="--dataset-path"):
        analysis.run(["noise"], folder, **TWO)
    other = shared / "data" / "mosi" / "mosi_dev229_aligned.pkl"
    with pytest.raises(ValueError, match="not the same data"):
        analysis.run(["noise"], folder, **TWO, dataset_path=other)
    found = analysis.run(["noise", "dominance"], folder, repetitions=1, device="cpu", dataset_path=original)
    for rows in found.values():
        assert all(metrics_of(row) == own_metrics(folder)[1] for row in rows if row["p"] == 0)
        assert torch.isfinite(torch.tensor([row["MAE"] for row in rows])).all()


def test_code_of_a_users_own_is_loaded_from_where_the_run_had_it_or_from_where_it_is_now(tmp_path, capsys):
    with forgetting() as forget:
        run = on_lab(tmp_path)
        forget()
        assert main(["regularity", str(run)]) == 0
        assert f"plugin {tmp_path / 'lab_of_use.py'}" in capsys.readouterr().err
        forget()
        moved = (tmp_path / "lab_of_use.py").rename(tmp_path / "runs/lab_of_use.py")
        assert main(["regularity", str(run), "--force"]) == 2
        assert "lab_of_use.py is not there any more: name it where it is" in capsys.readouterr().err
        assert main(["regularity", str(run), "--force", "--plugins", str(moved)]) == 0
