"""M-SENA files: what is checked, cleaned and measured, and the store that is made of them once."""

import json
import multiprocessing
import subprocess
import sys
import tracemalloc

import numpy as np
import pytest
import torch
from feature_files import SIZES, content, write

from powmix.data import cache, cleaning, load, msena, store
from powmix.data.store import open_store
from powmix.data.unpickler import FeatureFileError

ALL = ("tokens", "text", "audio", "vision")


@pytest.fixture(autouse=True)
def own_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("POWMIX_CACHE", str(tmp_path / "cache"))


def change(split, key, value):
    def spoil(whole):
        if value is KeyError:
            del whole[split][key]
        else:
            whole[split][key] = value(whole[split][key]) if callable(value) else value

    return spoil


def test_the_store_holds_what_the_pickle_holds(tmp_path):
    whole = content()
    splits = load({"name": "mosi", "path": str(write(tmp_path / "f.pkl", whole))}, ALL)
    for name, size in SIZES.items():
        split, raw = getattr(splits, name), whole[name]
        assert len(split) == size and split.ids == raw["id"] and split.raw_text == raw["raw_text"].tolist()
        for modality in ("text", "audio", "vision"):
            np.testing.assert_array_equal(split.features[modality].numpy(), raw[modality])
        np.testing.assert_array_equal(split.tokens.numpy(), raw["text_bert"])
        np.testing.assert_array_equal(split.target[:, 0].numpy(), raw["regression_labels"])
        np.testing.assert_array_equal(split.lengths["audio"].numpy(), raw["audio_lengths"])
        np.testing.assert_array_equal(split.lengths["text"].numpy(), raw["text_bert"][:, 1].sum(-1))
    assert splits.dims == {"text": 4, "audio": 3, "vision": 2}
    assert splits.steps == {"text": 8, "audio": 10, "vision": 6}
    assert (splits.train.tokens.dtype, splits.train.target.dtype) == (torch.int64, torch.float32)
    assert splits.convention == "mosi" and len(splits.digest) == 64


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_a_conversion_holds_some_rows_at_a_time_and_no_array(tmp_path, dtype):
    whole = content()
    for split in whole.values():
        split["audio"] = np.random.default_rng(0).normal(size=(len(split["id"]), 500, 1000)).astype(dtype)
    size = whole["train"]["audio"].nbytes
    path = write(tmp_path / "f.pkl", whole)
    tracemalloc.start()
    try:
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(cleaning, "ROWS", 1)
            opened = open_store(path, "mosi")
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    np.testing.assert_array_equal(opened.splits.train.features["audio"], whole["train"]["audio"].astype(np.float32))
    assert peak < 0.75 * size


def test_only_what_a_model_needs_is_handed_over(tmp_path):
    path = str(write(tmp_path / "f.pkl", content()))
    splits = load({"name": "mosi", "path": path}, ("tokens", "audio"))
    assert list(splits.train.features) == ["audio"] and splits.train.tokens is not None
    assert splits.dims == {"audio": 3} and splits.steps["text"] == 8
    assert load({"name": "mosi", "path": path}, ("text",)).train.tokens is None


def test_equal_arguments_give_the_same_object_and_a_changed_file_another(tmp_path):
    path = write(tmp_path / "f.pkl", content())
    first = load({"name": "mosi", "path": str(path)}, ALL)
    assert load({"name": "mosi", "path": str(path)}, ALL) is first
    write(path, content(seed=1))
    assert load({"name": "mosi", "path": str(path)}, ALL).digest != first.digest


def test_the_pickle_is_read_once_and_a_stray_write_stays_private(tmp_path, monkeypatch):
    path = write(tmp_path / "f.pkl", content())
    first = open_store(path, "mosi").splits.train.features["audio"]
    before = first.clone()
    monkeypatch.setattr(msena, "read", lambda path: pytest.fail("read twice"))
    first.add_(1)
    assert torch.equal(open_store(path, "mosi").splits.train.features["audio"], before)


def convert_and_count(path, log):
    convert = store._convert

    def counted(*arguments):
        with open(log, "a") as stream:
            stream.write("x")
        return convert(*arguments)

    store._convert = counted
    open_store(path, "mosi")


def test_processes_that_start_together_convert_once(tmp_path):
    path, log = write(tmp_path / "f.pkl", content()), tmp_path / "log"
    fork = multiprocessing.get_context("fork")
    jobs = [fork.Process(target=convert_and_count, args=(path, log)) for _ in range(4)]
    for job in jobs:
        job.start()
    for job in jobs:
        job.join()
    assert [job.exitcode for job in jobs] == [0] * 4
    assert log.read_text() == "x"
    assert not list((tmp_path / "cache" / "features").glob("*.tmp-*"))


def test_a_conversion_that_was_killed_leaves_nothing_behind(tmp_path):
    path = write(tmp_path / "f.pkl", content())
    folder = tmp_path / "cache" / "features" / f"{cache.file_digest(path)}-v{store.VERSION}"
    dead = folder.with_name(folder.name + ".tmp-dead")
    dead.mkdir(parents=True)
    (dead / "train.audio.npy").write_bytes(b"half")
    assert len(open_store(path, "mosi").splits.train) == SIZES["train"]
    assert folder.is_dir() and not dead.exists()


def test_an_unwritable_cache_says_which_variable_to_set(tmp_path, monkeypatch):
    (tmp_path / "occupied").write_text("a file")
    monkeypatch.setenv("POWMIX_CACHE", str(tmp_path / "occupied"))
    with pytest.raises(ValueError, match="POWMIX_CACHE"):
        open_store(write(tmp_path / "f.pkl", content()), "mosi")


def test_values_that_are_not_finite_become_zero_in_every_modality(tmp_path):
    whole = content()
    for modality, value in (("audio", -np.inf), ("vision", np.nan), ("text", np.inf)):
        whole["train"][modality][3, 1, 0] = value
    opened = open_store(write(tmp_path / "f.pkl", whole), "mosi")
    for modality, kind in (("audio", "-inf"), ("vision", "nan"), ("text", "inf")):
        assert opened.splits.train.features[modality][3, 1, 0] == 0
        assert opened.facts["cleaned"][modality] == {"-inf": 0, "inf": 0, "nan": 0} | {kind: 1}
        assert opened.splits.train.features[modality].isfinite().all()
    assert opened.splits.notes["cleaned"]["audio"]["-inf"] == 1


def test_lengths_of_zero_become_one_and_lengths_beyond_the_end_the_end(tmp_path):
    whole = content()
    whole["valid"]["audio_lengths"][:2] = [0, 99]
    opened = open_store(write(tmp_path / "f.pkl", whole), "mosi")
    assert opened.splits.valid.lengths["audio"][:2].tolist() == [1, 10]
    assert opened.facts["repaired"]["audio"] == {"zero": 1, "beyond": 1}


def test_the_padding_side_is_found_by_modality_and_respected_by_masks(tmp_path):
    whole = content()
    for split in whole.values():
        split["audio"] = split["audio"][:, ::-1]
    split = open_store(write(tmp_path / "f.pkl", whole), "mosi").splits.train
    assert split.side == {"text": "right", "audio": "left", "vision": "right"}
    batch = split.batch(torch.arange(len(split)))
    for modality in ("audio", "vision"):
        assert torch.equal(batch.mask(modality), split.features[modality].ne(0).any(-1))


def test_an_aligned_file_without_lengths_has_the_text_s(tmp_path):
    whole = content()
    for split in whole.values():
        del split["audio_lengths"], split["vision_lengths"]
        split["audio"], split["vision"] = split["audio"][:, :8], np.repeat(split["vision"], 2, 1)[:, :8]
    opened = open_store(write(tmp_path / "f.pkl", whole), "mosi")
    splits = opened.splits
    assert opened.facts["aligned"]
    assert torch.equal(splits.train.lengths["audio"], splits.train.lengths["text"])


def test_a_file_with_dense_text_alone_has_lengths_measured_from_it(tmp_path):
    whole = content(tokens=False)
    splits = load({"name": "mosi", "path": str(write(tmp_path / "f.pkl", whole))}, ("text", "audio", "vision"))
    assert torch.equal(splits.train.lengths["text"], torch.from_numpy(whole["train"]["text"]).ne(0).any(-1).sum(1))
    with pytest.raises(ValueError, match="text_bert"):
        load({"name": "mosi", "path": str(tmp_path / "f.pkl")}, ("tokens",))


def test_classification_gives_the_sign_of_the_label_as_one_hot(tmp_path):
    whole = content()
    whole["train"]["regression_labels"][:3] = [-0.2, 0, 3]
    splits = load({"name": "mosi", "path": str(write(tmp_path / "f.pkl", whole))}, ("audio",), "classification")
    assert splits.train.target[:3].tolist() == [[1, 0, 0], [0, 1, 0], [0, 0, 1]] and splits.outputs == 3


@pytest.mark.parametrize(
    "spoil, key",
    [
        (lambda whole: whole.pop("valid"), "valid: expected a dict of M-SENA keys, got none"),
        (lambda whole: whole.update(test=[1]), "test: expected a dict of M-SENA keys, got list"),
        (change("train", "audio", KeyError), "train/audio: expected this key, got"),
        (change("valid", "regression_labels", KeyError), "valid/regression_labels: expected this key"),
        (change("train", "audio", lambda x: x[:-1]), r"train/audio: expected shape \(12, .*got \(11, 10, 3\)"),
        (change("train", "audio", lambda x: x[..., 0]), r"train/audio: expected shape .* got \(12, 10\)"),
        (change("test", "vision", lambda x: x[..., :1]), r"test/vision: expected .* \(6, 2\) as in train"),
        (change("test", "vision", lambda x: x.astype(str)), "test/vision: expected an array of numbers, got ndarray"),
        (change("test", "vision", [[1.0], [1.0, 2.0]]), "test/vision: expected an array of numbers, got a ragged list"),
        (change("test", "text", KeyError), "test: expected the same keys as in train"),
        (change("train", "text", lambda x: x[:, :7]), "train/text: expected 8 steps as in text_bert, got 7"),
        (change("train", "text_bert", lambda x: x[:, :2]), r"train/text_bert: expected shape \(12, 3, steps\)"),
        (change("train", "text_bert", lambda x: x + 0.5), "train/text_bert: expected token ids"),
        (change("train", "text_bert", lambda x: x * 2), "expected an attention mask of 0 to 1 in row 1, got 2"),
        (change("train", "audio_lengths", [1, 2]), "train/audio_lengths: expected 12 lengths, got 2"),
        (change("train", "audio_lengths", [-1] * 12), "train/audio_lengths: expected integers >= 0"),
        (change("train", "vision_lengths", KeyError), "train/vision_lengths: expected this key in an unaligned file"),
        (change("train", "id", lambda x: x[:-1]), "train/id: expected 12 strings, got 11"),
        (change("train", "id", [1] * 12), "train/id: expected 12 strings, got int"),
        (change("train", "regression_labels", lambda x: x * np.nan), "train/regression_labels: expected finite"),
        (change("train", "regression_labels", lambda x: x * 2), "regression_labels: expected -3 to 3 for mosi, got"),
    ],
)  # fmt: skip
def test_a_wrong_file_is_refused_with_file_key_expected_and_got(tmp_path, spoil, key):
    whole = content()
    whole["train"]["regression_labels"][0] = 3
    spoil(whole)
    path = write(tmp_path / "wrong.pkl", whole)
    with pytest.raises(FeatureFileError, match=key) as error:
        open_store(path, "mosi")
    assert str(error.value).startswith(str(path)) and "\n" not in str(error.value)


def test_sims_has_its_own_label_range(tmp_path):
    whole = content()
    with pytest.raises(FeatureFileError, match="is it a file of mosi or mosei"):
        open_store(write(tmp_path / "f.pkl", whole), "sims")
    for split in whole.values():
        split["regression_labels"] /= 3
    splits = open_store(write(tmp_path / "g.pkl", whole), "sims").splits
    assert splits.label_range == (-1, 1) and splits.convention == "sims"


@pytest.mark.parametrize(
    "dataset, message",
    [
        ({"name": "mosy"}, r"dataset.name must be one of .* got 'mosy' \(did you mean mosi\?\)"),
        (
            {"name": "mosi", "pth": "x"},
            r"unknown dataset option 'pth' \(did you mean path\?\); allowed: name, fraction, fraction_seed, modalities",
        ),
        (
            {"name": "mosei"},
            "dataset.path: mosei needs its feature file, got None. CMU-MOSEI: .*unaligned_50.pkl.*powmix dataset=mosei",
        ),
        ({"name": "sims", "path": "/nowhere/f.pkl"}, "no file '/nowhere/f.pkl'. CH-SIMS: .*unaligned_39.pkl"),
        ({"name": "synthetic", "fraction": 1.5}, r"dataset.fraction must be a number within \(0, 1\], got 1.5"),
    ],
)
def test_a_wrong_dataset_section_says_what_to_do(dataset, message):
    with pytest.raises(ValueError, match=message):
        load(dataset, ("audio",))


def command(*arguments):
    return subprocess.run(
        [sys.executable, "-m", "powmix.data", *map(str, arguments)], capture_output=True, text=True, timeout=120
    )


def test_the_command_checks_converts_and_tells_where(tmp_path, capsys):
    from powmix.data.__main__ import main

    whole = content()
    whole["train"]["audio"][0, 0, 0] = -np.inf
    path = write(tmp_path / "f.pkl", whole)
    assert main(["check", str(path)]) == 0
    shown = capsys.readouterr().out
    assert "1 -inf" in shown and "unaligned" in shown and cache.file_digest(path) in shown.replace("\n", "")
    assert not (tmp_path / "cache" / "features").exists()
    assert main(["convert", str(path)]) == 0
    facts = next((tmp_path / "cache" / "features").glob("*/facts.json"))
    assert json.loads(facts.read_text())["facts"]["sizes"] == SIZES
    assert main(["where"]) == 0
    assert "github.com/thuiar/MMSA" in capsys.readouterr().out


def test_the_command_answers_a_bad_file_in_one_line_with_exit_code_2(tmp_path):
    (tmp_path / "bad.pkl").write_bytes(b"cos\nsystem\n(S'touch ran'\ntR.")
    got = command("check", tmp_path / "bad.pkl")
    assert got.returncode == 2 and got.stdout == "" and got.stderr.count("\n") == 1
    assert "bad.pkl" in got.stderr and "os.system" in got.stderr


def test_real_files_are_read(shared):
    folder = shared / "data" / "mosi"
    whole = open_store(folder / "mosi_std_ta_ctx5.pkl", "mosi")
    assert whole.facts["sizes"] == {"train": 1284, "valid": 229, "test": 686}
    assert whole.facts["constant_mae"] == pytest.approx(1.456, abs=5e-4)
    opened = open_store(folder / "mosi_dev229_aligned.pkl", "mosi")
    assert opened.facts["aligned"] and opened.splits.dims == {"audio": 74, "vision": 47}
    assert set(opened.splits.steps.values()) == {50}
