"""The launcher of a sweep's own process: its jobs are composed as Hydra composes them, most of them only once."""

import pytest
from hydra import initialize_config_dir
from hydra.core.global_hydra import GlobalHydra
from hydra.errors import HydraException
from hydra.types import RunMode
from omegaconf import OmegaConf

from powmix.command.composition import register_resolvers
from powmix.command.launchers import Composer
from powmix.places import CONF

TRIAL = "++trial={study:s,storage:'a.journal',id:%d,number:%d}"


@pytest.fixture
def sweep():
    """Hydra's loader, and a sweep's configuration that it composed."""
    register_resolvers()
    with initialize_config_dir(str(CONF)):
        loader = GlobalHydra.instance().config_loader()
        master = loader.load_configuration("config", ["sweep=s", "hydra.verbose=false"], RunMode.MULTIRUN)
        yield loader, master


class Counting:
    """Hydra's loader, which counts."""

    def __init__(self, loader):
        self.loader, self.composed = loader, []

    def get_group_options(self, name):
        return self.loader.get_group_options(name)

    def load_sweep_config(self, master, overrides):
        self.composed.append(overrides)
        return self.loader.load_sweep_config(master, overrides)


JOBS = {
    "values": [["mixer.p_mix=0.1", "seeds=2"], ["mixer.p_mix=0.2", "seeds=[5,6]"], ["mixer.p_mix=null", "seeds=1"]],
    "trials": [["mixer.p_mix=0.1", TRIAL % (1, 0)], ["mixer.p_mix=0.2", TRIAL % (2, 1)]],
    "interpolated": [["sweep=a", "objective='${model.name}'"], ["sweep=b", "objective=MAE"]],
    "sections": [["dataset.sizes={train: 9, valid: 8, test: 7}"], ["dataset.sizes={train: 1, valid: 2, test: 3}"]],
}
OTHER_KINDS = {
    "groups": [["mixer=none", "seeds=1"], ["mixer=powmix", "seeds=1"], ["model=mult", "seeds=1"]],
    "keys": [["seeds=1"], ["seeds=1", "task=regression"], ["task=regression", "seeds=1"]],
    "sections": [["dataset.sizes={train: 9}"], ["dataset.sizes={train: 9, valid: 8}"], ["dataset.sizes=null"]],
    "removed": [["seeds=1", "~mixer.p_mix"], ["seeds=1", "~mixer.subset"]],
    "added": [["+mixer.own=1"], ["+mixer.own=2"]],
    "Hydra's": [["++hydra.job.env_set.A='1'"], ["++hydra.job.env_set.A='2'"]],
}


@pytest.mark.parametrize(
    "jobs", [*JOBS.values(), *OTHER_KINDS.values()], ids=[*JOBS, *(f"other {k}" for k in OTHER_KINDS)]
)
def test_every_job_is_what_hydras_own_loader_says(sweep, jobs):
    loader, master = sweep
    composer = Composer(loader)
    for job in [*jobs, *reversed(jobs)]:
        made, expected = composer.load_sweep_config(master, job), loader.load_sweep_config(master, job)
        assert OmegaConf.to_yaml(made) == OmegaConf.to_yaml(expected)
        made.hydra.job.num, made.seeds = 7, 123  # what a job does with its own is nobody else's


@pytest.mark.parametrize(
    ("jobs", "times"), [*((jobs, 1) for jobs in JOBS.values()), *((jobs, len(jobs)) for jobs in OTHER_KINDS.values())]
)
def test_jobs_that_differ_in_values_alone_are_composed_once(sweep, jobs, times):
    loader, master = sweep
    counting = Counting(loader)
    composer = Composer(counting)
    for job in [*jobs, *jobs]:
        composer.load_sweep_config(master, job)
    assert len(counting.composed) == times


@pytest.mark.parametrize("wrong", ["mixer.p_mux=1", "hydra/sweeper=optuna", "hydra.launcher._target_=x"])
def test_a_later_job_is_refused_as_hydra_refuses_it(sweep, wrong):
    loader, master = sweep
    composer = Composer(loader)
    composer.load_sweep_config(master, ["mixer.p_mix=1"])
    with pytest.raises(HydraException):
        composer.load_sweep_config(master, [wrong])
