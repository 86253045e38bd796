"""Searches through the launchers that are installed: each really starts its jobs elsewhere."""

import pytest
from test_search_sweep import assert_each_once, lines, run

pytestmark = pytest.mark.slow


@pytest.mark.parametrize(
    ("launcher", "options"),
    [
        ("joblib", ["hydra.launcher.n_jobs=1", "hydra.launcher.backend=multiprocessing"]),
        ("joblib", ["hydra.launcher.n_jobs=2"]),
        ("submitit_local", ["hydra.launcher.timeout_min=5"]),
        ("ray", ["+hydra.launcher.ray.init.num_cpus=1", "+hydra.launcher.ray.init.include_dashboard=false"]),
    ],
)
def test_a_search_runs_its_trials_through_a_launcher(tmp_path, launcher, options):
    package = {"submitit_local": "submitit"}.get(launcher, launcher)
    pytest.importorskip(f"hydra_plugins.hydra_{package}_launcher")
    run(tmp_path, "hydra.sweeper.n_trials=3", f"hydra/launcher={launcher}", *options)
    assert_each_once(tmp_path, 3)


def test_two_submitit_jobs_at_once(tmp_path):
    pytest.importorskip("submitit")
    run(tmp_path, "hydra.sweeper.n_trials=4", "hydra.sweeper.n_jobs=2", "hydra/launcher=submitit_local", "seconds=1")
    assert_each_once(tmp_path, 4)
    assert len({starts[0].split()[0] for starts in lines(tmp_path, "started").values()}) == 4
