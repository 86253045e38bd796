"""Reading runs and the table made of them: baselines, labels, emphasis, sentences, failures."""

import json
import shutil

import pytest
import report_runs as fabricate
import yaml
from analysis_runs import train

from powmix.metrics.columns import keys
from powmix.report.building import build
from powmix.report.formats import markdown
from powmix.report.terminal import render
from powmix.report.verdict import summaries
from powmix.runs import collection
from powmix.runs.identity import SCHEMA


def table_of(*folders, **options):
    return build(collection.read(folders).records, **options)


def rows(table):
    return {row.label: row for row in table.rows}


def test_a_made_up_run_has_what_a_trained_one_has(tmp_path):
    trained = train(tmp_path / "trained", "mixer=powmix", "ablation=isotropic", "seeds=[1,2]", "trainer.max_epochs=1")
    made_up = fabricate.write_run(
        tmp_path, dataset="synthetic", model="lf_dnn", ablation="isotropic", errors={1: 0.8, 2: 0.9}
    )
    ours, theirs = (json.loads((folder / "result.json").read_text()) for folder in (made_up, trained))
    ours["trial"], theirs["trial"] = None, None  # `powmix` writes it, `train` runs no command
    assert ours.keys() == theirs.keys() and len(ours["signature"]) == len(theirs["signature"]) == 12
    for part in ("seeds", "mean", "std", "ci95", "provenance"):
        one, other = (found[part][0] if part == "seeds" else found[part] for found in (ours, theirs))
        assert one.keys() == other.keys(), part
    config, other = (yaml.safe_load((folder / "config.yaml").read_text()) for folder in (made_up, trained))
    other["trial"] = None
    assert config.keys() | {"trial"} == other.keys() and config["mixer"] == other["mixer"]
    assert config["model"] == other["model"] and config["schedule"] == other["schedule"]


def test_roots_sweeps_and_runs_give_the_same_records(tmp_path):
    run = fabricate.write_run(tmp_path, "none")
    other = fabricate.write_run(tmp_path, "powmix")
    sweep = fabricate.write_sweep(tmp_path, "demo", [run, other])
    signatures = {run.name, other.name}
    for paths in ([tmp_path], [sweep], [run, other], [tmp_path / "runs"], [sweep, run], [run / "result.json", other]):
        found = collection.read(paths)
        assert {record.signature for record in found.records} == signatures
        assert not found.failures


def test_a_copied_run_counts_once_and_the_copy_with_more_seeds_is_kept(tmp_path):
    run = fabricate.write_run(tmp_path / "a", "powmix")
    copy = shutil.copytree(run, tmp_path / "b" / run.name)
    result = json.loads((copy / "result.json").read_text())
    (copy / "result.json").write_text(json.dumps({**result, "seeds": result["seeds"][:2]}))
    found = collection.read([tmp_path / "b", tmp_path / "a"])
    assert [len(record.seeds) for record in found.records] == [5]
    assert found.duplicates == 1


def test_unfinished_failed_pruned_and_corrupt_runs_are_listed_with_why(tmp_path):
    good = fabricate.write_run(tmp_path, "none")
    running = fabricate.write_run(tmp_path, "multimix", {1111: 0.8}, status="running")
    fabricate.write_run(tmp_path, "powmix", {}, status="failed", error="ValueError: loss is NaN")
    pruned = fabricate.write_run(tmp_path, "powmix", {1111: 0.8}, status="pruned", config={"mixer.p_mix": 0.9})
    corrupt = fabricate.write_run(tmp_path, "c_mixup")
    (corrupt / "result.json").write_text('{"schema": 1, "vari')
    started = tmp_path / "runs" / "started"
    (started / "seed_1111").mkdir(parents=True)
    (started / "config.yaml").write_text("{}")
    (good / "analysis").mkdir()
    (good / "analysis" / "noise.json").write_text("[]")

    found = collection.read([tmp_path])
    assert {record.folder.name for record in found.records} == {good.name, running.name}
    reasons = {failure.folder.name: (failure.status, failure.reason) for failure in found.failures}
    assert reasons[corrupt.name][0] == "corrupt" and "not valid JSON" in reasons[corrupt.name][1]
    assert reasons["started"][0] == "unfinished"
    assert reasons[running.name] == ("running", "not finished yet, or killed (1 seed finished)")
    assert reasons[pruned.name][0] == "pruned"
    assert reasons["analysis"][0] == "corrupt"
    assert ("failed", "ValueError: loss is NaN (0 seeds finished)") in reasons.values()


def test_seeds_finished_after_the_variant_was_last_written_are_read(tmp_path):
    run = fabricate.write_run(tmp_path, "powmix", {1111: 0.8}, status="running")
    other = fabricate.write_run(tmp_path / "other", "powmix", {1112: 0.7})
    [entry] = json.loads((other / "result.json").read_text())["seeds"]
    (run / "seed_1112").mkdir()
    (run / "seed_1112" / "result.json").write_text(json.dumps({"schema": SCHEMA, "status": "finished", **entry}))
    (run / "seed_1113").mkdir()
    (run / "seed_1113" / "result.json").write_text("{")
    assert [seed.seed for seed in collection.read([run]).records[0].seeds] == [1111, 1112]


def test_a_failed_job_is_named_once_even_where_it_left_a_run_folder(tmp_path):
    run = fabricate.write_run(tmp_path, "powmix", {}, status="failed", error="ValueError: no")
    sweep = fabricate.write_sweep(tmp_path, "demo", [run, None], {0: "ValueError: no", 1: "KeyError: x"})
    found = collection.read([sweep])
    assert [failure.sentence for failure in found.failures] == [
        "demo job 0: job=0: failed, ValueError: no",
        "demo job 1: job=1: failed, KeyError: x",
    ]


def test_a_killed_sweep_is_read_from_its_jobs(tmp_path):
    run = fabricate.write_run(tmp_path, "none")
    job = tmp_path / "sweeps" / "killed" / "0"
    job.mkdir(parents=True)
    record = {
        "schema": SCHEMA,
        "number": 0,
        "overrides": ["mixer=none"],
        "status": "finished",
        "run": f"../../runs/{run.name}",
    }
    (job / "job.json").write_text(json.dumps(record))
    assert len(collection.read([job.parent]).records) == 1


def test_a_wrong_path_names_the_nearest(tmp_path):
    fabricate.write_sweep(tmp_path, "demo", [fabricate.write_run(tmp_path, "none")])
    with pytest.raises(ValueError, match=r"did you mean demo\?"):
        collection.read([tmp_path / "sweeps" / "demmo"])
    (tmp_path / "empty").mkdir()
    with pytest.raises(ValueError, match="no runs under"):
        collection.read([tmp_path / "empty"])


def test_rows_are_paired_with_no_mixing_of_the_same_model_and_flagged(tmp_path):
    fabricate.write_run(tmp_path, "none", {1: 0.90, 2: 0.80, 3: 0.85})
    fabricate.write_run(tmp_path, "powmix", {1: 0.86, 2: 0.78, 3: 0.80})
    fabricate.write_run(tmp_path, "multimix", {1: 0.95, 2: 0.85, 3: 0.90})
    fabricate.write_run(tmp_path, "powmix", {1: 0.1}, model="tfn")
    table = table_of(tmp_path)
    mult, tfn = table.sections[0].blocks
    none, multimix, powmix = mult.rows
    assert [row.label for row in mult.rows] == ["no mixing", "MultiMix", "PowMix"]
    assert powmix.cells["MAE"].comparison.difference == pytest.approx(-0.11 / 3)
    assert powmix.cells["MAE"].best and not none.cells["MAE"].best and powmix.cells["Mult_acc_7"].best
    assert multimix.cells["MAE"].worse and not powmix.cells["MAE"].worse and not none.cells["MAE"].worse
    assert tfn.rows[0].cells["MAE"].comparison is None and not tfn.rows[0].cells["MAE"].best
    assert tfn.rows[0].notes == ("no baseline (mixer=none) among these runs",)


def test_seeds_that_the_baseline_lacks_are_left_out_of_the_comparison_and_said(tmp_path):
    fabricate.write_run(tmp_path, "none", {1: 0.9, 2: 0.8, 3: 0.85})
    fabricate.write_run(tmp_path, "powmix", {2: 0.7, 3: 0.8, 4: 9.0})
    row = rows(table_of(tmp_path))["PowMix"]
    assert row.cells["MAE"].comparison.n == 2
    assert row.cells["MAE"].comparison.difference == pytest.approx(-0.075)
    assert row.notes == ("compared on the 2 seed(s) that its baseline has too",)


def test_holm_is_taken_over_the_whole_table(tmp_path):
    for mixer, shift in (("none", 0), ("powmix", 1), ("multimix", 2)):
        fabricate.write_run(tmp_path, mixer, fabricate.errors(0.8, shift=shift))
    table = table_of(tmp_path)
    assert table.tests == 12
    raw = [c.comparison for row in table.rows for c in row.cells.values() if c.comparison]
    least = min(raw, key=lambda c: c.p_t)
    assert least.p_t_holm == pytest.approx(min(1, 12 * least.p_t))


def test_variants_of_one_mixer_are_told_apart_by_what_differs(tmp_path):
    for n_out in (64, 256, 1024):
        overrides = ("trainer.device=cpu", "seeds=5", f"mixer.n_out={n_out}")
        fabricate.write_run(tmp_path, "powmix", overrides=overrides, config={"mixer.n_out": n_out})
    fabricate.write_run(tmp_path, "powmix", ablation="isotropic")
    labels = [row.label for row in table_of(tmp_path).rows]
    assert labels == ["PowMix (n_out=64)", "PowMix (n_out=256)", "PowMix (n_out=1024)", "PowMix, isotropic"]


def test_changed_defaults_are_told_from_the_configuration(tmp_path):
    fabricate.write_run(tmp_path, "powmix", config={"mixer.p_mix": 0.2})
    fabricate.write_run(tmp_path, "powmix", config={"mixer.p_mix": 0.4})
    assert {row.label for row in table_of(tmp_path).rows} == {"PowMix (p_mix=0.2)", "PowMix (p_mix=0.4)"}


def test_the_baseline_trained_most_alike_is_taken_and_a_difference_is_said(tmp_path):
    small = {"trainer.batch_size": 8}
    fabricate.write_run(tmp_path, "none", {1: 1.0, 2: 1.0}, config=small, overrides=("trainer.batch_size=8",))
    fabricate.write_run(tmp_path, "none", {1: 0.9, 2: 0.9})
    fabricate.write_run(tmp_path, "powmix", {1: 0.8, 2: 0.8}, config=small, overrides=("trainer.batch_size=8",))
    fabricate.write_run(tmp_path, "multimix", {1: 0.8, 2: 0.8}, config={"trainer.batch_size": 4})
    found = rows(table_of(tmp_path))
    assert found["PowMix"].cells["MAE"].comparison.difference == pytest.approx(-0.2)
    assert found["PowMix"].notes == ()
    assert found["MultiMix"].notes == ("its baseline was trained with other settings: trainer.batch_size",)


def test_datasets_models_protocols_and_fractions_are_never_compared_with_each_other(tmp_path):
    fabricate.write_run(tmp_path, "none", {1: 0.9})
    fabricate.write_run(tmp_path, "powmix", {1: 0.8}, dataset="sims", keys=fabricate.SIMS)
    fabricate.write_run(tmp_path, "powmix", {1: 0.8}, protocol="sound")
    fabricate.write_run(tmp_path, "powmix", {1: 0.8}, config={"dataset.fraction": 0.2})
    table = table_of(tmp_path)
    assert all(row.baseline is None for row in table.rows)
    assert [section.title for section in table.sections] == ["MOSI", "MOSI, 20% of the training data", "SIMS"]
    sims = table.sections[2]
    assert [m.label for m in sims.columns] == ["Acc-2", "F1", "MAE", "Corr", "Acc-5", "Acc-3"]


def test_classification_has_its_own_columns_and_main_metric(tmp_path):
    fabricate.write_run(tmp_path, "none", keys=fabricate.CLASSES)
    table = table_of(tmp_path)
    assert [m.label for m in table.sections[0].columns] == ["Acc", "F1"]
    assert table.main.key == "Accuracy"


@pytest.mark.parametrize(
    ("convention", "main", "shown", "drawn"),
    [
        ("regression", "MAE", ["MAE", "RMSE", "R²", "Corr"], ["MAE", "R2"]),
        ("multilabel", "mAP", ["mAP", "Micro F1", "Macro F1", "AUROC"], ["mAP", "Multilabel_micro_F1"]),
    ],
)
def test_every_task_has_its_own_columns_main_metric_and_figures(tmp_path, convention, main, shown, drawn):
    fabricate.write_run(tmp_path, "none", dataset="mine", keys=keys(convention))
    table = table_of(tmp_path)
    [section] = table.sections
    assert section.title == "mine" and [m.label for m in section.columns] == shown and table.main.key == main
    assert [m.key for m in table.drawn(table.rows[0].record)] == drawn


WITHIN = {"key": "Within", "label": "Within ½", "higher_is_better": False, "scale": 100.0, "decimals": 1}


def test_a_registered_metric_is_a_column_and_a_dash_where_a_run_has_none(tmp_path, forgotten_metrics):
    told = ({"task": "regression", "shown": True, **WITHIN},)
    scores = {seed: {**fabricate.metrics(0.8), "Within": 0.25} for seed in (1, 2)}
    fabricate.write_run(tmp_path, "none", {1: 0.9})
    fabricate.write_run(tmp_path, "powmix", scores=scores, told=told)
    fabricate.write_run(tmp_path, "none", {1: 0.9}, dataset="mosei")
    mosi, mosei = table_of(tmp_path).sections
    assert mosi.columns[-1].label == "Within ½" and "Within" not in {m.key for m in mosei.columns}
    without, measured = mosi.blocks[0].rows
    assert "Within" not in without.cells and mosi.columns[-1].show(measured.cells["Within"].summary.mean) == "25.0"
    assert "Within ½" in render(table_of(tmp_path), width=200)
    assert "25.0" in markdown(table_of(tmp_path)) and "—" in markdown(table_of(tmp_path))


def test_seeds_that_are_not_those_of_most_rows_are_marked_and_said_once(tmp_path):
    fabricate.write_run(tmp_path, "none", {1: 0.9, 2: 0.8})
    fabricate.write_run(tmp_path, "powmix", {1: 0.9, 2: 0.8})
    fabricate.write_run(tmp_path, "multimix", {1: 0.9, 2: 0.8, 3: 0.7})
    table = table_of(tmp_path)
    assert [row.count for row in table.rows] == ["2", "3†", "2"]
    told = "mosi/mult: † not on the same seeds (MultiMix 3; the others 2): scores are over each variant's own"
    assert told in table.notes and "3†" in render(table, width=150) and "| 3† |" in markdown(table)


def test_no_baseline_is_said_once(tmp_path):
    for model in ("mult", "tfn"):
        for mixer in ("powmix", "multimix"):
            fabricate.write_run(tmp_path, mixer, model=model)
    assert table_of(tmp_path).notes == ["mosi/mult, mosi/tfn: no baseline (mixer=none) among these runs"]
    assert summaries(table_of(tmp_path)) == []


def test_labels_carry_as_few_digits_as_tell_them_apart(tmp_path):
    for value in (0.8137246205198311, 0.8137946205, 0.25):
        told = (f"mixer.p_mix={value}",)
        fabricate.write_run(tmp_path, "powmix", config={"mixer.p_mix": value}, overrides=told)
    labels = [row.label for row in table_of(tmp_path).rows]
    assert labels == ["PowMix (p_mix=0.25)", "PowMix (p_mix=0.8137)", "PowMix (p_mix=0.8138)"]


def test_each_task_is_judged_in_its_own_metric(tmp_path):
    fabricate.write_many(tmp_path)
    table = table_of(tmp_path)
    assert [section.main.key for section in table.sections] == ["MAE", "MAE", "Accuracy", "MAE"]
    assert all({m.key for m in s.columns} <= set(s.blocks[0].rows[0].record.seeds[0].test) for s in table.sections)
    assert any("UTD-MHAD" in sentence and "test Acc " in sentence for sentence in summaries(table))


def test_a_result_holds_every_finished_seed_and_the_objective_of_the_commands_own(tmp_path):
    options = ("mixer=none", "trainer.max_epochs=1")
    train(tmp_path, *options, "seeds=[1,2]")
    alone = json.loads((train(tmp_path / "other", *options, "seeds=[3]") / "result.json").read_text())
    result = json.loads((train(tmp_path, *options, "seeds=[3]") / "result.json").read_text())
    assert [seed["seed"] for seed in result["seeds"]] == [1, 2, 3]
    assert result["mean"]["test"]["MAE"] == pytest.approx(sum(seed["test"]["MAE"] for seed in result["seeds"]) / 3)
    assert result["objective"] == alone["objective"]


def test_equal_scores_have_no_best(tmp_path):
    for mixer in ("none", "powmix"):
        fabricate.write_run(tmp_path, mixer, {1: 0.9, 2: 0.8})
    assert not any(cell.best or cell.worse for row in table_of(tmp_path).rows for cell in row.cells.values())
