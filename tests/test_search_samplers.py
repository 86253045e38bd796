"""What a search asks for: the staged strategy, seeds across restarts, grids, subset ranges, the warm start."""

import optuna
import pytest
from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution
from optuna.trial import Trial, TrialState

from powmix.search import samplers
from powmix.search.space import SearchSpace, SubsetByWidth, differences, over, suggest
from powmix.search.staged import StagedSampler

P_MIX, N_OUT = "mixer.p_mix", "mixer.n_out"
SPACE = {P_MIX: FloatDistribution(0.05, 1.0), N_OUT: CategoricalDistribution((16, 64, 256, 1024))}
STAGED = {"_target_": "powmix.search.staged.StagedSampler", "order": [P_MIX, N_OUT], "start": {N_OUT: 256}, "rounds": 2}
TPE = {"_target_": "optuna.samplers.TPESampler", "seed": None}


def ask(study, options, space, n_trials, first=0, seed=7) -> Trial:
    """Take the next trial as the sweeper does: a sampler of its own for each."""
    trial = study.ask()
    study.sampler = samplers.build_sampler(options, trial.number, seed, first, n_trials)
    for name, law in space.items():
        suggest(trial, name, law)
    return trial


def loss(params) -> float:
    return abs(params[P_MIX] - 0.3) + abs(params[N_OUT] - 64) / 1000


def search(study, options, space, n_trials, **kwargs) -> list[dict]:
    while len(study.trials) < n_trials:
        trial = ask(study, options, space, n_trials, **kwargs)
        study.tell(trial, loss(trial.params))
    return [trial.params for trial in study.trials]


def test_the_staged_search_varies_p_mix_then_n_out_at_the_best_p_mix_and_so_on():
    study = optuna.create_study()
    asked = search(study, STAGED, SPACE, 16)
    assert {params[N_OUT] for params in asked[:4]} == {256}
    assert len({params[P_MIX] for params in asked[:4]}) == 4
    best_p_mix = min(asked[:4], key=loss)[P_MIX]
    assert {params[P_MIX] for params in asked[4:8]} == {best_p_mix}
    assert {params[N_OUT] for params in asked[4:7]} == {16, 64, 1024}, "256 was tried at this p_mix in the first stage"
    best_n_out = min(asked[:8], key=loss)[N_OUT]
    assert {params[N_OUT] for params in asked[8:12]} == {best_n_out}
    assert len({params[P_MIX] for params in asked[12:]}) == 1


def test_the_staged_search_goes_on_after_a_restart_as_if_there_had_been_none():
    whole, halves = optuna.create_study(), optuna.create_study()
    expected = search(whole, STAGED, SPACE, 16)
    while len(halves.trials) < 9:
        trial = ask(halves, STAGED, SPACE, 16)
        halves.tell(trial, loss(trial.params))
    continued = optuna.create_study()
    continued.add_trials(halves.trials)
    assert search(continued, STAGED, SPACE, 16) == expected


def test_a_stage_knows_only_the_parameters_of_its_order():
    with pytest.raises(ValueError, match=r"sampler.order\) must be one of mixer.p_mix, mixer.n_out, got 'x'"):
        ask(optuna.create_study(), STAGED, {"x": FloatDistribution(0, 1)}, 4)


def test_the_stages_share_the_trials_after_the_warm_start_evenly():
    sampler = StagedSampler([P_MIX, N_OUT], {}, rounds=2, n_trials=14, first=2)
    assert [sampler.stage(number) for number in range(14)] == [0, 0, 0, 0, 0, 1, 1, 1, 2, 2, 2, 3, 3, 3]


@pytest.mark.parametrize("name", ["TPESampler", "RandomSampler", "GPSampler", "CmaEsSampler"])
def test_a_seeded_sampler_that_is_built_again_does_not_repeat_its_first_draws(name):
    space = {"a": FloatDistribution(0, 1), "b": FloatDistribution(0, 1)}
    options = {"_target_": f"optuna.samplers.{name}", "seed": None}
    study = optuna.create_study()
    for _ in range(6):
        trial = ask(study, options, space, 6)
        study.tell(trial, trial.params["a"] + trial.params["b"])
    assert len({trial.params["a"] for trial in study.trials}) == 6


def test_qmc_points_of_one_study_fill_the_space_across_restarts():
    options, space = {"_target_": "optuna.samplers.QMCSampler", "seed": None, "scramble": True}, SPACE.copy()
    space[N_OUT] = IntDistribution(1, 100)
    study = optuna.create_study()
    for _ in range(9):
        study.tell(ask(study, options, space, 9), 1.0)
    quarters = [int(4 * (trial.params[P_MIX] - 0.05) / 0.951) for trial in study.trials[1:]]
    assert sorted(quarters) == [0, 0, 1, 1, 2, 2, 3, 3]


def test_a_grid_has_every_combination_once_and_none_of_a_continuous_parameter():
    space = {N_OUT: CategoricalDistribution((16, 64)), "a": IntDistribution(1, 5, step=2)}
    points = samplers.grid_points(space | {"b": FloatDistribution(0.1, 0.3, step=0.1)})
    assert len(points) == 2 * 3 * 3 and {N_OUT: 64, "a": 5, "b": 0.3} in points
    with pytest.raises(ValueError, match=r"discrete values, but mixer.p_mix is continuous"):
        samplers.grid_points(SPACE)


@pytest.mark.parametrize("name", ["GPSampler", "CmaEsSampler"])
def test_a_trial_outside_the_space_does_not_blind_relative_samplers(name):
    space = {"a": FloatDistribution(0, 1), "b": FloatDistribution(0, 1)}
    options = {"_target_": f"optuna.samplers.{name}", "seed": None, "n_startup_trials": 1}
    study = optuna.create_study()
    study.tell(study.ask(), state=TrialState.FAIL)  # as Trials.finish tells it
    for _ in range(2):
        study.tell(ask(study, options, space, 4), 1.0)
    trial = ask(study, options, space, 4)
    assert set(trial.relative_search_space) == {"a", "b"}


def test_tpe_keeps_away_from_what_others_run():
    study = optuna.create_study()
    running = [ask(study, TPE, SPACE, 30) for _ in range(12)]
    assert len({trial.params[P_MIX] for trial in running}) == 12


def test_a_subset_range_by_width_is_always_legal():
    law = SubsetByWidth(low=[1, 8], width=[1, 12])
    assert law.overrides({"mixer.subset.low": 2, "mixer.subset.width": 2}) == ["mixer.subset=[2,4]"]
    space = SearchSpace.parse([], ["mixer.p_mix=interval(0.1,1.0)"], law)
    params = {"mixer.p_mix": 0.5, "mixer.subset.low": 8, "mixer.subset.width": 12}
    assert space.overrides(params) == ["mixer.p_mix=0.5", "mixer.subset=[8,20]"]
    with pytest.raises(ValueError, match=r"width: got \[0, 3\]"):
        SubsetByWidth(low=[1, 8], width=[0, 3])


def test_the_command_line_has_the_last_word_on_what_is_searched():
    configured = ["mixer.p_mix=interval(0.1,1.0)", "mixer.n_out=256"]
    space = SearchSpace.parse(configured, ["mixer.p_mix=0.5", "mixer.n_out=16,32"], None)
    assert space.fixed == ("mixer.p_mix=0.5",) and list(space.distributions) == ["mixer.n_out"]
    with pytest.raises(ValueError, match="nothing to search"):
        SearchSpace.parse(configured, ["mixer.p_mix=0.5"], None)


def test_a_warm_start_is_inside_the_space_when_it_gives_every_parameter_a_legal_value():
    space = SearchSpace.parse(["mixer.p_mix=interval(0.1,1.0)", "mixer.subset=choice([2,4],[2,8])"], [], None)
    assert space.inside(["mixer.p_mix=0.5", "mixer.subset=[2,8]"]) == {"mixer.p_mix": 0.5, "mixer.subset": "[2,8]"}
    for outside in (["mixer=none"], ["mixer.p_mix=0.5"], ["mixer.p_mix=0", "mixer.subset=[2,8]"]):
        assert space.inside(outside) is None


def test_no_mixing_drops_what_the_command_says_of_mixing():
    fixed = ["mixer=powmix", "mixer.min_selected=2", "ablation=static", "model=mult"]
    assert over(fixed, ["mixer=none", "~ablation"]) == ["model=mult", "mixer=none"]


def test_a_difference_names_the_key_and_both_ranges_but_not_where_a_run_runs():
    def describe(*texts):
        return SearchSpace.parse([], ["mixer.p_mix=interval(0.0,1.0)", *texts], None).describe(["trainer.device"])

    assert differences(describe("trainer.device=cpu"), describe("trainer.device=cuda")) == []
    (line,) = differences(describe("model=mult"), describe())
    assert line == "  model: was mult, now absent"


def test_a_stage_after_failures_alone_holds_no_failed_value():
    study = optuna.create_study()
    for _ in range(4):
        study.tell(ask(study, STAGED, SPACE, 16), state=TrialState.FAIL)
    failed = {trial.params[P_MIX] for trial in study.trials}
    assert ask(study, STAGED, SPACE, 16).params[P_MIX] not in failed
