"""Anyone's arrays: what each key becomes, how a dataset is split, what is refused, and that it trains."""

import io
import json
import sys
import zipfile

import numpy as np
import pytest
import torch
from report_runs import composed

from powmix.__main__ import main
from powmix.data import load
from powmix.data.array_files import read
from powmix.data.assembling import assemble
from powmix.data.registry import defaults, mistakes, task_of
from powmix.runs.identity import signature, source

N = 60
CLASSES = np.arange(N) % 3
RNG = np.random.default_rng(0)


def arrays(**more):
    """Two modalities that tell three classes, a vector and a ragged sequence; None takes a key away."""
    rng = np.random.default_rng(1)
    vector = np.eye(3)[CLASSES] @ rng.normal(size=(3, 4)) + 0.3 * rng.normal(size=(N, 4))
    steps = [rng.normal(size=(n, 2)) + c for n, c in zip(rng.integers(2, 6, N), CLASSES)]
    return {
        key: value for key, value in {"a": vector, "b": steps, "target": CLASSES, **more}.items() if value is not None
    }


@pytest.fixture
def saved(tmp_path):
    """Writes arrays as an .npz file; gives the section `dataset` that reads it."""

    def write(options=None, name="x.npz", **more):
        content = {}
        for key, value in arrays(**more).items():
            if isinstance(value, list) and not isinstance(value[0], str):
                content |= {f"{key}.rows": np.concatenate(value), f"{key}.lengths": np.array(list(map(len, value)))}
            else:
                content[key] = np.asarray(value)
        np.savez(tmp_path / name, **content)
        return {**defaults("arrays"), "path": str(tmp_path / name), **(options or {})}

    return write


def parts(splits):
    return [set(part.ids) for part in (splits.train, splits.valid, splits.test)]


# --- what a key becomes -----------------------------------------------------------------------------------------------


def test_each_kind_of_array_is_a_modality_of_its_kind():
    whole = assemble("x", arrays(c=RNG.normal(size=(N, 5, 2)), d=RNG.normal(size=(N, 1, 4, 4))))
    assert whole.kinds == {"a": "vector", "b": "sequence", "c": "sequence", "d": "image"}
    assert whole.lengths["b"].tolist() == [len(one) for one in arrays()["b"]]
    row = int(whole.lengths["b"].argmin())
    assert not whole.features["b"][row, whole.lengths["b"][row] :].any(), "padding is zero"


@pytest.mark.parametrize(
    ("target", "task", "outputs"),
    [
        (RNG.normal(size=N), "regression", 1),
        (CLASSES, "classification", 3),
        (np.array(["x", "y", "z"])[CLASSES], "classification", 3),
        ((RNG.random((N, 4)) < 0.5).astype(int), "multilabel", 4),
    ],
)
def test_the_target_tells_the_task(saved, target, task, outputs):
    dataset = saved(target=target)
    splits = load(dataset, ("*",))
    assert (splits.task, splits.outputs) == (task, outputs) and task_of(dataset) == task


def test_a_task_that_the_target_cannot_be_is_refused(saved):
    with pytest.raises(ValueError, match="task=classification needs whole numbers or strings"):
        load(saved(target=RNG.normal(size=N)), ("*",), "classification")
    assert load(saved(name="y.npz"), ("*",), "regression").outputs == 1


@pytest.mark.parametrize(
    ("more", "message"),
    [
        ({"target": None}, "no `target`"),
        ({"a": np.full((N, 2), np.nan)}, "a: 120 of 120 values are NaN"),
        ({"a": None, "b": None}, "no modality"),
        ({"b.rows": np.zeros((5, 2)), "b": None, "b.lengths": np.ones(N, int)}, "lengths add up to 60 steps"),
        ({"id": ["same"] * N}, "1 names come more than once"),
        ({"split": ["elsewhere"] * N}, "expected train, valid, test"),
        ({"target": np.arange(N)}, "60 classes in 60 examples"),
    ],
)
def test_what_cannot_be_used_is_refused_by_name(more, message):
    with pytest.raises(ValueError, match=message):
        assemble("x", arrays(**more))


def test_a_key_that_is_not_used_is_named(caplog):
    assemble("x", arrays(label=CLASSES, odd=np.zeros((7, 2))))
    assert "label (60,), as a vector (60, 1)" in caplog.text and "odd (7, 2)" in caplog.text


def test_class_numbers_kept_as_floats_and_images_with_channels_last_are_told(caplog):
    assemble("x", arrays(target=RNG.normal(size=N)))
    assert not caplog.records
    assemble("x", arrays(target=CLASSES.astype(float)))
    assert "read as regression; task=classification for classes" in caplog.text
    assemble("x", arrays(c=np.zeros((N, 8, 6, 3))))
    assert "c (60, 8, 6, 3) is read as images of 8 channels: they are (N, C, H, W)" in caplog.text


def test_a_file_without_a_target_ends_the_command_in_one_line(saved, tmp_path, monkeypatch, capsys):
    path = saved(target=None, tagret=CLASSES)["path"]
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "argv", ["powmix", "dataset=arrays", f"dataset.path={path}", "model=late_fusion"])
    with pytest.raises(SystemExit, match=r"no `target` among .*did you mean tagret") as stopped:
        main()
    assert str(stopped.value).count("\n") == 0 and "Warning" not in capsys.readouterr().err


def test_pickled_objects_are_not_read(tmp_path):
    np.savez(tmp_path / "x.npz", a=np.array([{"a": 1}], dtype=object), target=CLASSES)
    with pytest.raises(ValueError, match=r"x\.npz: .*allow_pickle"):
        load({**defaults("arrays"), "path": str(tmp_path / "x.npz")}, ("*",))


def header(shape, descr="<f8"):
    """A .npy header alone, whatever follows it."""
    stream = io.BytesIO()
    np.lib.format.write_array_header_1_0(stream, {"descr": descr, "fortran_order": False, "shape": shape})
    return stream.getvalue()


def zipped(path, content, **more):
    with zipfile.ZipFile(path, "w", **more) as archive:
        for name, data in content.items():
            archive.writestr(name, data)


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (header((1_250_000_000,)) + bytes(80), r"a: its header claims 10000000000 bytes .* the file has 80"),
        (header((2**62, 2**62)) + bytes(80), "a: its header claims 170141183460469231731687303715884105728"),
        (header((-1, 5)) + bytes(80), r"a: its header claims -40 bytes"),
        (header((1,), "|O") + bytes(80), "a: holds Python objects, which are not read"),
        (b"\x93NUMPY\x01\x00\xff\xff" + b"(" * 70000, "a: no header of a plain array"),
        (b"hello", "a: no header of a plain array"),
        (b"", "a: no header of a plain array"),
    ],
)
@pytest.mark.parametrize("kind", ["npz", "folder"])
def test_a_file_that_claims_what_it_has_not_is_refused_before_memory_is_set_aside(tmp_path, data, message, kind):
    path = tmp_path / ("x.npz" if kind == "npz" else "x")
    if kind == "npz":
        zipped(path, {"a.npy": data})
    else:
        path.mkdir()
        (path / "a.npy").write_bytes(data)
    with pytest.raises(ValueError, match=message) as error:
        load({**defaults("arrays"), "path": str(path)}, ("*",))
    assert str(path) in str(error.value) and "\n" not in str(error.value)


def test_a_small_file_that_unpacks_to_a_huge_one_is_refused_before_it_is_unpacked(tmp_path):
    zeros = header((40_000_000,)) + bytes(320_000_000)
    zipped(tmp_path / "x.npz", {"a.npy": zeros}, compression=zipfile.ZIP_DEFLATED)
    assert (tmp_path / "x.npz").stat().st_size < 500_000
    with pytest.raises(ValueError, match=r"x\.npz: expected at most 67108864 bytes of arrays, got 320000"):
        load({**defaults("arrays"), "path": str(tmp_path / "x.npz")}, ("*",))


def test_a_damaged_archive_is_refused_in_one_line_or_read_as_it_was(tmp_path):
    np.savez_compressed(tmp_path / "x.npz", a=RNG.normal(size=(N, 50)), target=CLASSES)
    whole, own = (tmp_path / "x.npz").read_bytes(), read(str(tmp_path / "x.npz"))
    refused = 0
    for place in range(0, len(whole), 331):
        (tmp_path / "y.npz").write_bytes(whole[:place] + b"\xff" * 8 + whole[place + 8 :])
        try:
            found = read(str(tmp_path / "y.npz"))
        except ValueError as error:
            refused += str(error).startswith(f"{tmp_path / 'y.npz'}: ") and "\n" not in str(error)
        else:
            refused += all((value == own[name]).all() for name, value in found.items())
    assert refused == len(range(0, len(whole), 331)) > 50


# --- splits -----------------------------------------------------------------------------------------------------------


def test_a_random_split_takes_evenly_from_all_classes_and_shares_nothing(saved):
    splits = load(saved({"valid": 12, "test": 0.2}), ("*",))
    train, valid, test = parts(splits)
    assert [len(one) for one in (train, valid, test)] == [36, 12, 12] and not (
        train & test or train & valid or valid & test
    )
    assert splits.test.target.sum(0).tolist() == [4, 4, 4]


def test_every_seed_draws_its_own_split_where_asked(saved):
    own = saved({"split_seed": "seed", "train_examples": 20})
    first, second, again = (load(own, ("*",), seed=seed) for seed in (1, 2, 1))
    assert parts(first) != parts(second) and parts(first) == parts(again) and len(first.train) == 20
    fixed = saved(name="y.npz")
    assert parts(load(fixed, ("*",), seed=1)) == parts(load(fixed, ("*",), seed=2))


def test_groups_stay_together(saved):
    splits = load(saved(group=[f"g{row // 6}" for row in range(N)]), ("*",))
    groups = [set(part.groups) for part in (splits.train, splits.valid, splits.test)]
    assert not (groups[0] & groups[1] or groups[0] & groups[2] or groups[1] & groups[2]) and all(groups)


def test_folds_test_every_example_once(saved):
    tested = [parts(load(saved({"folds": 5, "fold": fold}), ("*",)))[2] for fold in range(5)]
    assert sum(map(len, tested)) == N == len(set.union(*tested))


def test_a_given_split_stands_and_makes_no_folds(saved):
    given = np.repeat(["train", "valid", "test"], 20)
    assert parts(load(saved(split=given), ("*",)))[2] == {str(row) for row in range(40, 60)}
    with pytest.raises(ValueError, match="a `split` of its own"):
        load(saved({"folds": 5}, split=given), ("*",))


def test_shares_that_leave_nothing_to_train_on_are_refused(saved):
    with pytest.raises(ValueError, match="leave no training part"):
        load(saved({"valid": 0.5, "test": 0.5}), ("*",))


def test_features_are_scaled_by_the_training_part_and_padding_stays_zero(saved):
    splits = load(saved(), ("*",))
    assert torch.allclose(splits.train.features["a"].mean(0), torch.zeros(4), atol=1e-5)
    assert torch.allclose(splits.train.features["a"].std(0, correction=0), torch.ones(4), atol=1e-4)
    batch = splits.train.batch(torch.arange(5))
    assert not batch["b"][~batch.mask("b")].any()
    assert not torch.allclose(
        load(saved({"scale": "none"}), ("*",)).train.features["a"].mean(0), torch.zeros(4), atol=1e-2
    )


def test_leaks_are_refused_by_name_or_told(saved, caplog):
    twice = arrays()
    a = twice["a"].copy()
    b = list(twice["b"])
    a[59], b[59] = a[0], b[0]
    given = np.repeat(["train", "valid", "test"], 20)
    with pytest.raises(ValueError, match="1 test examples equal a training example"):
        load(saved(a=a, b=b, split=given), ("*",))
    with pytest.raises(ValueError, match=r"groups are in training and in test"):
        load(saved(split=given, group=["one"] * N, name="y.npz"), ("*",))
    load(saved({"leaks": "warn"}, a=a, b=b, split=given, name="z.npz"), ("*",))
    assert "1 test examples equal a training example" in caplog.text


# --- options and identity ---------------------------------------------------------------------------------------------


def test_wrong_options_are_told_before_anything_is_read(saved):
    dataset = saved()
    assert mistakes(dataset) == []
    assert "did you mean train_examples?" in mistakes({**dataset, "train_example": 3})[0]
    assert "dataset.valid must be a share" in mistakes({**dataset, "valid": 0})[0]
    assert "dataset.fold must be below" in mistakes({**dataset, "fold": 3})[0]
    assert "no file or folder" in mistakes({**dataset, "path": "/nowhere.npz"})[0]


def test_a_folder_is_known_by_what_is_in_it_wherever_it_lies(tmp_path):
    for place in ("one", "two"):
        (tmp_path / place).mkdir()
        np.save(tmp_path / place / "a.npy", arrays()["a"])
        np.save(tmp_path / place / "target.npy", CLASSES)
    first = source({"path": str(tmp_path / "one")})
    assert first == source({"path": str(tmp_path / "two")})
    np.save(tmp_path / "two" / "target.npy", 2 - CLASSES)
    assert first != source({"path": str(tmp_path / "two")})
    assert load({**defaults("arrays"), "path": str(tmp_path / "one")}, ("*",)).dims == {"a": 4}


def test_a_model_that_reads_other_modalities_is_told_what_there_is(saved):
    with pytest.raises(ValueError, match="has no text, audio, vision, which the model reads; it has a, b"):
        load(saved(), ("text", "audio", "vision"))


def test_modalities_can_be_left_out_and_what_is_not_there_is_named(saved):
    dataset = saved(text=np.array([f"example {i}" for i in range(N)]))
    alone = load({**dataset, "modalities": ["b"]}, ("*",))
    assert list(alone.dims) == ["b"] and alone.train.features.keys() == {"b"}
    assert list(load({**dataset, "modalities": None}, ("*",)).dims) == ["a", "b"]
    with pytest.raises(ValueError, match=r"unknown modality of arrays \(dataset.modalities\) 'c'.*allowed: a, b, text"):
        load({**dataset, "modalities": ["c"]}, ("*",))
    with pytest.raises(ValueError, match="has no a, which the model reads; it has b"):
        load({**dataset, "modalities": ["b"]}, ("a", "b"))
    assert mistakes({**dataset, "modalities": []}) and mistakes({**dataset, "modalities": "b"})


def test_a_corpus_leaves_modalities_out_too_and_old_runs_keep_their_names():
    corpus = composed("synthetic", "late_fusion", "powmix", None, "published")
    sizes = {**corpus["dataset"], "sizes": {"train": 6, "valid": 4, "test": 4}}
    assert list(load({**sizes, "modalities": ["text", "audio"]}, ("*",)).dims) == ["text", "audio"]
    with pytest.raises(ValueError, match="has no vision, which the model reads; it has text, audio"):
        load({**sizes, "modalities": ["text", "audio"]}, ("text", "audio", "vision"))
    before = {**corpus, "dataset": {key: value for key, value in corpus["dataset"].items() if key != "modalities"}}
    assert signature(corpus) == signature(before)
    assert signature({**corpus, "dataset": {**corpus["dataset"], "modalities": ["text"]}}) != signature(before)


def test_an_unknown_file_trains_beats_the_majority_and_is_analysed(saved, tmp_path, monkeypatch, capsys):
    dataset = saved({}, a=np.repeat(arrays()["a"], 1, axis=0))
    monkeypatch.chdir(tmp_path)
    command = ["powmix", "dataset=arrays", f"dataset.path={dataset['path']}", "model=late_fusion", "seeds=2"]
    command += ["dataset.split_seed=seed", "trainer.max_epochs=30", "trainer.device=cpu", "analyses=[regularity]"]
    monkeypatch.setattr(sys, "argv", command)
    main()
    [path] = (tmp_path / "outputs/runs").glob("*/result.json")
    result = json.loads(path.read_text())
    assert result["variant"]["task"] == "classification" and result["objective_metric"] == "Accuracy"
    assert result["mean"]["test"]["Accuracy"] > 0.6 and len(result["seeds"]) == 2
    assert len(json.loads((path.parent / "analysis/regularity.json").read_text())["rows"]) == 2


# --- the embedded tasks, where they are -------------------------------------------------------------------------------


def test_the_shared_tasks_have_their_published_parts(shared):
    folder = str(shared / "data/tasks")
    utd = load({**defaults("utd"), "path": folder}, ("*",))
    assert (len(utd.train) + len(utd.valid), len(utd.test), utd.outputs) == (431, 430, 27)
    assert set(utd.test.groups) == {f"subject {one}" for one in (2, 4, 6, 8)} and len(set(utd.valid.groups)) == 1
    maec = load({**defaults("maec"), "path": folder}, ("*",))
    assert [len(part) for part in (maec.train, maec.valid, maec.test)] == [535, 76, 154]
    constant = (maec.test.target - maec.train.target.mean()).square().mean().item()
    assert constant == pytest.approx(0.544, abs=2e-3)
