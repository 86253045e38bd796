"""`hydra/sweeper=optuna_study` in a Hydra application that is not powmix: examples/any_hydra_app, as users run it."""

import subprocess
import sys
import time
from pathlib import Path

import commands
import pytest
from commands import Command
from optuna.trial import FrozenTrial, TrialState

from powmix.search.launching import Outcome, SeveralObjectives
from powmix.search.storage import load_study

EXAMPLE = Path(__file__).resolve().parents[1] / "examples" / "any_hydra_app"
SEARCH = ["-m", "+search=descent", "hydra.sweeper.sampler.seed=1"]


def start(folder: Path, *words: str, app: Path = EXAMPLE / "app.py", **variables: str) -> Command:
    return commands.start(folder, app, *words, HYDRA_FULL_ERROR="0", **variables)


def run(folder: Path, *words: str, app: Path = EXAMPLE / "app.py", expect: int = 0) -> str:
    return commands.run(folder, app, *words, expect=expect, HYDRA_FULL_ERROR="0")


def trials(folder: Path, storage: str = "multirun/descent/study.journal") -> list[FrozenTrial]:
    return load_study(storage if "://" in storage else str(folder / storage), "descent").get_trials()


def jobs_begun(folder: Path) -> dict[int, int]:
    """When each trial's job was begun, by its number; a job that is run again writes its files again."""
    written = (folder / "multirun" / "descent").glob("*/.hydra/config.yaml")
    return {int(path.parts[-3]): path.stat().st_mtime_ns for path in written}


@pytest.mark.slow
def test_a_killed_search_continues_by_the_same_command_to_its_exact_total_and_prunes(tmp_path):
    command = [*SEARCH, "seconds=0.02", "hydra.sweeper.n_trials=10"]
    process = start(tmp_path, *command)
    deadline = time.monotonic() + 60
    while not (tmp_path / "multirun/descent/4/.hydra/config.yaml").exists():
        assert process.poll() is None and time.monotonic() < deadline, process.communicate()[0]
        time.sleep(0.02)
    process.kill()
    process.communicate()
    *done, torn = trials(tmp_path)
    begun = jobs_begun(tmp_path)
    assert len(done) >= 4 and all(trial.state.is_finished() for trial in done) and torn.state is TrialState.RUNNING

    text = run(tmp_path, *command)
    found, begun_now = trials(tmp_path), jobs_begun(tmp_path)
    assert found[: len(done)] == done and all(begun_now[trial.number] == begun[trial.number] for trial in done)
    assert found[torn.number].params == torn.params and found[torn.number].user_attrs["deaths"] == 1
    assert f"trial {torn.number}: its process died; it is asked again" in text
    assert [trial.number for trial in found] == list(range(10)) and all(trial.state.is_finished() for trial in found)

    pruned = [trial for trial in found if trial.state is TrialState.PRUNED]
    assert pruned and all(len(trial.intermediate_values) < 20 for trial in pruned)
    complete = [trial for trial in found if trial.state is TrialState.COMPLETE]
    assert all(trial.value == trial.intermediate_values[19] for trial in complete)
    assert len(pruned) + len(complete) == 10
    assert "rate: was Float(" in run(tmp_path, *command, "rate=interval(0,1)", expect=1)


@pytest.mark.slow
def test_two_processes_share_one_study_whose_place_is_in_the_environment_alone(tmp_path):
    place = f"sqlite:///{tmp_path}/place.db"
    command = [*SEARCH, "seconds=0.03", "hydra.sweeper.n_trials=6", "hydra.sweeper.storage='${oc.env:PLACE}'"]
    processes = [start(tmp_path, *command, PLACE=place) for _ in range(2)]
    for process in processes:
        text, _ = process.communicate(timeout=120)
        assert process.returncode == 0 and "search descent: 6 trials: " in text, text
    found = trials(tmp_path, place)
    assert len(found) == 6 and all(trial.intermediate_values and trial.state.is_finished() for trial in found)
    assert len({trial.params["rate"] for trial in found}) == 6
    assert {trial.user_attrs["owner"]["pid"] for trial in found} == {process.pid for process in processes}
    records = [path.read_text() for path in (tmp_path / "multirun").rglob("*.yaml")]
    assert records and not any("place.db" in record for record in records)


def test_an_app_without_report_is_searched_and_a_failed_trial_is_said_by_the_exit_code(tmp_path):
    app = tmp_path / "app.py"
    lines = (EXAMPLE / "app.py").read_text().splitlines()
    app.write_text("\n".join(line for line in lines if "report" not in line or line.startswith("#")))
    (tmp_path / "conf").symlink_to(EXAMPLE / "conf")
    command = ["-m", "hydra/sweeper=optuna_study", "hydra/sweeper/sampler=grid", "rate=choice(0.01,fast,0.02)"]
    text = run(tmp_path, *command, "hydra.sweeper.direction=maximize", app=app, expect=3)
    assert "search app: 3 trials: 2 complete, 1 failed" in text and "trial 1 failed: TypeError" in text
    assert f"rerun:  python {app} rate=0.01" in text


def test_a_plain_run_and_a_plain_multirun_need_neither_optuna_nor_torch(tmp_path):
    for words in (["rate=0.05"], ["-m", "rate=0.05,0.01"]):
        command = [sys.executable, "-X", "importtime", EXAMPLE / "app.py", *words]
        told = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=True).stderr
        imported = {line.rpartition("|")[2].strip().partition(".")[0] for line in told.splitlines()}
        assert "powmix" in imported and not imported & {"optuna", "torch", "numpy", "sqlalchemy"}


def test_a_second_objective_is_refused():
    with pytest.raises(SeveralObjectives, match="a study has one objective"):
        Outcome.of_value((0.1, 0.2))
