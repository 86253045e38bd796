"""Seeds trained side by side: each gets what it would get alone, and leaves the same files."""

import json

import pytest
from training_corpus import TinyFusion, Watcher, rows_of, science, tiny_splits
from training_models import builder, corpus, mixer, settings

from powmix.mixing.mixer import Mixer
from powmix.training import Pruned, Settings, Solver, TrainingFailed, train_seeds
from powmix.training.loop import run
from powmix.training.memory import available, bytes_per_seed, seeds_that_fit
from powmix.training.together import groups, side_by_side

SEEDS = [1, 2, 3]
MIXERS = {
    "none": {},
    "powmix": {"p_mix": 0.5, "n_out": 40},
    "manifold_mixup": {"p_mix": 0.5, "start_epoch": 1},
}
HARD = {
    "accumulate": 2,
    "clip_value": 0.02,
    "plateau_patience": 0,
    "optimizer": {"learning_rate": 0.01, "weight_decay": 1e-3},
}


class Audience(Watcher):
    """Remembers every seed's rows and events; raises `error` when told of `last`, a pair of seed and epoch."""

    def __init__(self, last=None, error=RuntimeError):
        super().__init__(last, error)
        self.rows, self.events = {}, []

    def on_seed_start(self, seed, max_epochs):
        self.events.append(("start", seed))

    def on_epoch(self, seed, row):
        self.rows.setdefault(seed, []).append(row)
        if (seed, row["epoch"]) == self.last:
            raise self.error(f"stopped at {self.last}")

    def on_seed_end(self, seed, record):
        self.events.append(("end", seed))


def trained(folder, stack, model="lf_dnn", mixing="none", listener=None, seeds=SEEDS, **changed):
    chosen = settings(stack=stack, **changed)
    mixed = mixer(mixing, **MIXERS[mixing])
    return train_seeds(
        builder(model), corpus(), mixed, chosen, seeds, lambda seed: folder / f"seed_{seed}", listener or Audience()
    )


def assert_close(found, expected, near=2e-3):
    """Equal up to float noise: numbers everywhere inside, whatever differs from run to run left out."""
    if isinstance(expected, dict):
        assert found.keys() == expected.keys()
        for key in expected.keys() - {"seconds"}:
            assert_close(found[key], expected[key], near)
    elif isinstance(expected, list):
        assert len(found) == len(expected)
        for pair in zip(found, expected):
            assert_close(*pair, near)
    else:
        assert found == (pytest.approx(expected, rel=near, abs=near) if isinstance(expected, float) else expected)


@pytest.mark.parametrize("mixing", MIXERS)
@pytest.mark.parametrize("model", ["lf_dnn", "tfn", "mult"])
def test_each_seeds_history_and_record_are_its_solo_ones(model, mixing, tmp_path):
    solo, stacked = Audience(), Audience()
    options = {**HARD, "max_epochs": 3 if model == "mult" else 8, "early_stop": 1}
    expected = trained(tmp_path / "solo", "off", model, mixing, solo, **options)
    found = trained(tmp_path / "stacked", 3, model, mixing, stacked, **options)
    assert_close(stacked.rows, solo.rows)
    assert_close(found, expected)
    if mixing == "powmix":
        rates = {tuple(row["mixing_mixed_rate"] for row in rows) for rows in stacked.rows.values()}
        assert len(rates) > 1  # each seed has tossed its own coins


@pytest.mark.parametrize("accumulation", ["sum", "mean"])
def test_seeds_that_stop_or_slow_down_at_different_epochs_do_not_disturb_the_others(accumulation, tmp_path):
    options = {**HARD, "accumulation": accumulation, "max_epochs": 12, "early_stop": 2, "accumulate": 3}
    options["optimizer"] = {"learning_rate": 0.03, "weight_decay": 0.0}
    solo, stacked = Audience(), Audience()
    expected = trained(tmp_path / "solo", "off", "tfn", "powmix", solo, seeds=[1, 2, 3, 4], **options)
    found = trained(tmp_path / "stacked", 4, "tfn", "powmix", stacked, seeds=[1, 2, 3, 4], **options)
    assert len({record["epochs"] for record in found}) > 1
    rates = {seed: [row["learning_rate"] for row in rows] for seed, rows in stacked.rows.items()}
    assert len({tuple(rate[:3]) for rate in rates.values()}) > 1
    assert rates == {seed: [row["learning_rate"] for row in rows] for seed, rows in solo.rows.items()}
    assert_close(found, expected)


def test_side_by_side_the_files_of_a_seed_are_those_it_leaves_alone(tmp_path):
    for name, stack in (("solo", "off"), ("stacked", 3)):
        trained(tmp_path / name, stack, max_epochs=2)
    for seed in SEEDS:
        solo, stacked = (tmp_path / name / f"seed_{seed}" for name in ("solo", "stacked"))
        assert {path.name for path in stacked.iterdir()} == {path.name for path in solo.iterdir()}
        assert_close(*(json.loads((folder / "result.json").read_text()) for folder in (stacked, solo)))
        for pair in zip(rows_of(stacked / "predictions.csv"), rows_of(solo / "predictions.csv"), strict=True):
            found, expected = ({key: row[key] if key == "id" else float(row[key]) for key in row} for row in pair)
            assert_close(found, expected)


@pytest.mark.parametrize(("first", "then"), [(3, "off"), ("off", 3), (3, 3)])
def test_an_interrupted_variant_continues_side_by_side_or_alone(first, then, tmp_path):
    options = {"mixing": "powmix", "max_epochs": 4}
    expected = trained(tmp_path / "whole", "off", **options)
    with pytest.raises(RuntimeError):
        trained(tmp_path / "cut", first, listener=Audience((2, 2)), **options)
    rest = Audience()
    assert_close(trained(tmp_path / "cut", then, listener=rest, **options), expected)
    assert len(rest.rows[2]) == 2  # the second epoch was safe before the listener heard of it
    if first == 3:
        assert [len(rest.rows[seed]) for seed in (1, 3)] == [2, 3]  # the third seed's second epoch was lost


def test_alone_or_not_seeds_are_announced_and_finished_ones_are_not_trained_again(tmp_path):
    audience = Audience()
    records = trained(tmp_path, 2, listener=audience, max_epochs=1)
    assert audience.events == [("start", 1), ("start", 2), ("end", 1), ("end", 2), ("start", 3), ("end", 3)]
    assert [record["seed"] for record in records] == SEEDS
    again = Audience()
    more = trained(tmp_path, 3, listener=again, max_epochs=1, seeds=[4, 3, 1])
    assert [record["seed"] for record in more] == [4, 3, 1] and list(again.rows) == [4]
    assert [science(record) for record in more[1:]] == [science(records[2]), science(records[0])]


def test_a_pruned_seed_stops_those_beside_it(tmp_path):
    with pytest.raises(Pruned):
        trained(tmp_path, 3, listener=Audience((1, 2), Pruned))
    results = [json.loads((tmp_path / f"seed_{seed}" / "result.json").read_text()) for seed in SEEDS]
    assert [(result["status"], result["epochs"]) for result in results] == [("pruned", 2), ("pruned", 1), ("pruned", 1)]
    assert len(trained(tmp_path, 3, max_epochs=3)) == 3


def test_a_seed_that_diverges_fails_and_leaves_the_others_sound(tmp_path, monkeypatch):
    expected = trained(tmp_path / "solo", "off", max_epochs=3)
    step = Solver.step

    def diverging(self, batch, encoded):
        made = step(self, batch, encoded)
        return type(made)(made.loss * float("nan"), made.encoded, made.mixed) if self.seed == 2 else made

    monkeypatch.setattr(Solver, "step", diverging)
    with pytest.raises(TrainingFailed, match="seed 2: validation Loss was not finite"):
        trained(tmp_path / "stacked", 3, max_epochs=3)
    first, second = (json.loads((tmp_path / "stacked" / f"seed_{seed}" / "result.json").read_text()) for seed in (1, 2))
    assert second["status"] == "failed" and not (tmp_path / "stacked" / "seed_2" / "checkpoint.pt").exists()
    assert_close(
        {key: first[key] for key in ("validation", "test")}, {key: expected[0][key] for key in ("validation", "test")}
    )


def test_trials_that_differ_in_their_mixers_may_train_side_by_side(tmp_path):
    chosen = settings(max_epochs=2)
    mixers = [mixer("powmix", p_mix=p, n_out=20) for p in (0.2, 0.9)]

    def solvers(name):
        return [Solver(builder("lf_dnn"), corpus(), m, chosen, 7, tmp_path / name / str(m.p_mix)) for m in mixers]

    together = run(solvers("stacked"))
    assert_close(together, [solver.run() for solver in solvers("solo")])
    assert together[0]["mixing"]["mixed_rate"] < together[1]["mixing"]["mixed_rate"]


def solvers_of(model, count=5, splits=None, **changed):
    splits = splits or corpus()
    return [Solver(model, splits, mixer(), Settings(device="cpu", **changed), seed, None) for seed in range(count)]


def test_auto_leaves_seeds_alone_on_a_cpu():
    assert side_by_side(solvers_of(builder("lf_dnn"))) == 1


def test_memory_decides_how_many_seeds_train_side_by_side(monkeypatch):
    monkeypatch.setattr("powmix.training.together.pays", lambda device: True)
    solvers = solvers_of(builder("lf_dnn"))
    assert side_by_side(solvers) == 5
    need = bytes_per_seed(solvers[0])
    monkeypatch.setattr("powmix.training.memory.available", lambda device: 6.5 * need)
    assert (seeds_that_fit(solvers[0]), side_by_side(solvers)) == (3, 3)
    assert side_by_side(solvers_of(builder("lf_dnn"), stack=4)) == 4
    monkeypatch.setattr("powmix.training.memory.available", lambda device: 0)
    assert side_by_side(solvers) == 1


def test_the_estimate_grows_with_the_batch_and_with_mixed_rows_and_draws_nothing(monkeypatch):
    small, large = (solvers_of(builder("tfn"), 1, batch_size=size)[0] for size in (8, 32))
    for solver in (small, large):
        solver.begin()
    state = small.generators.state()
    assert small.device.type == "cpu" and available(small.device) > 2**20
    few = bytes_per_seed(small)
    assert few < bytes_per_seed(large)
    small.mixer = mixer("powmix", n_out=500, p_mix=0.1, start_epoch=3)
    assert bytes_per_seed(small) > few + 500 * 5 * 5 * 7 * 4  # the outer products of 500 rows
    assert small.mixer.p_mix == 0.1
    assert all((small.generators.state()[name] == value).all() for name, value in state.items())


def test_seeds_train_one_by_one_where_they_cannot_stack_or_are_compared_in_order(monkeypatch):
    monkeypatch.setattr("powmix.training.together.pays", lambda device: True)
    watcher = Audience()
    watcher.seeds_in_order = True
    assert side_by_side(solvers_of(builder("lf_dnn")), watcher) == 1
    assert side_by_side(solvers_of(builder("lf_dnn"), stack=3), watcher) == 3
    assert side_by_side(solvers_of(builder("lf_dnn"), stack="off")) == 1
    assert side_by_side(solvers_of(TinyFusion, splits=tiny_splits())) == 1
    with pytest.warns(UserWarning, match=r"trainer\.stack=2 is ignored: TinyFusion cannot stack seeds"):
        assert side_by_side(solvers_of(TinyFusion, splits=tiny_splits(), stack=2)) == 1
    with pytest.warns(UserWarning, match=r"trainer\.stack=2 is ignored: trainer\.bucket=true"):
        assert side_by_side(solvers_of(builder("lf_dnn"), stack=2, bucket=True)) == 1


def test_a_model_that_cannot_stack_trains_its_seeds_one_by_one(tmp_path):
    audience = Audience()
    chosen = Settings(device="cpu", max_epochs=2)
    train_seeds(TinyFusion, tiny_splits(), Mixer(p_mix=0), chosen, [1, 2], lambda seed: tmp_path / str(seed), audience)
    assert audience.events == [("start", 1), ("end", 1), ("start", 2), ("end", 2)]


@pytest.mark.parametrize(
    ("count", "size", "sizes"), [(5, 5, [5]), (5, 4, [2, 3]), (5, 2, [1, 2, 2]), (0, 1, []), (2, 1, [1, 1])]
)
def test_groups_are_few_and_equal(count, size, sizes):
    parts = groups(range(count), size)
    assert sorted(len(part) for part in parts) == sizes and [k for part in parts for k in part] == list(range(count))


def test_stack_is_auto_off_or_a_number():
    sections = {"optimizer": {"learning_rate": 0.1, "weight_decay": 0}}
    assert Settings.from_config(trainer={"stack": False}, **sections).stack == "off"
    for wrong in (0, True, "all", 2.5):
        with pytest.raises(ValueError, match="stack must be auto, off or a whole number"):
            Settings(stack=wrong)
