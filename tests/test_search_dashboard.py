"""powmix-dashboard writes a W&B workspace for a sweep's folder without a server."""

import json

import pytest

from powmix.report.workspace import main, varied

pytest.importorskip("wandb_workspaces")
pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning")


@pytest.fixture
def sweep(tmp_path):
    run = tmp_path / "runs" / "abc"
    run.mkdir(parents=True)
    test = {"MAE": 1.0, "Corr": 0.5, "Mult_acc_5": 0.3, "Mult_acc_3": 0.5, "Mult_acc_2": 0.7, "F1_score": 0.7}
    (run / "result.json").write_text(json.dumps({"objective_metric": "Corr", "mean": {"test": test}}))
    folder = tmp_path / "sweeps" / "search"
    folder.mkdir(parents=True)
    jobs = [
        {"overrides": ["model=mult", "mixer.p_mix=0.5", "mixer.subset=[2,4]", "++trial.id=0"], "run": "../../runs/abc"},
        {"overrides": ["model=mult", "mixer.p_mix=0.7", "mixer.subset=[2,8]", "++trial.id=1"], "run": None},
        {"overrides": ["model=mult", "mixer=none", "++trial.id=2"], "run": None},
    ]
    (folder / "sweep.json").write_text(json.dumps({"name": "search", "jobs": jobs}))
    return folder


def test_a_dry_run_writes_the_workspace_with_the_panels_of_what_the_sweep_varies(sweep, tmp_path, capsys):
    main([str(sweep), "--dry-run", "--out", str(tmp_path / "workspace.json")])
    text = (tmp_path / "workspace.json").read_text()
    names = [section["name"] for section in json.loads(text)["spec"]["section"]["panelBankConfig"]["sections"]]
    assert {"Table: mean and standard deviation over seeds", "Subset range", "Search", "Learning curves"} <= set(names)
    for part in ("stddev", "config:mixer.value.p_mix", "mixer.value.subset", "best/validation/Corr", "test/Mult_acc_3"):
        assert part in text
    assert "mixing/attention_rate" in text and "search" in text


def test_only_what_differs_between_jobs_is_varied_and_the_link_to_the_study_is_not(sweep):
    jobs = json.loads((sweep / "sweep.json").read_text())["jobs"]
    assert varied(jobs) == ["mixer.p_mix", "mixer.subset", "mixer"]


def test_a_folder_that_is_no_sweep_is_refused_with_the_sweeps_beside_it(sweep):
    with pytest.raises(SystemExit, match="beside it: search"):
        main([str(sweep.parent / "serch"), "--dry-run"])
