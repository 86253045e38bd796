"""A search from its command to its summary: read the options, open the study, run trials, say what was found."""

import logging
import os
import time
import warnings
from collections.abc import Mapping
from contextlib import nullcontext
from pathlib import Path
from typing import Any, Literal, cast

import optuna
from hydra.core.plugins import Plugins
from hydra.plugins.launcher import Launcher
from hydra.plugins.sweeper import Sweeper
from hydra.types import HydraContext, TaskFunction
from hydra.utils import instantiate
from omegaconf import DictConfig, OmegaConf, flag_override
from optuna.exceptions import ExperimentalWarning
from optuna.trial import Trial

from powmix.command.gpus import list_gpus, n_slots, slot
from powmix.mistakes import broken, refuse
from powmix.search import samplers
from powmix.search.application import Application
from powmix.search.config import RULES
from powmix.search.launching import launch
from powmix.search.link import HIDDEN
from powmix.search.reporting import PRUNER
from powmix.search.space import SearchSpace, differences, key_of, over, suggest
from powmix.search.storage import (
    check_storage,
    exclusive,
    holds_password,
    load_study,
    open_storage,
    patiently,
    resolve,
    shown,
)
from powmix.search.summary import Summary
from powmix.search.trials import FAILED, LABEL, OUTSIDE, OVERRIDES, Heartbeat, Trials, id_of, status_of
from powmix.search.workers import run_workers
from powmix.training.interruption import sigterm_as_interrupt

log = logging.getLogger(__name__)
SPACE, SEED = "space", "seed"
ANY = Application()


class StudySweep(Sweeper):
    """Hydra's sweeper for one study that many processes share.

    `failed`, after the sweep: how many trials have no value (pruned ones have the last that they reported).
    """

    config: DictConfig
    launcher: Launcher
    failed: int

    def __init__(self, application: Application = ANY, **options: Any) -> None:
        self.application = application
        self.options = OmegaConf.create(options, flags={"allow_objects": True})

    def setup(self, *, hydra_context: HydraContext, task_function: TaskFunction, config: DictConfig) -> None:
        self.config, self.hydra_context, self.sweep_dir = config, hydra_context, config.hydra.sweep.dir
        self._hide_password()
        self.launcher = Plugins.instance().instantiate_launcher(
            config=config, hydra_context=hydra_context, task_function=task_function
        )

    def sweep(self, arguments: list[str]) -> None:
        """Run the search that the options and the command line describe."""
        self.read(arguments)
        try:
            with sigterm_as_interrupt():
                self._start_study()
                run_workers(self.n_jobs, self._work)
        except KeyboardInterrupt:
            log.warning("interrupted: the same command continues this study")
            raise
        self._conclude()

    def read(self, arguments: list[str]) -> None:
        """Check all that the options and the command line say, before anything is written. Errors: ValueError."""
        options, self.arguments = self.options, arguments
        wrong = broken(RULES, cast(Mapping[str, Any], options), "hydra.sweeper.")
        if not wrong and options.grace <= options.heartbeat:
            wrong = [f"hydra.sweeper.grace must be longer than heartbeat={options.heartbeat:g}, got {options.grace:g}"]
        refuse(wrong)
        derived = options.custom_search_space and instantiate(
            options.custom_search_space, _execution_whitelist_=("powmix.search.*",)
        )
        configured = [f"{key}={sweep}" for key, sweep in options.params.items()]
        self.space = SearchSpace.parse(configured, arguments, derived)
        self.warm_start = {str(name): list(overrides) for name, overrides in options.warm_start.items()}
        self.sampler_options, self.pruner_options = _plain(options.sampler), _plain(options.pruner)
        self.pruner = samplers.build_pruner(self.pruner_options)
        self.gpus = list_gpus(options.gpus)
        self.n_jobs = options.n_jobs or max(n_slots(self.gpus, options.trials_per_gpu), 1)
        self.url = resolve(options.storage, self.sweep_dir)
        check_storage(self.url)
        self.study_name = options.study_name or Path(self.sweep_dir).resolve().name
        self._give_out()
        self.validate_batch_is_legal([self.space.fixed])

    def _hide_password(self) -> None:
        """Put a storage URL that holds a password into the environment, and its name into what Hydra writes down."""
        url = self.options.storage
        told = _plain(self.config.hydra.sweeper, resolve=False).get("storage")
        if not (isinstance(url, str) and holds_password(url)) or "${" in str(told):
            return
        log.warning(
            f"the password of {shown(url)} stands in the command or in a file: better "
            "export POWMIX_STORAGE=... and hydra.sweeper.storage='${oc.env:POWMIX_STORAGE}'"
        )
        os.environ[HIDDEN] = url
        hidden = f"${{oc.env:{HIDDEN}}}"
        with flag_override(self.config.hydra, ["readonly", "struct"], False):
            self.config.hydra.sweeper.storage = hidden
            given = cast(list[str], OmegaConf.to_container(self.config.hydra.overrides.hydra))
            kept = [text for text in given if key_of(text) != "hydra.sweeper.storage"]
            # These compose each job once more, and are written down with it.
            self.config.hydra.overrides.hydra = [*kept, f"hydra.sweeper.storage={hidden}"]

    def _give_out(self) -> None:
        """What the first trials are: `given` parameters by number (None: outside the space), and the total."""
        warm = [self.space.inside(overrides) for overrides in self.warm_start.values()]
        self.is_grid, self.n_trials = samplers.is_grid(self.sampler_options), self.options.n_trials
        points = samplers.grid_points(self.space.distributions) if self.is_grid else []
        self.given = [*warm, *(point for point in points if point not in warm)]
        if self.is_grid:
            self.n_trials = min(self.n_trials, len(self.given))

    @property
    def _direction(self) -> str:
        return self.options.direction or self.application.direction(self.config)

    def _start_study(self) -> None:
        """Create the study or join it; refuse one with another search space."""
        optuna.logging.set_verbosity(optuna.logging.WARNING)
        Path(self.sweep_dir).mkdir(parents=True, exist_ok=True)
        open_storage(self.url)
        patiently(self._create_or_join)
        shared = f", shared at {shown(self.url)}" if self.options.storage else ""
        log.info(f"search {self.study_name}: {self.n_trials} trials in all{shared}")

    def _create_or_join(self) -> None:
        with exclusive(self.url, self.study_name):
            study = optuna.create_study(
                study_name=self.study_name,
                storage=open_storage(self.url),
                direction=cast(Literal["minimize", "maximize"], self._direction),
                load_if_exists=True,
            )
            self._refuse_other_search(study)
            study.set_user_attr(SPACE, self._described())
            study.set_user_attr(PRUNER, self.pruner_options)
            if name := self.application.metric(self.config):
                with warnings.catch_warnings(category=ExperimentalWarning, action="ignore"):
                    study.set_metric_names([name])
            if SEED not in study.user_attrs:
                given = self.sampler_options.get("seed")
                study.set_user_attr(SEED, time.time_ns() % 2**31 if given is None else given)

    def _described(self) -> dict[str, str]:
        """What must not change between two commands, lest a number stand for two different trials."""
        warm = {f"warm_start.{name}": f"{name}={overrides}" for name, overrides in self.warm_start.items()}
        return {**self.space.describe(self.options.ignored), **warm, "grid": f"grid={self.is_grid}"}

    def _refuse_other_search(self, study: optuna.Study) -> None:
        before = study.user_attrs.get(SPACE)
        changed = differences(before, self._described()) if before is not None else []
        if study.direction.name.lower() != self._direction:
            changed.append(f"  direction: was {study.direction.name.lower()}, now {self._direction}")
        if changed:
            raise ValueError(
                f"study {self.study_name} was started with another search:\n"
                + "\n".join(changed)
                + "\nUndo the change, or start another study: hydra.sweeper.study_name=NAME or another hydra.sweep.dir"
            )

    def _work(self, worker: int) -> None:
        """Take trials until none is left; then wait for those of other processes, which may die and leave theirs."""
        with slot(self.gpus, self.options.trials_per_gpu) as gpu:
            study = load_study(self.url, self.study_name, pruner=self.pruner)
            seed = patiently(lambda: study.user_attrs)[SEED]
            trials = Trials(
                study,
                self.url,
                self.n_trials,
                lambda trial: self._sample(trial, seed),
                self.options.max_deaths,
                self.options.grace,
            )
            pause = 0.05
            while True:
                trial = trials.take()
                if trial is not None:
                    self._run(trials, trial, gpu)
                    pause = 0.05
                elif not self.options.wait_for_others or trials.all_finished():
                    return
                else:
                    time.sleep(pause)
                    pause = min(2 * pause, 2.0)

    def _sample(self, trial: Trial, seed: int) -> None:
        """Choose the parameters of a trial, and write down the overrides that they are.

        A trial's number says what it is: a warm start, a point of the grid, or one for the sampler.
        """
        number, is_given = trial.number, trial.number < len(self.given)
        if number < len(self.warm_start):
            label, overrides = list(self.warm_start.items())[number]
            trial.set_user_attr(LABEL, label)
            if self.given[number] is None:
                trial.set_user_attr(OUTSIDE, True)
                trial.set_user_attr(OVERRIDES, overrides)
                return
        if is_given:
            trial.study.sampler = samplers.fixed_sampler(cast(Mapping[str, Any], self.given[number]))
        else:
            trial.study.sampler = samplers.build_sampler(
                self.sampler_options, number, seed, len(self.warm_start), self.n_trials
            )
        # Optuna's QMC counts its points in the study, and two processes at once would take the same one.
        alone = exclusive(self.url, self.study_name) if samplers.is_qmc(self.sampler_options) else nullcontext()
        with alone:
            for name, law in self.space.distributions.items():
                suggest(trial, name, law)
        if OVERRIDES not in trial.user_attrs:
            trial.set_user_attr(OVERRIDES, self.space.overrides(trial.params))

    def _overrides(self, trial: Trial, gpu: str | None) -> list[str]:
        """The job's overrides: the command's, the trial's, and the way back to its study."""
        storage = _plain(self.config.hydra.sweeper, resolve=False).get("storage")
        url = _quoted(self.url)
        if isinstance(storage, str) and "${" in storage:
            # An interpolated URL goes on unresolved, so that its password is in no record of the job.
            url, os.environ[HIDDEN] = storage, self.url
        place = [] if gpu is None else [f"++hydra.job.env_set.CUDA_VISIBLE_DEVICES={_quoted(gpu)}"]
        return [
            *over(self.space.fixed, trial.user_attrs[OVERRIDES]),
            *self.application.link(_quoted(self.study_name), url, id_of(trial), trial.number),
            *place,
        ]

    def _run(self, trials: Trials, trial: Trial, gpu: str | None) -> None:
        """One trial: launch its job, tell the study how it ended; an interrupt gives the trial back."""
        try:
            overrides = patiently(lambda: self._overrides(trial, gpu))
            with Heartbeat(trials, trial, self.options.heartbeat):
                outcome = launch(self.launcher, trial, overrides, self.options.max_deaths)
        except BaseException:
            trials.give_back(trial)
            raise
        if not trials.finish(trial, outcome):
            log.warning(f"trial {trial.number}: taken over by another process meanwhile; this result is dropped")
            return
        said = outcome.status if outcome.value is None else f"{outcome.status}, {outcome.value:.6g}"
        error = "" if outcome.error is None else f": {outcome.error}"
        log.log(logging.WARNING if error else logging.INFO, f"trial {trial.number} {said}{error}")

    def _conclude(self) -> None:
        """Print and keep the summary; ValueError when no trial gave a value."""
        study = load_study(self.url, self.study_name)
        found = patiently(lambda: study.get_trials(deepcopy=False))
        trials = [trial for trial in found if trial.number < self.n_trials and trial.state.is_finished()]
        searched = {*self.space.distributions, "sweep"}
        fixed = [text for text in self.arguments if key_of(text) not in searched]
        fixed = self.application.single(fixed, self.config)
        summary = Summary(
            study, trials, Path(self.sweep_dir).resolve(), self.application.command(), fixed, self.application.baseline
        )
        record, lines = patiently(lambda: (summary.record(), summary.lines()))
        OmegaConf.save(OmegaConf.create(record), Path(self.sweep_dir) / "optimization_results.yaml")
        log.info("\n".join(lines))
        self.failed = sum(status_of(trial) in FAILED for trial in trials)
        if summary.best is None and len(trials) >= self.n_trials:
            raise ValueError(f"study {self.study_name}: none of {len(trials)} trials was completed")


def _plain(section: Any, resolve: bool = True) -> dict[str, Any]:
    return cast(dict[str, Any], OmegaConf.to_container(section, resolve=resolve))


def _quoted(text: object) -> str:
    """A value that Hydra's grammar takes as one string."""
    escaped = str(text).replace("\\", "\\\\").replace("'", "\\'")
    return f"'{escaped}'"
