"""What arrives at a W&B server, compared with what is on disk."""

import csv
import json
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from wandb_server import WandbRun, WandbServer, serving

from powmix.__main__ import main
from powmix.tracking import tell_of_sweep
from powmix.tracking.__main__ import main as track
from powmix.tracking.__main__ import settings_of

wandb = pytest.importorskip("wandb")

TINY = ["dataset.sizes={train: 60, valid: 30, test: 30}", "trainer.max_epochs=3", "trainer.device=cpu"]
ONLINE = ["tracker=wandb", "tracker.wandb.mode=online"]


@pytest.fixture
def server(monkeypatch):
    """A server that this process's wandb, and those that it starts, log to."""
    from powmix.tracking.wandb_session import agent_trial

    with serving() as state:
        for name in ("WANDB_MODE", "WANDB_SWEEP_ID", "WANDB_RUN_ID", "WANDB_SWEEP_PARAM_PATH"):
            monkeypatch.delenv(name, raising=False)
        for name, value in {"WANDB_BASE_URL": state.url, "WANDB_API_KEY": "0" * 40}.items():
            monkeypatch.setenv(name, value)
        wandb.teardown()
        agent_trial.cache_clear()
        yield state
        wandb.teardown()
        agent_trial.cache_clear()
        assert not state.errors


@pytest.fixture
def powmix(tmp_path, monkeypatch):
    """The command, run in this process in an empty working directory; returns that directory."""
    monkeypatch.chdir(tmp_path)

    def call(*arguments: str) -> Path:
        monkeypatch.setattr(sys, "argv", ["powmix", *arguments])
        main()
        return tmp_path

    return call


def on_disk(where: Path) -> dict[str, Path]:
    """Every seed's folder by its id."""
    return {f"{path.parent.name}-{path.name[5:]}": path for path in where.glob("outputs/runs/*/seed_*")}


def rows_of(folder: Path) -> list[dict[str, float]]:
    """A seed's history as W&B names it, empty cells left out."""
    with (folder / "history.csv").open() as file:
        read = list(csv.DictReader(file))

    def named(key: str) -> str:
        prefix, _, rest = key.partition("_")
        return f"{prefix}/{rest}" if prefix in ("train", "validation", "mixing") else key

    return [{named(key): float(value) for key, value in row.items() if value} for row in read]


def assert_is_on_disk(run: WandbRun, folder: Path) -> None:
    """A seed's W&B run says what its folder says, each epoch once."""
    result = json.loads((folder / "result.json").read_text())
    assert run.history == rows_of(folder)
    assert {k: v for k, v in run.summary.items() if k.startswith("test/")} == {
        f"test/{name}": value for name, value in result["test"].items()
    }
    assert {k: v for k, v in run.summary.items() if k.startswith("best/")} == {
        f"best/validation/{name}": value for name, value in result["validation"].items()
    }
    assert run.summary["best_epoch"] == result["best_epoch"] and run.summary["status"] == "finished"
    assert run.exit_code == 0


def assert_all_arrived(server: WandbServer, where: Path) -> None:
    """Every seed on disk is one run of the server, and the other way round."""
    seeds = {run.name: run for run in server.of_type("seed")}
    assert seeds.keys() == on_disk(where).keys()
    for name, folder in on_disk(where).items():
        assert_is_on_disk(seeds[name], folder)


@pytest.mark.slow
def test_every_seed_of_two_sweeps_arrives_once_and_says_both(powmix, server):
    where = powmix(*TINY, "seeds=1", "mixer=none")
    assert not server.runs
    powmix("-m", *TINY, "seeds=2", "mixer=none,powmix", "sweep=first", *ONLINE)
    powmix("-m", *TINY, "seeds=2", "mixer=none,multimix", "sweep=second", *ONLINE)
    assert len(server.of_type("seed")) == 6
    assert_all_arrived(server, where)
    sweeps = {(run.config["mixer"]["name"], *sorted({"first", "second"} & {*run.told["tags"]})) for run in
              server.of_type("seed")}  # fmt: skip
    assert sweeps == {("none", "first", "second"), ("powmix", "first"), ("multimix", "second")}
    for run in server.of_type("seed"):
        assert set(run.config["sweeps"]) == {"first", "second"} & {*run.told["tags"]}
        assert run.told["groupName"].startswith("synthetic/lf_dnn/") and run.told["notes"].startswith("powmix ")


@pytest.mark.slow
def test_a_sweep_is_a_run_too_with_its_comparison_and_pictures_once_however_often_it_is_told(powmix, server, capsys):
    where = powmix("-m", *TINY, "seeds=3", "mixer=none,powmix", "sweep=pair")
    for _ in range(2):
        tell_of_sweep(settings_of(["wandb"], ["wandb.mode=online"]), where / "outputs/sweeps/pair")
    [run] = server.of_type("sweep")
    assert run.told["displayName"] == "sweep pair" and "pair" in run.told["tags"]
    [row] = run.history
    assert row["comparison"]["nrows"] == 12 and row["comparison"]["ncols"] == 12
    assert {"pictures/forest", "pictures/comparison"} <= row.keys()
    [table] = [files for name, files in server.artifacts.items() if name.endswith("comparison")]
    [content] = [json.loads(text) for path, text in table.items() if path.endswith(".table.json")]
    first = dict(zip(content["columns"], content["data"][1]))
    assert first["metric"] == "MAE" and first["variant"] == "PowMix" and first["low"] < first["high"]
    assert "Undecided" in run.summary["verdicts"]
    assert f"{server.url}/me/powmix/runs/{run.name}" in capsys.readouterr().out


def test_metrics_have_their_step_and_the_best_as_summary_and_predictions_are_a_table(powmix, server, capsys):
    where = powmix(*TINY, "seeds=1", *ONLINE)
    [run] = server.runs.values()
    defined = {metric.get("1") or metric.get("2"): metric for metric in run.metrics}
    assert {"epoch", "validation/MAE", "validation/Corr"} <= defined.keys()
    rows = rows_of(next(iter(on_disk(where).values())))
    assert run.summary["validation/MAE"] == {"min": min(row["validation/MAE"] for row in rows)}
    assert run.summary["validation/Corr"] == {"max": max(row["validation/Corr"] for row in rows)}
    assert run.summary["predictions"]["nrows"] == 30 and run.told["jobType"] == "seed"
    assert f"{server.url}/me/powmix/runs/{run.name}" in capsys.readouterr().out


def test_weights_are_an_artifact_by_a_switch_and_a_failure_an_alert(powmix, server):
    where = powmix(*TINY, "seeds=1", *ONLINE, "tracker.wandb.weights=true")
    [name] = [name for name in server.artifacts if name.startswith("weights-")]
    [folder] = on_disk(where).values()
    assert server.artifacts[name]["weights.safetensors"] == (folder / "weights.safetensors").read_bytes()
    with pytest.raises(SystemExit):
        powmix(*TINY, "seeds=1", *ONLINE, "tracker.wandb.alert=true", "optimizer.learning_rate=1e30")
    assert [alert["severity"] for alert in server.alerts] == ["ERROR"]
    assert [run.exit_code for run in server.runs.values()] == [0, 1]


@pytest.mark.slow
def test_what_is_on_disk_is_sent_once_however_often_it_is_asked_for(powmix, server, capsys):
    where = powmix("-m", *TINY, "seeds=2", "mixer=none,powmix", "sweep=early")
    for _ in range(2):
        assert track([str(where / "outputs"), "wandb.mode=online"]) == 0
    assert_all_arrived(server, where)
    assert all("early" in run.told["tags"] for run in server.runs.values())
    [sweep] = server.of_type("sweep")
    assert len(sweep.history) == 1
    assert "2 runs with 4 seeds, 1 sweeps: wandb" in capsys.readouterr().out


def test_offline_logs_go_on_under_one_id_and_a_second_sync_sends_no_row_twice(powmix, server):
    where = powmix(*TINY, "seeds=1")
    for _ in range(2):
        track([str(where / "outputs"), "wandb.mode=offline"])
        [log] = where.glob("outputs/runs/*/wandb/offline-run-*")
    sync(log)
    assert_all_arrived(server, where)
    track([str(where / "outputs"), "wandb.mode=offline"])
    for log in where.glob("outputs/runs/*/wandb/offline-run-*"):
        sync(log)
    assert_all_arrived(server, where)


def sync(log: Path) -> None:
    subprocess.run([sys.executable, "-m", "wandb", "sync", str(log)], check=True, capture_output=True, timeout=60)


def test_rows_that_never_arrived_are_sent_when_a_later_command_meets_the_seed(powmix, server):
    where = powmix(*TINY, "seeds=1", *ONLINE, "trainer.max_epochs=2")
    [run] = server.runs.values()
    del run.lines["wandb-history.jsonl"][1]  # as if killed before it was sent
    assert run.history == rows_of(next(iter(on_disk(where).values())))[:1]
    powmix(*TINY, "seeds=1", *ONLINE, "trainer.max_epochs=2")
    assert_all_arrived(server, where)


def test_under_an_agent_a_trial_is_one_run_with_the_mean_of_its_seeds_beside_it(powmix, server, monkeypatch, tmp_path):
    (tmp_path / "params.yaml").write_text("wandb_version: 1\nmixer.p_mix: {value: 0.3}\n")
    told = {"SWEEP_ID": "swp1", "RUN_ID": "trial1", "SWEEP_PARAM_PATH": str(tmp_path / "params.yaml")}
    for name, value in told.items():
        monkeypatch.setenv(f"WANDB_{name}", value)
    where = powmix(*TINY, "seeds=2", "mixer.p_mix=0.3", *ONLINE)
    [trial] = server.of_type("trial")
    assert trial.name == "trial1" and trial.told["sweep"] == "swp1" and trial.config["mixer.p_mix"] == 0.3
    [result] = [json.loads(path.read_text()) for path in where.glob("outputs/runs/*/result.json")]
    assert trial.summary["objective"] == pytest.approx(result["objective"])
    assert trial.summary["test/MAE"] == pytest.approx(result["mean"]["test"]["MAE"])
    assert [row["seeds"] for row in trial.history] == [1, 2]
    assert_all_arrived(server, where)
    assert all(run.told.get("sweep") is None for run in server.of_type("seed"))
    assert {run.told["groupName"] for run in server.runs.values()} == {trial.told["groupName"]}


@pytest.mark.slow
def test_wandb_agent_itself_gets_a_run_for_each_trial_with_the_mean_over_its_seeds(server, tmp_path):
    command = [sys.executable, "-m", "powmix", *TINY, "seeds=2", *ONLINE, "${args_no_hyphens}"]
    server.sweep = {"program": "powmix", "command": command}
    server.trials = [{"mixer.p_mix": 0.2}, {"mixer.p_mix": 0.7}]
    agent = [sys.executable, "-m", "wandb", "agent", "me/powmix/swp1"]
    ran = subprocess.run(agent, cwd=tmp_path, capture_output=True, text=True, timeout=400)
    assert ran.returncode == 0, ran.stderr
    trials = {run.config["mixer.p_mix"]: run for run in server.of_type("trial")}
    assert trials.keys() == {0.2, 0.7} and {run.told["sweep"] for run in trials.values()} == {"swp1"}
    results = [json.loads(path.read_text()) for path in tmp_path.glob("outputs/runs/*/result.json")]
    assert sorted(run.summary["objective"] for run in trials.values()) == pytest.approx(
        sorted(result["objective"] for result in results)
    )
    assert_all_arrived(server, tmp_path)
    for trial in trials.values():
        seeds = [run for run in server.of_type("seed") if run.told["groupName"] == trial.told["groupName"]]
        assert len(seeds) == 2 and all(run.config["mixer"]["p_mix"] == trial.config["mixer.p_mix"] for run in seeds)


@pytest.mark.slow
def test_a_multirun_of_one_variant_is_an_agents_trial_and_one_of_several_is_refused(powmix, server, monkeypatch):
    for name, value in {"SWEEP_ID": "swp1", "RUN_ID": "trial1"}.items():
        monkeypatch.setenv(f"WANDB_{name}", value)
    with pytest.raises(SystemExit) as refused:
        powmix("-m", *TINY, "seeds=1", "mixer=none,powmix", *ONLINE)
    assert "a trial of `wandb agent` is one variant, got 2" in str(refused.value) and not server.runs
    where = powmix("-m", *TINY, "seeds=1", "mixer=powmix", "mixer.p_mix=0.4", *ONLINE)
    [trial], [seed] = server.of_type("trial"), server.of_type("seed")
    assert trial.name == "trial1" and trial.told["groupName"] == seed.told["groupName"]
    assert_all_arrived(server, where)


def test_a_search_under_an_agent_is_refused(powmix, server, monkeypatch, capsys):
    for name, value in {"SWEEP_ID": "swp1", "RUN_ID": "trial1"}.items():
        monkeypatch.setenv(f"WANDB_{name}", value)
    with pytest.raises(SystemExit):
        powmix("-m", "sweeps=p_mix", *TINY, *ONLINE)
    assert "a search of powmix's own needs no `wandb agent`" in capsys.readouterr().err and not server.runs


@pytest.mark.slow
def test_a_command_that_was_killed_and_continues_leaves_no_row_twice_and_none_out(server, tmp_path):
    long = [TINY[0], TINY[2], "seeds=1", *ONLINE, "trainer.max_epochs=150", "trainer.early_stop=150"]
    command = [sys.executable, "-m", "powmix", *long]
    killed = subprocess.Popen(command, cwd=tmp_path)
    limit = time.monotonic() + 120
    while time.monotonic() < limit and not any(map(has_begun, on_disk(tmp_path).values())):
        time.sleep(0.02)
    killed.send_signal(signal.SIGKILL)
    killed.wait()
    [folder] = on_disk(tmp_path).values()
    assert 10 <= len(rows_of(folder)) < 150 and not (folder / "result.json").exists()
    subprocess.run(command, cwd=tmp_path, check=True)
    assert_all_arrived(server, tmp_path)
    assert len(rows_of(folder)) == 150


def has_begun(folder: Path) -> bool:
    return (folder / "history.csv").is_file() and len(rows_of(folder)) >= 10
