"""powmix-dashboard writes a W&B workspace for a sweep's folder without a server."""

import json

import pytest
import report_runs as fabricate

from powmix.report.workspace import main, varied
from powmix.runs.records import read_jobs, write_job, write_sweep

pytest.importorskip("wandb_workspaces")
pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning")


@pytest.fixture
def sweep(tmp_path):
    run = fabricate.write_run(tmp_path, "powmix", dataset="sims", keys=fabricate.SIMS)
    folder = tmp_path / "sweeps" / "search"
    write_sweep(folder, name="search")
    given = (["mixer.p_mix=0.5", "mixer.subset=[2,4]"], ["mixer.p_mix=0.7", "mixer.subset=[2,8]"], ["mixer=none"])
    for number, overrides in enumerate(given):
        told = ["model=mult", *overrides, f"++trial.id={number}"]
        where = None if number else f"../../runs/{run.name}"
        write_job(folder / str(number), number=number, overrides=told, status="finished", run=where)
    return folder


def test_a_dry_run_writes_the_workspace_with_the_panels_of_what_the_sweep_varies(sweep, tmp_path, capsys):
    main([str(sweep), "--dry-run", "--out", str(tmp_path / "workspace.json")])
    text = (tmp_path / "workspace.json").read_text()
    names = [section["name"] for section in json.loads(text)["spec"]["section"]["panelBankConfig"]["sections"]]
    assert names[0] == "Paired differences"
    assert {"Table: mean and standard deviation over seeds", "Subset range", "Search", "Learning curves"} <= set(names)
    for part in ("stddev", "config:mixer.value.p_mix", "mixer.value.subset", "best/validation/MAE", "test/Mult_acc_3"):
        assert part in text
    assert "pictures/forest" in text and '"comparison"' in text
    assert "mixing/attention_rate" in text and "search" in text


def test_only_what_differs_between_jobs_is_varied_and_the_link_to_the_study_is_not(sweep):
    assert varied(list(read_jobs(sweep).values())) == ["mixer.p_mix", "mixer.subset", "mixer"]


def test_a_folder_that_is_no_sweep_is_refused_with_the_sweeps_beside_it(sweep):
    with pytest.raises(SystemExit, match="beside it: search"):
        main([str(sweep.parent / "serch"), "--dry-run"])


def test_without_a_key_the_command_ends_in_one_sentence(sweep, tmp_path, monkeypatch):
    import wandb

    for name in ("WANDB_API_KEY", "WANDB_BASE_URL", "WANDB_MODE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("NETRC", str(tmp_path / "netrc"))
    wandb.teardown()
    with pytest.raises(SystemExit, match=r"^powmix-dashboard: No API key configured.*--dry-run writes"):
        main([str(sweep), "--entity", "me"])
