"""What survives a crash, a kill, a damaged file: everything up to the last epoch, bit for bit."""

import json
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
from training_corpus import (
    PairMixer,
    TinyFusion,
    Watcher,
    rows_of,
    same_weights,
    science,
    tiny_splits,
    tiny_train,
    weights,
)

from powmix.runs.seed_records import finished_seed
from powmix.training import Pruned, Settings, TrainingFailed, checkpoint, train, train_seeds
from powmix.training.seeds import Generators


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    folder = tmp_path_factory.mktemp("whole") / "seed_1111"
    return tiny_train(folder), folder


@pytest.mark.parametrize("epoch", [1, 4])
@pytest.mark.parametrize("error", [RuntimeError, KeyboardInterrupt])
def test_an_interrupted_training_continues_bit_for_bit(whole, tmp_path, epoch, error):
    record, folder = whole
    with pytest.raises(error):
        tiny_train(tmp_path, listener=Watcher(epoch, error))
    assert not (tmp_path / "result.json").exists()
    watcher = Watcher()
    resumed = tiny_train(tmp_path, listener=watcher)
    assert watcher.rows[0]["epoch"] == epoch + 1
    assert science(resumed) == science(record)
    assert same_weights(weights(tmp_path), weights(folder))


def test_the_plateau_and_left_over_batches_survive_an_interruption(tmp_path):
    options = {"plateau_patience": 0, "factor": 0.5, "accumulate": 3, "clip_value": 0.01, "max_epochs": 8}
    options["optimizer"] = {"learning_rate": 0.3, "weight_decay": 0.0}
    record = tiny_train(tmp_path / "whole", **options)
    with pytest.raises(RuntimeError):
        tiny_train(tmp_path / "cut", listener=Watcher(5), **options)
    assert science(tiny_train(tmp_path / "cut", **options)) == science(record)
    rates = [row["learning_rate"] for row in rows_of(tmp_path / "cut" / "history.csv")]
    assert rates == [row["learning_rate"] for row in rows_of(tmp_path / "whole" / "history.csv")]
    assert float(rates[-1]) < 0.3


CHILD = """
import sys, time, torch
from pathlib import Path
from training_corpus import tiny_train
torch.set_num_threads(1)
from powmix.training import Listener
class Slow(Listener):
    def on_epoch(self, seed, row):
        print(row["epoch"], flush=True)
        time.sleep(0.2 if row["epoch"] > 2 else 0)
tiny_train(Path(sys.argv[1]), listener=Slow())
"""


@pytest.mark.parametrize("number", [pytest.param(signal.SIGKILL, marks=pytest.mark.slow), signal.SIGTERM])
def test_a_killed_training_continues_bit_for_bit(whole, tmp_path, number):
    record, folder = whole
    paths = [str(Path(__file__).parent), *sys.path]
    child = subprocess.Popen(
        [sys.executable, "-c", CHILD, str(tmp_path)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=os.environ | {"PYTHONPATH": os.pathsep.join(paths)},
    )
    assert [child.stdout.readline().strip() for _ in range(3)] == ["1", "2", "3"]
    time.sleep(0.02)
    child.send_signal(number)
    _, errors = child.communicate()
    assert child.returncode != 0 and ("KeyboardInterrupt" in errors) == (number == signal.SIGTERM)
    watcher = Watcher()
    resumed = tiny_train(tmp_path, listener=watcher)
    assert watcher.rows[0]["epoch"] >= 4
    assert science(resumed) == science(record)
    assert same_weights(weights(tmp_path), weights(folder))


def test_seconds_add_up_over_interruptions(tmp_path):
    first, second = Watcher(3), Watcher()
    with pytest.raises(RuntimeError):
        tiny_train(tmp_path, listener=first)
    record = tiny_train(tmp_path, listener=second)
    assert record["seconds"] >= sum(row["seconds"] for row in first.rows + second.rows)


@pytest.mark.parametrize("damage", [lambda raw: raw[: len(raw) // 2], lambda raw: b"", lambda raw: b"x" * 100])
def test_a_damaged_checkpoint_is_reported_and_the_seed_starts_again(whole, tmp_path, damage):
    record, _ = whole
    with pytest.raises(RuntimeError):
        tiny_train(tmp_path, listener=Watcher(2))
    path = tmp_path / "checkpoint.pt"
    path.write_bytes(damage(path.read_bytes()))
    watcher = Watcher()
    with pytest.warns(UserWarning, match=r"checkpoint\.pt cannot be read.*starts again"):
        assert science(tiny_train(tmp_path, listener=watcher)) == science(record)
    assert watcher.rows[0]["epoch"] == 1


def test_every_flipped_bit_of_a_checkpoint_is_noticed(tmp_path):
    with pytest.raises(RuntimeError):
        tiny_train(tmp_path, listener=Watcher(2))
    path = tmp_path / "checkpoint.pt"
    whole = path.read_bytes()
    for position in random.Random(0).sample(range(8 * len(whole)), 60):
        damaged = bytearray(whole)
        damaged[position // 8] ^= 1 << position % 8
        path.write_bytes(damaged)
        with pytest.raises(checkpoint.CorruptCheckpoint):
            checkpoint.load(path)
    path.write_bytes(whole)
    assert checkpoint.load(path)["seed"] == 1111


@pytest.mark.parametrize(
    ("name", "damage"),
    [
        ("weights.safetensors", lambda raw: raw[:-1]),
        ("predictions.csv", lambda raw: raw.replace(b"1", b"2", 1)),
        ("history.csv", None),
        ("result.json", lambda raw: raw.replace(b'"MAE"', b'"MEA"', 1)),
        ("result.json", lambda raw: raw.replace(b'"test"', b'"tset"')),
        ("result.json", lambda raw: b'{"a":' * 100_000),
    ],
)
def test_a_finished_seed_whose_files_are_damaged_is_trained_again(whole, tmp_path, name, damage):
    tiny_train(tmp_path)
    path = tmp_path / name
    path.unlink() if damage is None else path.write_bytes(damage(path.read_bytes()))
    assert science(tiny_train(tmp_path)) == science(whole[0])
    assert same_weights(weights(tmp_path), weights(whole[1]))


def test_the_seeds_after_one_that_diverges_are_trained(tmp_path):
    first = Generators(1, torch.device("cpu")).initialisation
    settings = Settings(max_epochs=2, device="cpu", batch_size=16)

    def build():
        model = TinyFusion()
        if torch.initial_seed() == first:
            with torch.no_grad():
                model.head.weight.fill_(float("nan"))
        return model

    def place(seed):
        return tmp_path / f"seed_{seed}"

    with pytest.raises(TrainingFailed, match=r"^seed 1: validation Loss was not finite"):
        train_seeds(build, tiny_splits(), PairMixer(0.5), settings, [1, 2, 3], place, Watcher())
    assert [bool(finished_seed(place(seed), seed)) for seed in (1, 2, 3)] == [False, True, True]


def test_a_checkpoint_of_another_model_is_reported(whole, tmp_path):
    record, _ = whole
    with pytest.raises(RuntimeError):
        tiny_train(tmp_path, listener=Watcher(2))
    state = torch.load(tmp_path / "checkpoint.pt", weights_only=True)
    state["model"]["head.weight"] = torch.zeros(2, 2)
    checkpoint.save(tmp_path / "checkpoint.pt", state)
    with pytest.warns(UserWarning, match="does not fit this training"):
        assert science(tiny_train(tmp_path)) == science(record)


def test_a_damaged_result_is_not_believed(whole, tmp_path):
    tiny_train(tmp_path)
    (tmp_path / "result.json").write_text('{"schema": 2, "status": "fini')
    assert science(tiny_train(tmp_path)) == science(whole[0])


def test_a_pruned_training_says_so_and_can_be_finished_later(whole, tmp_path):
    with pytest.raises(Pruned):
        tiny_train(tmp_path, listener=Watcher(2, Pruned))
    result = json.loads((tmp_path / "result.json").read_text())
    assert (result["status"], result["epochs"], result["test"]) == ("pruned", 2, None)
    assert science(tiny_train(tmp_path)) == science(whole[0])


def test_without_checkpoints_nothing_but_the_end_is_kept(whole, tmp_path):
    with pytest.raises(RuntimeError):
        tiny_train(tmp_path, listener=Watcher(2), checkpoint=False)
    assert not (tmp_path / "checkpoint.pt").exists()
    assert science(tiny_train(tmp_path, checkpoint=False)) == science(whole[0])


def test_checkpoints_that_cost_more_than_they_save_are_left_out_and_nothing_changes(whole, tmp_path, monkeypatch):
    clock, saved, save = [0.0], [], checkpoint.save

    def slow(path, state):
        saved.append(len(json.loads(state["history"])))
        clock[0] += 0.1  # as two epochs' share
        save(path, state)

    def epoch(self, seed, row):
        clock[0] += 1.0
        if row["epoch"] == 4:
            raise RuntimeError

    monkeypatch.setattr("powmix.training.solver.time.perf_counter", lambda: clock[0])
    monkeypatch.setattr(checkpoint, "save", slow)
    monkeypatch.setattr(Watcher, "on_epoch", epoch)
    with pytest.raises(RuntimeError):
        tiny_train(tmp_path, listener=Watcher(), checkpoint="auto")
    assert saved == [1, 3]
    assert science(tiny_train(tmp_path, checkpoint="auto")) == science(whole[0])
    assert saved[2] == 4


def test_powmix_on_a_real_model_resumes_bit_for_bit_and_equals_the_baseline_at_p_mix_zero(tmp_path):
    from powmix import data, models
    from powmix.mixing.registry import build

    options = {"text_hidden": 8, "audio_hidden": 4, "vision_hidden": 4, "text_out": 8, "post_fusion_dim": 8}
    options |= {f"{part}_dropout": 0.2 for part in ("audio", "vision", "post_fusion")}
    corpus = {"name": "synthetic", "sizes": {"train": 90, "valid": 30, "test": 30}}
    splits, settings = data.load(corpus, models.needs("lf_dnn")), Settings(max_epochs=4, device="cpu", batch_size=16)
    protocol = dict.fromkeys(("mask_padding", "configured_decay", "decay_without_gradient"), False)

    def run(name, mixer, listener=None, **mixing):
        def model():
            return models.build("lf_dnn", options, models.inputs_of(splits), protocol)

        return train(model, splits, build(mixer, mixing), settings, 1111, tmp_path / name, listener)

    record = run("whole", "powmix", p_mix=0.5)
    with pytest.raises(RuntimeError):
        run("cut", "powmix", Watcher(2), p_mix=0.5)
    assert science(run("cut", "powmix", p_mix=0.5)) == science(record)
    assert 2 < record["mixing"]["mean_k"] < 4 and record["mixing"]["attention_rate"] is not None
    baseline = run("none", "none")
    assert science(run("zero", "powmix", p_mix=0)) == science(baseline)
    assert same_weights(weights(tmp_path / "zero"), weights(tmp_path / "none"))
    assert baseline["test"] != record["test"]
