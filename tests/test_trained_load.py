"""A trained run, loaded: it predicts what it predicted then, of data in their own units; what cannot be is named."""

import json
import shutil

import numpy as np
import pytest
import torch
from analysis_runs import train
from safetensors.torch import load_file, save_file
from trained_runs import arrays, of_test, on_arrays, stored

import powmix
from powmix.data import load as load_data
from powmix.runs.files import file_sha256, read_json, write_json
from powmix.runs.records import read_config
from powmix.use.incoming import split_of


@pytest.fixture(scope="module")
def synthetic(tmp_path_factory):
    return train(
        tmp_path_factory.mktemp("synthetic"), "model=lf_dnn", "mixer=none", "seeds=[3,5]", "trainer.max_epochs=1"
    )


@pytest.fixture(scope="module")
def classes(tmp_path_factory):
    return on_arrays(tmp_path_factory.mktemp("classes"))


def test_the_stored_test_predictions_come_back_to_the_last_bit(synthetic):
    test = load_data(read_config(synthetic)["dataset"], ("*",)).test
    for seed in (3, 5):
        model = powmix.load(synthetic, seed)
        assert model.seed == seed and model.task == "regression" and not model.module.training
        assert np.array_equal(model.predict(test), stored(synthetic, seed)[:, 0])
    whole = test.batch(torch.arange(len(test)))
    assert np.array_equal(model.predict(whole), model.predict(test))


def test_arrays_of_a_sentiment_run_are_the_modalities_by_name(synthetic):
    test = load_data(read_config(synthetic)["dataset"], ("*",)).test
    given = {name: value.numpy() for name, value in test.features.items()}
    assert np.array_equal(powmix.load(synthetic, 3).predict(given), stored(synthetic, 3)[:, 0])


@pytest.mark.parametrize("task", ["regression", "classification", "multilabel"])
def test_arrays_are_scaled_by_the_training_data_which_are_gone(task, tmp_path):
    _, run = on_arrays(tmp_path / "there", task, "dataset.split_seed=seed")
    shutil.move(tmp_path / "there" / "runs", tmp_path / "runs")
    shutil.rmtree(tmp_path / "there")
    run = tmp_path / "runs" / run.name
    for seed in (1111, 1112):
        model = powmix.load(run, seed)
        assert np.array_equal(model.outputs(of_test(arrays(task))).numpy(), stored(run, seed))
    said = model.predict(of_test(arrays(task)))
    assert said.shape == {"regression": (20,), "classification": (20, 3), "multilabel": (20, 3)}[task]
    if task == "classification":
        assert model.classes == ("calm", "glad", "sad") and np.allclose(said.sum(1), 1)
    if task == "multilabel":
        assert model.classes == ("0", "1", "2") and ((said > 0) & (said < 1)).all()


def test_a_target_of_a_file_has_the_classes_of_the_run(classes):
    model, found = powmix.load(classes[1]), of_test(arrays())
    split = split_of({**found, "target": np.repeat("sad", 20)}, model.preparation)
    assert split.target.argmax(1).tolist() == [2] * 20
    with pytest.raises(ValueError, match=r"target: angry: none of the run's classes calm, glad, sad"):
        split_of({**found, "target": np.repeat("angry", 20)}, model.preparation)


def test_without_a_seed_the_one_best_on_validation_is_loaded(classes):
    run = classes[1]
    reached = {seed["seed"]: seed["validation"]["Accuracy"] for seed in read_json(run / "result.json")["seeds"]}
    assert reached[powmix.load(run).seed] == max(reached.values())
    with pytest.raises(ValueError, match="no finished seed 7; it has 1111, 1112, and ensemble"):
        powmix.load(run, 7)


def test_an_ensemble_predicts_the_mean_of_its_members(classes):
    run, given = classes[1], of_test(arrays())
    ensemble = powmix.load(run, "ensemble")
    members = np.stack([powmix.load(run, seed).predict(given) for seed in (1111, 1112)])
    assert np.allclose(ensemble.predict(given), members.mean(0), atol=1e-6)
    assert repr(ensemble) == (
        "<arrays/late_fusion/none, mean of seeds 1111, 1112: a vectors (N, 4), b sequences (N, L, 2) -> "
        "classification of calm, glad, sad>"
    )


# --- what does not suit -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("changed", "sentence"),
    [
        ({"a": None}, r"no a, of which the model reads vectors \(N, 4\)"),
        ({"a": np.ones((20, 5))}, r"a: expected vectors \(N, 4\), got vectors \(N, 5\)"),
        ({"a": np.ones((20, 2, 4))}, r"a: expected vectors \(N, 4\), got sequences \(N, L, 4\)"),
        ({"a": np.ones((19, 4)), "b": np.ones((20, 3, 2))}, r"no b, .*"),
        ({"a": np.full((20, 4), np.nan)}, r"a: 80 of 80 values are NaN"),
        ({"a": None, "b": None}, r"the model reads a, b, there is no modality"),
    ],
)
def test_what_the_model_cannot_read_is_named(classes, changed, sentence):
    given = {key: value for key, value in {**of_test(arrays()), **changed}.items() if value is not None}
    given.pop("target")
    with pytest.raises(ValueError, match=sentence):
        powmix.load(classes[1]).predict(given)


def test_what_is_not_used_and_what_is_cut_is_told(classes, caplog):
    model, given = powmix.load(classes[1]), of_test(arrays())
    before = model.predict(given)
    steps = model.preparation.inputs.steps["b"]
    full = [len(one) == steps for one in given["b"]]
    longer = [np.concatenate([one, np.ones((3, 2))]) if whole else one for one, whole in zip(given["b"], full)]
    after = model.predict({**given, "b": longer, "c": np.ones((20, 3))})
    assert "not used, since the model reads none of them: c" in caplog.text
    assert f"data: b: {sum(full)} of 20 have more than the {steps} steps of training: they are cut" in caplog.text
    assert any(full) and np.array_equal(before, after)


def test_a_dataset_of_hugging_face_is_taken_as_it_is(classes):
    datasets = pytest.importorskip("datasets")
    model, given = powmix.load(classes[1]), of_test(arrays())
    columns = {"a": given["a"].tolist(), "b": [one.tolist() for one in given["b"]]}
    assert np.array_equal(model.predict(datasets.Dataset.from_dict(columns)), model.predict(given))


def test_one_example_is_enough_and_does_not_depend_on_its_neighbours(classes):
    model, given = powmix.load(classes[1]), of_test(arrays())
    alone = model.predict({"a": given["a"][:1], "b": given["b"][:1]})
    assert np.allclose(alone, model.predict(given)[:1], atol=1e-6)


def test_loading_leaves_the_global_generator_as_it_was(classes):
    before = torch.random.get_rng_state()
    powmix.load(classes[1])
    assert torch.equal(before, torch.random.get_rng_state())


def test_a_folder_that_is_no_run_is_told_with_the_nearest(classes, tmp_path):
    with pytest.raises(ValueError, match=f"did you mean {classes[1].name}"):
        powmix.load(classes[1].with_name(classes[1].name[:-1] + "x"))
    with pytest.raises(ValueError, match=r"no result\.json"):
        powmix.load(tmp_path)


# --- runs of an earlier version ---------------------------------------------------------------------------------------


def test_weights_that_do_not_say_how_data_were_prepared_ask_the_dataset(tmp_path):
    file, run = on_arrays(tmp_path)
    _forget(run / "seed_1111")
    with pytest.warns(UserWarning, match="does not say how its data were prepared"):
        model = powmix.load(run, 1111)
    assert np.array_equal(model.outputs(of_test(arrays())).numpy(), stored(run, 1111))
    np.savez(file, **{**arrays(), "a": arrays()["a"] + 1})
    with pytest.warns(UserWarning), pytest.raises(ValueError, match="has other data now"):
        powmix.load(run, 1111)
    file.unlink()
    with pytest.warns(UserWarning), pytest.raises(ValueError, match="no file or folder"):
        powmix.load(run, 1111)


def _forget(seed):
    """Weights as an earlier version left them."""
    weights = load_file(seed / "weights.safetensors")
    save_file(weights, seed / "weights.safetensors", {"powmix": json.dumps({"seed": 1111, "epoch": 1})})
    result = read_json(seed / "result.json")
    path = seed / "weights.safetensors"
    result["files"][path.name] = {"bytes": path.stat().st_size, "sha256": file_sha256(path)}
    write_json(seed / "result.json", result)
