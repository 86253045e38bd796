"""A comparison whose worker processes are killed: the jobs are run again, and one that always dies stops no other."""

import json
import math
import os
import re
import signal
import time

import commands
import pytest
from hydra.core.utils import JobReturn, JobStatus

from powmix.command.launchers import Processes
from powmix.runs.records import read_jobs, write_job


class TerminatedWorkerError(RuntimeError):
    """As joblib names it."""


class Workers:
    """In joblib's place: a launch raises where a worker is killed, which happens to job 1 `deaths` times."""

    def __init__(self, deaths):
        self.deaths, self.launches = deaths, []

    def launch(self, jobs, first):
        self.launches.append([first + index for index in range(len(jobs))])
        if self.deaths and 1 in self.launches[-1]:
            self.deaths -= 1
            raise TerminatedWorkerError("a worker was killed")
        return [JobReturn(status=JobStatus.COMPLETED, _return_value=0.5) for _ in jobs]


@pytest.fixture
def launched(tmp_path):
    def launch(deaths, jobs):
        pytest.importorskip("hydra_plugins.hydra_joblib_launcher")
        launcher = Processes()
        launcher._launcher, launcher._sweep = Workers(deaths), tmp_path
        for number, overrides in enumerate(jobs):
            write_job(tmp_path / str(number), number=number, overrides=overrides, status="running")
        return [job.return_value for job in launcher.launch(jobs, 0)], launcher._launcher.launches

    return launch


JOBS = [["seeds=1"], ["seeds=2"], ["seeds=3"]]


def test_after_a_kill_the_jobs_are_launched_again(launched):
    assert launched(1, JOBS) == ([0.5, 0.5, 0.5], [[0, 1, 2], [0, 1, 2]])


def test_a_job_that_dies_each_time_is_said_failed_and_the_others_are_finished(launched, tmp_path):
    values, launches = launched(99, JOBS)
    assert launches == [[0, 1, 2], [0, 1, 2], [0], [1], [2]]
    assert [values[0], values[2]] == [0.5, 0.5] and math.isnan(values[1])
    record = read_jobs(tmp_path)[1]
    assert record["status"] == "failed" and "the same command continues" in record["error"]


def test_a_trial_of_a_search_is_left_to_its_study(launched):
    with pytest.raises(TerminatedWorkerError):
        launched(2, [["seeds=1", "++trial={id:3}"], ["seeds=2"]])


@pytest.mark.slow
def test_a_comparison_finishes_though_a_worker_is_killed(tmp_path):
    pytest.importorskip("hydra_plugins.hydra_joblib_launcher")
    command = ["-m", "powmix", "-m", "mixer=none,manifold_mixup", "hydra/launcher=processes"]
    command += ["seeds=1", "trainer.max_epochs=200", "trainer.early_stop=200", "dataset.sizes={train: 120, valid: 40}"]
    running = commands.start(tmp_path, *command)
    while not (found := list(tmp_path.glob("outputs/runs/*/seed_1111/checkpoint.pt"))):
        assert running.poll() is None
        time.sleep(0.05)
    holder = (found[0].parents[1] / ".holder").read_text()
    os.kill(int(re.match(r"process (\d+) ", holder)[1]), signal.SIGKILL)
    running.communicate(timeout=300)
    assert running.returncode == 0
    results = [json.loads(path.read_text()) for path in tmp_path.glob("outputs/runs/*/result.json")]
    assert [result["status"] for result in results] == ["finished", "finished"]
