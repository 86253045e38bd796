"""A search from its command to its summary: open the study, let workers take trials, say what was found."""

import logging
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal, cast

import optuna
from hydra.errors import HydraException
from hydra.plugins.launcher import Launcher
from hydra.utils import instantiate
from hydra_plugins.hydra_optuna_sweeper._impl import OptunaSweeperImpl
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException
from optuna.trial import FrozenTrial, Trial

from powmix.command.gpus import list_gpus, n_slots, slot
from powmix.metrics.columns import direction
from powmix.search import samplers
from powmix.search.claims import DEATHS, Claims, Heartbeat
from powmix.search.outcome import Outcome
from powmix.search.pruners import build_pruner
from powmix.search.reporting import LABEL, PRUNER
from powmix.search.space import SearchSpace, check_known, differences, key_of, over
from powmix.search.storage import exclusive, open_storage, resolve, shown
from powmix.search.summary import OVERRIDES, Summary
from powmix.search.workers import interruptible, run_workers

log = logging.getLogger(__name__)
# What the launchers raise when a worker process is gone: joblib, submitit, Ray.
LOST = ("TerminatedWorkerError", "BrokenProcessPool", "UncompletedJobError", "WorkerCrashedError", "NodeDiedError")
_SPACE, _SEED = "space", "seed"


class StudySweep(OptunaSweeperImpl):
    """The stock sweeper's reading of overrides and launching, with an ask-and-tell loop that many processes share."""

    config: DictConfig
    launcher: Launcher

    def __init__(self, **options: Any) -> None:
        self.options = OmegaConf.create(options, flags={"allow_objects": True})
        super().__init__(
            sampler=None,
            direction=self.options.direction,
            storage=self.options.storage,
            study_name=self.options.study_name,
            n_trials=self.options.n_trials,
            n_jobs=self.options.n_jobs,
            max_failure_rate=1.0,
            custom_search_space=None,
            params=self.options.params,
        )

    def sweep(self, arguments: list[str]) -> None:
        self._read(arguments)
        try:
            with interruptible():
                self._start_study()
                if self.n_jobs == 1:
                    self._work(0)
                else:
                    run_workers(self.n_jobs, self._work)
        except KeyboardInterrupt:
            log.warning("interrupted: the same command continues this study")
            raise
        self._conclude()

    def _read(self, arguments: list[str]) -> None:
        """Everything the options and the command line say, checked before anything is written."""
        options, self.arguments = self.options, arguments
        self._process_searchspace_config()
        derived = options.custom_search_space and instantiate(
            options.custom_search_space, _execution_whitelist_=("powmix.search.*",)
        )
        self.space = SearchSpace.parse(self._parse_sweeper_params_config(), arguments, derived)
        self.warm_start = {str(name): list(overrides) for name, overrides in options.warm_start.items()}
        self.sampler_options = _plain(options.sampler)
        self.pruner_options = _plain(options.pruner)
        self.pruner = build_pruner(self.pruner_options)
        self.gpus = list_gpus(options.gpus)
        slots = n_slots(self.gpus, options.trials_per_gpu)
        self.n_jobs = options.n_jobs or max(slots, 1)
        self.url = resolve(options.storage, self.sweep_dir)
        self.study_name = options.study_name or Path(self.sweep_dir).resolve().name
        if options.n_trials < 1:
            raise ValueError(f"hydra.sweeper.n_trials: got {options.n_trials}, allowed 1 or more")
        self.n_trials = self._total()
        self.validate_batch_is_legal([self.space.fixed])

    def _total(self) -> int:
        """The number of trials; a grid has no more than its points, and the warm starts that are none of them."""
        if not samplers.is_grid(self.sampler_options):
            return self.options.n_trials
        points = samplers.grid_points(self.space.distributions)
        n_points = 1
        for values in points.values():
            n_points *= len(values)
        beside = sum(1 for overrides in self.warm_start.values() if self._grid_point(overrides) is None)
        return min(self.options.n_trials, n_points + beside)

    def _grid_point(self, overrides: list[str]) -> Mapping[str, Any] | None:
        params = self.space.inside(overrides)
        points = samplers.grid_points(self.space.distributions)
        return params if params and all(value in points[name] for name, value in params.items()) else None

    @property
    def _direction(self) -> Literal["minimize", "maximize"]:
        objective = OmegaConf.select(self.config, "objective")
        if self.options.direction is None:
            return "minimize" if objective is None else direction(objective)
        check_known("hydra.sweeper.direction", self.options.direction, ["minimize", "maximize"])
        return self.options.direction

    def _start_study(self) -> None:
        """Create the study or join it, refuse one with another search space, and fill in its waiting trials."""
        optuna.logging.set_verbosity(optuna.logging.WARNING)
        Path(self.sweep_dir).mkdir(parents=True, exist_ok=True)
        open_storage(self.url)
        with exclusive(self.url):
            study = optuna.create_study(
                study_name=self.study_name,
                storage=open_storage(self.url),
                direction=self._direction,
                load_if_exists=True,
            )
            self._refuse_other_space(study)
            study.set_user_attr(_SPACE, self.space.describe(self.options.ignored))
            study.set_user_attr(PRUNER, self.pruner_options)
            if _SEED not in study.user_attrs:
                given = self.sampler_options.get("seed")
                study.set_user_attr(_SEED, time.time_ns() % 2**31 if given is None else given)
            self._claims(study).fill()
        log.info(f"study {self.study_name}: {self.n_trials} trials in all, kept in {shown(self.url)}")

    def _refuse_other_space(self, study: optuna.Study) -> None:
        before = study.user_attrs.get(_SPACE)
        changed = differences(before, self.space.describe(self.options.ignored)) if before is not None else []
        if study.direction.name.lower() != self._direction:
            changed.append(f"  direction: was {study.direction.name.lower()}, now {self._direction}")
        if changed:
            raise ValueError(
                f"study {self.study_name} was started with another search:\n"
                + "\n".join(changed)
                + "\nUndo the change, or start another study: hydra.sweeper.study_name=NAME or another hydra.sweep.dir"
            )

    def _open_study(self) -> optuna.Study:
        return optuna.load_study(study_name=self.study_name, storage=open_storage(self.url), pruner=self.pruner)

    def _claims(self, study: optuna.Study) -> Claims:
        return Claims(study, self.url, self.n_trials, self.options.max_deaths, self.options.grace)

    def _work(self, worker: int) -> None:
        """Take trials until none is left; then wait for those of other processes, which may die and leave theirs."""
        with slot(self.gpus, self.options.trials_per_gpu) as gpu:
            study = self._open_study()
            claims, pause = self._claims(study), 0.05
            while True:
                trial = claims.take(lambda frozen: self._ask(study, frozen))
                if trial is not None:
                    self._run(claims, trial, gpu)
                    pause = 0.05
                elif claims.all_finished() or not self.options.wait_for_others:
                    return
                else:
                    time.sleep(pause)
                    pause = min(2 * pause, 2.0)

    def _ask(self, study: optuna.Study, frozen: FrozenTrial) -> Trial:
        """The trial with its parameters and its overrides: fixed ones, sampled ones, those of the warm start."""
        warm = list(self.warm_start.items())
        name, given = warm[frozen.number] if frozen.number < len(warm) else (None, [])
        inside = self.space.inside(given) if name else None
        if name:
            study._storage.set_trial_user_attr(frozen._trial_id, LABEL, name)
            study._storage.set_trial_system_attr(frozen._trial_id, "fixed_params", inside or {})
        study.sampler = samplers.build_sampler(
            self.sampler_options,
            self.space.distributions,
            frozen.number,
            study.user_attrs[_SEED],
            len(warm),
            self.n_trials,
        )
        trial = Trial(study, frozen._trial_id)
        if name and inside is None:
            trial.set_user_attr(samplers.OUTSIDE, True)
        else:
            for parameter, distribution in self.space.distributions.items():
                trial._suggest(parameter, distribution)
        own = given if name and inside is None else self.space.overrides(trial.params)
        if OVERRIDES not in frozen.user_attrs:
            trial.set_user_attr(OVERRIDES, own)
        return trial

    def _overrides(self, trial: Trial, gpu: str | None) -> list[str]:
        """The job's overrides: the command's, the trial's, and the way back to its study."""
        storage = _plain(self.config.hydra.sweeper, resolve=False).get("storage")
        # An interpolated URL goes on unresolved, so that its password is in no record of the job.
        url = storage if isinstance(storage, str) and "${" in storage else _quoted(self.url)
        link = {"study": _quoted(self.study_name), "storage": url, "id": trial._trial_id, "number": trial.number}
        place = [] if gpu is None else [f"++hydra.job.env_set.CUDA_VISIBLE_DEVICES={_quoted(gpu)}"]
        own = trial.user_attrs[OVERRIDES]
        return [
            *over(self.space.fixed, own),
            "++trial={" + ",".join(f"{key}:{value}" for key, value in link.items()) + "}",
            *place,
        ]

    def _run(self, claims: Claims, trial: Trial, gpu: str | None) -> None:
        """One trial: launch its job, tell the study how it ended; an interrupt gives the trial back."""
        try:
            with Heartbeat(claims, trial._trial_id, self.options.heartbeat):
                outcome = self._launch(trial, self._overrides(trial, gpu))
        except BaseException:
            claims.release(trial._trial_id)
            raise
        if not claims.finish(trial, outcome.state, outcome.value, outcome.status, outcome.error):
            log.warning(f"trial {trial.number}: taken over by another process meanwhile; this result is dropped")
            return
        said = outcome.status if outcome.value is None else f"{outcome.status}, {outcome.value:.6g}"
        reason = "" if outcome.error is None else f": {outcome.error}"
        log.log(logging.WARNING if reason else logging.INFO, f"trial {trial.number} {said}{reason}")

    def _launch(self, trial: Trial, overrides: list[str]) -> Outcome:
        """Run the job through the launcher; a job whose worker process was lost is launched again."""
        deaths = trial.user_attrs.get(DEATHS, 0)
        while True:
            try:
                (job,) = self.launcher.launch([overrides], initial_job_idx=trial.number)
                return Outcome.of(job)
            except (HydraException, OmegaConfBaseException):
                raise
            except Exception as error:
                if type(error).__name__ not in LOST:
                    return Outcome.of_error(error)
                deaths += 1
                trial.set_user_attr(DEATHS, deaths)
                log.warning(f"trial {trial.number}: its worker was lost ({type(error).__name__}: {error})")
                if deaths >= self.options.max_deaths:
                    return Outcome("died", optuna.trial.TrialState.FAIL, None, f"{type(error).__name__}: {error}")

    def _conclude(self) -> None:
        """Print and keep the summary; ValueError when no trial gave a value."""
        study = self._open_study()
        trials = [t for t in study.get_trials(deepcopy=False) if t.number < self.n_trials and t.state.is_finished()]
        searched = {*self.space.distributions, "sweep"}
        base = ["powmix", *(text for text in self.arguments if key_of(text) not in searched)]
        summary = Summary(study, trials, Path(self.sweep_dir).resolve(), base)
        OmegaConf.save(OmegaConf.create(summary.record()), Path(self.sweep_dir) / "optimization_results.yaml")
        log.info("\n".join(summary.lines()))
        if summary.best is None and len(trials) >= self.n_trials:
            raise ValueError(f"study {self.study_name}: none of {len(trials)} trials was completed")


def _plain(section: Any, resolve: bool = True) -> dict[str, Any]:
    return cast(dict[str, Any], OmegaConf.to_container(section, resolve=resolve))


def _quoted(text: object) -> str:
    """A value that Hydra's grammar takes as one string."""
    escaped = str(text).replace("\\", "\\\\").replace("'", "\\'")
    return f"'{escaped}'"
