"""TensorBoard and MLflow keep what is on disk; several trackers at once; what a broken one costs."""

import json
import sys
from pathlib import Path

import pytest

from powmix.__main__ import main
from powmix.command.overrides import check_command
from powmix.tracking.__main__ import main as track
from powmix.tracking.__main__ import settings_of, sweeps_of
from powmix.tracking.tracker import Told, Tracker, results

TINY = ["dataset.sizes={train: 60, valid: 30, test: 30}", "trainer.max_epochs=3", "trainer.device=cpu"]
RECORD = {"test": {"MAE": 1.0}, "validation": {"MAE": 0.5}, "best_epoch": 1, "epochs": 2, "seconds": 1.0}


@pytest.fixture
def powmix(tmp_path, monkeypatch):
    """The command, run in this process in an empty working directory; returns that directory."""
    monkeypatch.chdir(tmp_path)

    def call(*arguments: str) -> Path:
        monkeypatch.setattr(sys, "argv", ["powmix", *arguments])
        main()
        return tmp_path

    return call


def seeds_of(where: Path) -> dict[str, dict]:
    """{signature-seed: its result.json}."""
    found = where.glob("outputs/runs/*/seed_*/result.json")
    return {f"{p.parts[-3]}-{p.parts[-2][5:]}": json.loads(p.read_text()) for p in found}


def test_tensorboard_has_every_epoch_once_and_the_results_however_often_a_command_meets_the_seed(powmix):
    pytest.importorskip("tensorboard")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    where = powmix(*TINY, "seeds=1")
    powmix(*TINY, "seeds=2", "tracker=tensorboard")
    powmix(*TINY, "seeds=2", "tracker=tensorboard")
    for identity, result in seeds_of(where).items():
        [folder] = where.glob(f"outputs/tensorboard/*{identity[:6]}/seed_{identity[-4:]}")
        events = EventAccumulator(str(folder)).Reload()
        assert [event.step for event in events.Scalars("validation/MAE")] == list(range(1, result["epochs"] + 1))
        [test] = events.Scalars("test/MAE")
        assert test.value == pytest.approx(result["test"]["MAE"])


def test_a_sweep_in_tensorboard_is_its_table_and_its_pictures(powmix):
    pytest.importorskip("tensorboard")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    where = powmix("-m", *TINY, "seeds=1", "mixer=none,powmix", "sweep=pair", "tracker=tensorboard")
    tags = EventAccumulator(str(where / "outputs/tensorboard/sweeps/pair")).Reload().Tags()
    assert "comparison" in tags["images"] and "comparison/text_summary" in tags["tensors"]


@pytest.mark.slow
def test_mlflow_has_every_epoch_once_below_the_variants_run_with_every_sweep(powmix):
    mlflow = pytest.importorskip("mlflow")
    pytest.importorskip("mlflow.store.tracking.sqlalchemy_store")
    where = powmix("-m", *TINY, "seeds=1", "mixer=none,powmix", "sweep=first")
    for sweep in ("first", "second"):
        powmix("-m", *TINY, "seeds=2", "mixer=none,powmix", f"sweep={sweep}", "tracker=mlflow")
    client = mlflow.MlflowClient(tracking_uri="sqlite:///outputs/mlflow.db")
    runs = client.search_runs([client.get_experiment_by_name("powmix").experiment_id], max_results=100)
    by_id = {run.data.tags["powmix.id"]: run for run in runs}
    assert len(by_id) == len(runs) == 4 + 2 + 2  # seeds, variants, sweeps
    for identity, result in seeds_of(where).items():
        run = by_id[identity]
        steps = [one.step for one in client.get_metric_history(run.info.run_id, "validation/MAE")]
        assert steps == list(range(1, result["epochs"] + 1))
        assert len(client.get_metric_history(run.info.run_id, "test/MAE")) == 1
        assert run.data.metrics["test/MAE"] == result["test"]["MAE"] and run.info.status == "FINISHED"
        assert {"powmix.sweep.first", "powmix.sweep.second"} <= run.data.tags.keys()
        assert run.data.tags["mlflow.parentRunId"] == by_id[identity[:12]].info.run_id


def test_several_trackers_are_chosen_at_once_each_with_its_own_options():
    pytest.importorskip("tensorboard")
    both = ["tracker=[wandb,tensorboard]", "tracker.wandb.project=mine", "tracker.tensorboard.folder=x"]
    assert check_command(both) == []


def test_a_wrong_choice_of_trackers_and_one_whose_package_is_missing_are_named_before_anything_begins(monkeypatch):
    monkeypatch.setattr("powmix.tracking.find_spec", lambda name: None if name == "mlflow" else name)
    assert check_command(["tracker=mlflow"]) == [
        "tracker=mlflow needs the package mlflow: pip install 'powmix[mlflow]'"
    ]
    [wrong] = check_command(["tracker=[wandb,tensorbord]"])
    assert wrong == "tracker=[wandb,tensorbord]: no such option (did you mean tensorboard?)"
    [wrong] = check_command(["mixer=[none,powmix]"])
    assert wrong.startswith("mixer=[none,powmix]: only one can be chosen")
    [wrong] = check_command(["tracker=wandb", "tracker.wandb.mode=onlin"])
    assert wrong.startswith("tracker.wandb.mode must be one of auto, online, offline, got 'onlin'")


def test_the_options_of_powmix_track_are_those_of_the_trackers():
    assert settings_of(["tensorboard"], ["tensorboard.folder=x"]) == {"tensorboard": {"folder": "x"}}
    assert settings_of(["mlflow"], [])["mlflow"]["uri"] == "sqlite:///outputs/mlflow.db"
    with pytest.raises(ValueError, match=r"wandbb.*did you mean wandb"):
        settings_of(["wandbb"], [])
    with pytest.raises(ValueError, match=r"option of wandb.*did you mean project"):
        settings_of(["wandb"], ["wandb.projekt=x"])
    assert track(["nowhere"]) == 2


class Recording(Tracker):
    """A tracker that has `known` epochs of every seed already, and breaks where it is told to."""

    name = "recording"
    known = 0
    breaks: str | None = None

    def __init__(self, told: Told) -> None:
        super().__init__({}, told)
        self.heard: list[tuple] = []

    def start(self, seed: int, is_live: bool) -> int:
        self.heard.append(("start", seed, is_live))
        return self.known

    def row(self, seed, epoch, values):
        if self.breaks == "row":
            raise ConnectionError("away\nfor ever")
        self.heard.append(("row", epoch))

    def result(self, seed, record):
        self.heard.append(("result", results(record)["best/validation/MAE"]))

    def stop(self, seed, status):
        self.heard.append(("stop", status))


@pytest.fixture
def told(tmp_path):
    (tmp_path / "seed_7").mkdir()
    (tmp_path / "seed_7/history.csv").write_text("epoch,validation_MAE\n1,0.5\n2,0.7\n")
    result = {"name": "a/b/c", "signature": "s", "variant": {}, "command": "powmix", "objective_metric": "MAE"}
    return Told.of({}, result, tmp_path, [])


def test_a_finished_seed_is_told_from_its_files_and_only_what_is_not_there_already(told):
    tracker = Recording(told)
    tracker.known = 1
    tracker.on_seed_end(7, {**RECORD, "folder": "seed_7"})
    assert tracker.heard == [("start", 7, False), ("row", 2), ("result", 0.5)]


def test_a_seed_that_goes_on_is_told_the_epochs_of_earlier_commands_first(told):
    tracker = Recording(told)
    tracker.known = 1
    tracker.on_seed_start(7, 3)
    tracker.on_seed_continued(7, [{"epoch": 1, "validation_MAE": 0.5}, {"epoch": 2, "validation_MAE": 0.7}])
    tracker.on_epoch(7, {"epoch": 3, "validation_MAE": None})
    tracker.close("interrupted")
    assert tracker.heard == [("start", 7, True), ("row", 2), ("row", 3), ("stop", "interrupted")]


def test_a_tracker_that_breaks_stops_no_training_and_says_once_how_to_send_it_later(told, caplog):
    tracker = Recording(told)
    tracker.breaks = "row"
    tracker.on_seed_start(7, 3)
    for epoch in (1, 2):
        tracker.on_epoch(7, {"epoch": epoch})
    [said] = caplog.messages
    assert said == f"tracker=recording: away; the training goes on, and `powmix-track {told.folder}` sends it later"


def test_a_runs_sweeps_are_those_that_it_knows_and_those_whose_job_it_is(tmp_path):
    from report_runs import write_run, write_sweep

    run = write_run(tmp_path, "none")
    beside, elsewhere = write_sweep(tmp_path, "beside", [run]), write_sweep(tmp_path / "more", "elsewhere", [run])
    write_sweep(tmp_path, "other", [])
    assert sweeps_of(run, {"sweeps": ["known"], "sweep": "beside"}, [elsewhere]) == ["known", "beside", "elsewhere"]
    assert beside.is_dir()


def test_powmix_track_names_every_package_that_is_missing_at_once(monkeypatch, capsys, tmp_path):
    monkeypatch.setattr("powmix.tracking.find_spec", lambda name: None)
    assert track([str(tmp_path), "--to", "mlflow,tensorboard"]) == 2
    told = capsys.readouterr().err
    assert all(f"tracker={name} needs the package {name}" in told for name in ("mlflow", "tensorboard"))
