"""The options of `hydra/sweeper=optuna_study`, its pruners and the staged sampler, for Hydra's config store.

They are for any Hydra application. What powmix sets otherwise is in conf/hydra/sweeper/optuna_study.yaml.
"""

from dataclasses import dataclass, field
from functools import partial
from typing import Any

from hydra.core.config_store import ConfigStore
from omegaconf import MISSING, OmegaConf

from powmix.mistakes import POSITIVE, SWITCH, Rule, choice, count, optional

RULES: dict[str, Rule] = {
    "n_trials": count(1),
    "n_jobs": optional(count(1)),
    "trials_per_gpu": count(1),
    "max_deaths": count(1),
    "heartbeat": POSITIVE,
    "grace": POSITIVE,
    "wait_for_others": SWITCH,
    "direction": optional(choice("minimize", "maximize")),
}
"""What each option of the sweeper may be."""

STUDY: dict[str, Any] = {
    "defaults": [{"sampler": "tpe"}, {"pruner": "none"}, "study/options@_here_", {"/hydra/sweep@_global_": "by_study"}]
}
"""`hydra/sweeper=optuna_study` in any application."""
FOLDER = "multirun/${hydra.sweeper.study_name}"
"""A sweep's folder where the application names none: the same for the same study. Hydra's own is named by the time."""


@dataclass
class StagedSamplerConf:
    """The paper's strategy: vary one parameter at a time, the others at their best so far, `rounds` times over."""

    _target_: str = "powmix.search.staged.StagedSampler"
    order: list[str] = field(default_factory=lambda: ["mixer.p_mix", "mixer.n_out"])
    start: dict[str, Any] = field(default_factory=lambda: {"mixer.n_out": 256})
    rounds: int = 2
    seed: int | None = None


@dataclass
class PrunerConf:
    """A pruner by name; the other keys are the options of Optuna's class."""

    name: str = MISSING


@dataclass
class NoPrunerConf(PrunerConf):
    name: str = "none"


@dataclass
class MedianPrunerConf(PrunerConf):
    name: str = "median"
    n_startup_trials: int = 5
    n_warmup_steps: int = 3
    n_min_trials: int = 3


@dataclass
class HyperbandPrunerConf(PrunerConf):
    name: str = "hyperband"
    min_resource: int = 3
    max_resource: Any = "auto"
    reduction_factor: int = 3


@dataclass
class WilcoxonPrunerConf(PrunerConf):
    name: str = "wilcoxon"
    p_threshold: float = 0.1
    n_startup_steps: int = 2


@dataclass
class StudySweeperConf:
    """See docs/search.md for each option."""

    _target_: str = "powmix.search.sweeper.StudySweeper"

    sampler: Any = MISSING
    pruner: Any = MISSING

    # minimize, maximize, or null: what the application's objective asks for (minimize unless it says otherwise)
    direction: str | None = None

    # null: the journal file study.journal in the sweep's folder; a path: a journal file there;
    # sqlite:///file.db; postgresql://... (write '${oc.env:POWMIX_STORAGE}' to keep its password out of the records)
    storage: str | None = None

    # null: the name of the sweep's folder
    study_name: str | None = "${hydra.job.name}"

    # finished trials (complete, pruned or failed) of all processes and all commands together
    n_trials: int = 20

    # trials at once on this machine, each in a process of its own; null: one per GPU slot, or 1
    n_jobs: int | None = None

    # null: leave CUDA_VISIBLE_DEVICES alone; auto: every GPU of this machine; or a list such as [0, 1]
    gpus: Any = None
    trials_per_gpu: int = 1

    # a trial whose process died is asked again, at most this often
    max_deaths: int = 3

    # seconds between heartbeats, and seconds without one after which another machine's process counts as dead
    heartbeat: float = 30.0
    grace: float = 120.0

    # stay until trials that other processes run are finished (and ask them again if those processes die)
    wait_for_others: bool = True

    # the first trials, in this order: {name: [overrides]}
    warm_start: dict[str, Any] = field(default_factory=dict)

    # {key: sweep}, e.g. mixer.p_mix: interval(0.1, 1.0); the command line adds to these
    params: dict[str, Any] = field(default_factory=dict)

    # a `_target_` with distributions() and overrides(params), such as powmix.search.space.SubsetByWidth
    custom_search_space: Any = None

    # keys that may differ between two commands on one study
    ignored: list[str] = field(default_factory=list)


def register() -> None:
    """Make `hydra/sweeper=optuna_study`, `hydra/sweeper/pruner=...` and `hydra/sweeper/sampler=staged` known."""
    store = partial(ConfigStore.instance().store, provider="powmix", replace=True)  # a worker process registers again
    store(group="hydra/sweeper", name="optuna_study", node=STUDY)
    store(group="hydra/sweeper/study", name="options", node=StudySweeperConf)
    store(group="hydra/sweep", name="by_study", node={"hydra": {"sweep": {"dir": FOLDER}}})
    store(group="hydra/sweeper/sampler", name="staged", node=StagedSamplerConf)
    for pruner in (NoPrunerConf, MedianPrunerConf, HyperbandPrunerConf, WilcoxonPrunerConf):
        store(group="hydra/sweeper/pruner", name=pruner.name, node=pruner)
    OmegaConf.register_resolver("gpu_place", _gpu_place, replace=True)


def _gpu_place(gpus: str, trials_per_gpu: int) -> str:
    from powmix.command.gpus import keep_place

    return keep_place(gpus, trials_per_gpu)
