"""How a training reports to its trial, and what each pruner makes of it."""

import optuna
import pytest
from hydra.core.utils import JobReturn, JobStatus
from optuna.exceptions import StorageInternalError

from powmix.search.launching import Outcome
from powmix.search.reporting import PRUNER, TrialReporter
from powmix.search.storage import StorageAway, open_storage
from powmix.search.trials import LABEL
from powmix.training.listener import Pruned, TrainingFailed

MEDIAN = {"name": "median", "n_startup_trials": 2, "n_warmup_steps": 0, "n_min_trials": 1}
HYPERBAND = {"name": "hyperband", "min_resource": 1, "max_resource": 9, "reduction_factor": 3}
WILCOXON = {"name": "wilcoxon", "p_threshold": 0.1, "n_startup_steps": 2}
SEEDS = [11, 12, 13, 14, 15]


@pytest.fixture
def study(tmp_path):
    url = str(tmp_path / "study.journal")
    study = optuna.create_study(study_name="s", storage=open_storage(url), direction="minimize")
    study.set_user_attr("url", url)
    return study


def reporter(study, trial, seeds=SEEDS) -> TrialReporter:
    return TrialReporter(study.user_attrs["url"], "s", trial._trial_id, seeds, "MAE", max_epochs=3)


def train(study, pruner, values, seeds=SEEDS, label=None):
    """A training in which seed i reaches values[i], in two epochs; True when it was given up."""
    study.set_user_attr(PRUNER, pruner)
    trial = study.ask()
    if label:
        trial.set_user_attr(LABEL, label)
    listener = reporter(study, trial, seeds)
    try:
        for seed, value in zip(seeds, values):
            listener.on_epoch(seed, {"epoch": 1, "validation_MAE": value + 0.1})
            listener.on_epoch(seed, {"epoch": 2, "validation_MAE": value})
            listener.on_seed_end(seed, {"validation": {"MAE": value}})
    except Pruned:
        study.tell(trial, state=optuna.trial.TrialState.PRUNED)
        return True
    study.tell(trial, sum(values) / len(values))
    return False


def test_epochs_are_counted_over_the_seeds_and_valued_by_the_mean_so_far(study):
    train(study, {"name": "none"}, [0.8, 0.6], seeds=[11, 12])
    expected = {1: 0.9, 2: 0.8, 3: 0.8, 4: 0.75, 5: 0.7, 6: 0.7}
    assert study.trials[0].intermediate_values == pytest.approx(expected)


def test_under_wilcoxon_a_step_is_a_seed_and_its_value_that_seeds_own(study):
    train(study, WILCOXON, [0.8, 0.6], seeds=[11, 12])
    assert study.trials[0].intermediate_values == {0: 0.8, 1: 0.6}


def test_the_median_pruner_stops_a_bad_trial_in_its_first_epochs(study):
    assert not train(study, MEDIAN, [0.5] * 5)
    assert not train(study, MEDIAN, [0.6] * 5)
    assert train(study, MEDIAN, [0.9] * 5)
    assert list(study.trials[-1].intermediate_values) == [1]
    assert not train(study, MEDIAN, [0.4] * 5)


def test_hyperband_stops_most_of_many_bad_trials_and_never_the_best(study):
    given_up = [train(study, HYPERBAND, [0.5 + 0.05 * i] * 5) for i in range(12)]
    assert not given_up[0] and sum(given_up) > 3


def test_wilcoxon_stops_a_trial_that_is_worse_seed_by_seed_before_its_last_seed(study):
    assert not train(study, WILCOXON, [0.5, 0.9, 0.6, 0.8, 0.7])
    assert train(study, WILCOXON, [0.6, 1.0, 0.7, 0.9, 0.8])
    assert len(study.trials[-1].intermediate_values) == 4
    assert not train(study, WILCOXON, [0.4, 1.0, 0.5, 0.9, 0.6])


def test_the_warm_start_is_never_given_up(study):
    train(study, MEDIAN, [0.5] * 5)
    train(study, MEDIAN, [0.6] * 5)
    assert not train(study, MEDIAN, [0.9] * 5, label="baseline")


def test_a_training_that_is_resumed_reports_no_epoch_twice(study):
    trial = study.ask()
    for _ in range(2):
        reporter(study, trial).on_epoch(11, {"epoch": 1, "validation_MAE": 0.7})
    reporter(study, trial).on_epoch(11, {"epoch": 2, "validation_MAE": float("nan")})
    assert study.trials[0].intermediate_values == {1: 0.7}


def test_a_reporter_is_made_from_the_configuration_of_a_job(study):
    trial = study.ask()
    section = {"study": "s", "storage": study.user_attrs["url"], "id": trial._trial_id, "number": 0}
    config = {"trial": section, "seeds": [5, 6], "objective": "MAE", "trainer": {"max_epochs": 4}}
    TrialReporter.from_config(config).on_seed_end(5, {"validation": {"MAE": 0.5}})
    assert study.trials[0].intermediate_values == {4: 0.5}


def test_a_study_that_is_not_there_is_named_with_those_that_are(study):
    with pytest.raises(ValueError, match=r"study 'other' is not in .* it holds \['s'\]"):
        TrialReporter(study.user_attrs["url"], "other", 0)


def test_outcomes_tell_pruned_not_finite_and_failed_apart():
    errors = [Pruned("enough"), TrainingFailed("loss is nan"), KeyError("x")]
    assert [Outcome.of_error(error).status for error in errors] == ["pruned", "nan", "failed"]
    values = [0.5, float("nan"), float("inf"), None]
    assert [Outcome.of_value(value).status for value in values] == ["complete", "nan", "nan", "failed"]


def test_an_epoch_whose_report_cannot_reach_the_storage_costs_nothing_and_is_reported_later(study, monkeypatch, caplog):
    trial = study.ask()
    listener = reporter(study, trial)
    storage, away = open_storage(study.user_attrs["url"]), [True]
    write = storage.set_trial_intermediate_value

    def break_off(*arguments):
        if away[0]:
            raise StorageInternalError("the server went away")
        return write(*arguments)

    monkeypatch.setattr(storage, "set_trial_intermediate_value", break_off)
    for epoch in (1, 2):
        listener.on_epoch(11, {"epoch": epoch, "validation_MAE": 1.0 / epoch})
    assert study.trials[0].intermediate_values == {} and len(caplog.messages) == 1
    away[0] = False
    listener.on_epoch(11, {"epoch": 3, "validation_MAE": 0.25})
    assert study.trials[0].intermediate_values == {1: 1.0, 2: 0.5, 3: 0.25}


def test_a_storage_that_stays_away_is_no_outcome():
    job = JobReturn(status=JobStatus.FAILED)
    job.return_value = StorageAway("gone")
    with pytest.raises(StorageAway):
        Outcome.of(job)
