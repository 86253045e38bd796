"""`powmix-predict`: what is written for each task, of which data, with whose code, and what is refused and how."""

import csv
import io
import pickle
import shutil
from types import SimpleNamespace

import feature_files
import numpy as np
import pytest
from analysis_runs import train
from trained_runs import QUICK, arrays, forgetting, of_test, on_arrays, on_lab, stored

from powmix.use.predicting import main


@pytest.fixture(scope="module")
def classes(tmp_path_factory):
    return on_arrays(tmp_path_factory.mktemp("classes"))


@pytest.fixture
def ask(capsys):
    """Calls the command; gives its status, the rows of the CSV that it printed, and what it said beside."""

    def call(run, data, *options):
        status = main([str(run), "--data", str(data), *options])
        out, err = capsys.readouterr()
        return SimpleNamespace(status=status, rows=list(csv.DictReader(io.StringIO(out))), said=err, printed=out)

    return call


def numbers(rows, start):
    return np.array([[float(value) for key, value in row.items() if key.startswith(start)] for row in rows], np.float32)


# --- what is written --------------------------------------------------------------------------------------------------


def test_the_test_part_of_a_file_is_predicted_with_names_probabilities_and_metrics(classes, ask):
    file, run = classes
    found = ask(run, file, "--seed", "1112")
    assert found.status == 0
    assert list(found.rows[0]) == ["id", "prediction", *(f"probability_{c}" for c in ("calm", "glad", "sad")), "target"]
    assert [row["id"] for row in found.rows] == [f"clip {row}" for row in range(40, 60)]
    logits = stored(run, 1112)
    assert [row["prediction"] for row in found.rows] == [["calm", "glad", "sad"][c] for c in logits.argmax(1)]
    exact = np.exp(logits) / np.exp(logits).sum(1, keepdims=True)
    assert np.allclose(numbers(found.rows, "probability"), exact, atol=1e-6)
    right = np.mean([row["prediction"] == row["target"] for row in found.rows])
    assert f"late_fusion/none, seed 1112: 20 predictions\nAcc {right * 100:.2f}, " in found.said


def test_of_a_file_with_neither_split_nor_target_everything_is_predicted_and_nothing_measured(classes, ask, tmp_path):
    found = {key: value for key, value in arrays().items() if key not in ("split", "target", "id")}
    np.savez(tmp_path / "new.npz", **found)
    status = main([str(classes[1]), "--data", str(tmp_path / "new.npz"), "--out", str(tmp_path / "p.csv")])
    rows = list(csv.DictReader((tmp_path / "p.csv").open()))
    assert status == 0 and [row["id"] for row in rows] == [str(row) for row in range(60)]
    assert "target" not in rows[0] and "Acc" not in ask(classes[1], tmp_path / "new.npz").said


@pytest.mark.parametrize("which", ["train", "all"])
def test_another_part_is_predicted_where_it_is_asked_for(classes, ask, which):
    found = ask(*reversed(classes), "--split", which)
    assert len(found.rows) == {"train": 20, "all": 60}[which] and found.rows[0]["id"] == "clip 0"
    assert "is what the run was trained on" in found.said


def test_regression_and_several_labels_have_columns_of_their_own(tmp_path, ask):
    file, run = on_arrays(tmp_path / "numbers", "regression")
    found = ask(run, file, "--seed", "1111")
    assert list(found.rows[0]) == ["id", "prediction", "target"]
    assert np.array_equal(numbers(found.rows, "prediction"), stored(run, 1111))
    file, run = on_arrays(tmp_path / "labels", "multilabel")
    found = ask(run, file, "--seed", "1111")
    assert np.array_equal(numbers(found.rows, "prediction_"), stored(run, 1111) > 0)
    assert np.array_equal(numbers(found.rows, "target_"), arrays("multilabel")["target"][40:])


def test_an_ensemble_averages_probabilities(classes, ask):
    file, run = classes
    single = [numbers(ask(run, file, "--seed", str(seed)).rows, "probability") for seed in (1111, 1112)]
    found = ask(run, file, "--ensemble")
    assert np.allclose(numbers(found.rows, "probability"), np.mean(single, axis=0), atol=1e-6)
    assert "mean of seeds 1111, 1112: 20 predictions" in found.said


# --- an M-SENA file ---------------------------------------------------------------------------------------------------


def test_an_m_sena_file_is_read_as_the_run_reads_its_own(tmp_path, monkeypatch, ask):
    monkeypatch.setenv("POWMIX_CACHE", str(tmp_path / "cache"))
    file = feature_files.write(tmp_path / "mosi.pkl", feature_files.content())
    data = ("dataset=mosi", f"dataset.path={file}", "seeds=[3]")
    run = train(tmp_path, *data, "model=lf_dnn", small=QUICK)
    found = ask(run, file)
    assert np.array_equal(numbers(found.rows, "prediction"), stored(run, 3)) and "MAE" in found.said
    assert len(ask(run, file, "--split", "all").rows) == sum(feature_files.SIZES.values())
    wider = feature_files.content()
    for split in wider.values():
        split["audio"] = np.concatenate([split["audio"]] * 2, axis=-1)
    refused = ask(run, feature_files.write(tmp_path / "wide.pkl", wider))
    assert refused.status == 2
    assert "audio: expected sequences (N, L, 3), got sequences (N, L, 6)" in refused.said


def test_tokens_are_read_and_longer_padding_changes_nothing(tmp_path, monkeypatch, ask):
    monkeypatch.setenv("POWMIX_CACHE", str(tmp_path / "cache"))
    content = feature_files.content()
    file = feature_files.write(tmp_path / "mosi.pkl", content)
    data = ("dataset=mosi", f"dataset.path={file}", "model=misa", "model.text.pretrained=tiny", "seeds=[3]")
    data += ("trainer.accumulate=1",)
    run = train(tmp_path, *data, small=QUICK)
    before = ask(run, file)
    assert np.array_equal(numbers(before.rows, "prediction"), stored(run, 3))
    for split in content.values():
        for key, axes in (("text_bert", ((0, 0), (0, 0), (0, 4))), ("text", ((0, 0), (0, 4), (0, 0)))):
            split[key] = np.pad(split[key], axes)
    after = ask(run, feature_files.write(tmp_path / "padded.pkl", content))
    assert np.allclose(numbers(after.rows, "prediction"), stored(run, 3), atol=1e-6)
    content["test"]["text_bert"][0, 0, 1] = 199
    strange = ask(run, feature_files.write(tmp_path / "strange.pkl", content))
    assert "1 token ids that the training data lacked, such as 199" in strange.said


# --- with the user's own code -----------------------------------------------------------------------------------------


@pytest.fixture
def forgotten():
    with forgetting() as forget:
        yield forget


@pytest.fixture
def lab(tmp_path, forgotten):
    """A run of a user's own module on a user's own dataset, in a process that knows nothing of the user's code."""
    run = on_lab(tmp_path)
    forgotten()
    return run


def test_a_plugin_is_loaded_from_where_the_run_had_it_and_reads_its_own_files(lab, ask, tmp_path):
    found = ask(lab, tmp_path / "own.npz")
    assert found.status == 0 and f"plugin {tmp_path / 'lab_of_use.py'}" in found.said
    of = {row["id"]: row["prediction"] for row in found.rows}
    told = list(csv.DictReader((lab / "seed_3/predictions.csv").open()))
    assert len(of) == 40 and np.allclose([float(of[row["id"]]) for row in told], stored(lab, 3)[:, 0], atol=1e-6)


def test_a_plugin_that_is_gone_is_named_and_one_that_has_moved_is_taken(lab, ask, tmp_path, forgotten, caplog):
    (tmp_path / "elsewhere").mkdir()
    shutil.move(tmp_path / "lab_of_use.py", tmp_path / "elsewhere/lab_of_use.py")
    found = ask(lab, tmp_path / "own.npz")
    assert found.status == 2 and "its plugin" in found.said and "is not there any more" in found.said
    moved = tmp_path / "elsewhere/lab_of_use.py"
    moved.write_text(moved.read_text() + "\n# changed\n")
    found = ask(lab, tmp_path / "own.npz", "--plugins", str(moved))
    assert found.status == 0
    assert "the plugin lab_of_use.py has changed since the run was trained" in caplog.text


def test_code_that_lies_in_a_run_is_not_run_unasked(lab, ask, tmp_path):
    shutil.move(tmp_path / "lab_of_use.py", lab / "lab_of_use.py")
    config = (lab / "config.yaml").read_text().replace(str(tmp_path / "lab_of_use.py"), str(lab / "lab_of_use.py"))
    (lab / "config.yaml").write_text(config)
    found = ask(lab, tmp_path / "own.npz")
    assert found.status == 2 and "is not run unasked" in found.said
    assert ask(lab, tmp_path / "own.npz", "--plugins", str(lab / "lab_of_use.py")).status == 0


# --- what is refused --------------------------------------------------------------------------------------------------


def test_what_does_not_suit_is_told_in_one_line_before_a_model_is_built(classes, ask, tmp_path, monkeypatch):
    monkeypatch.setattr("powmix.use.trained.build", None)
    given = of_test(arrays())
    np.savez(tmp_path / "bad.npz", aa=given["a"])
    found = ask(classes[1], tmp_path / "bad.npz")
    assert found.status == 2 and found.said.count("\n") == 1
    assert "the model reads a, b, there is aa" in found.said
    np.savez(tmp_path / "bad.npz", a=given["a"][:, :3])
    found = ask(classes[1], tmp_path / "bad.npz")
    assert "a: expected vectors (N, 4), got vectors (N, 3); no b, of which the model reads sequences" in found.said
    assert "no file" in ask(classes[1], tmp_path / "none.npz").said
    assert "--split=valid" in ask(classes[1], tmp_path / "bad.npz", "--split", "valid").said
    (tmp_path / "x.pkl").write_bytes(pickle.dumps({}))
    assert "expected an .npz file" in ask(classes[1], tmp_path / "x.pkl").said
    assert "no finished seed 4" in ask(classes[1], tmp_path / "bad.npz", "--seed", "4").said
