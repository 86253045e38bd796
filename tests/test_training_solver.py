"""One seed's training: what it leaves, what it repeats, when it stops, what it refuses."""

import json
from dataclasses import replace

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

from powmix.metrics.columns import keys
from powmix.mixing import Mixer, NoMixer
from powmix.models.self_mm import SelfMM
from powmix.training import Settings, Solver, TrainingFailed, train


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    folder = tmp_path_factory.mktemp("whole") / "seed_1111"
    return tiny_train(folder), folder


def test_a_training_learns_and_leaves_its_files(whole):
    record, folder = whole
    history = rows_of(folder / "history.csv")
    assert float(history[-1]["validation_Loss"]) < float(history[0]["validation_Loss"])
    assert {path.name for path in folder.iterdir()} == {
        "history.csv",
        "weights.safetensors",
        "predictions.csv",
        "result.json",
    }
    assert [int(row["epoch"]) for row in history] == list(range(1, record["epochs"] + 1))
    assert history[0]["validation_MAE"] and history[0]["mixing_mean_k"] == "2.0"
    assert record.keys() == {
        "seed",
        "best_epoch",
        "epochs",
        "seconds",
        "validation",
        "test",
        "mixing",
        "folder",
    }
    assert 0 < record["mixing"]["mixed_rate"] < 1 and record["folder"] == "seed_1111"
    result = json.loads((folder / "result.json").read_text())
    assert result["status"] == "finished" and result["test"] == record["test"]


def test_the_record_holds_the_best_epochs_validation_and_its_weights_test(whole):
    record, folder = whole
    history = rows_of(folder / "history.csv")
    losses = [float(row["validation_Loss"]) for row in history]
    assert record["best_epoch"] == losses.index(min(losses)) + 1
    assert record["validation"]["Loss"] == min(losses)
    model, test = TinyFusion(), tiny_splits().test
    model.load_state_dict(weights(folder))
    with torch.no_grad():
        prediction = model(test.batch(torch.arange(len(test))))
    assert record["test"]["Loss"] == pytest.approx((prediction - test.target).abs().mean().item(), rel=1e-5)
    predictions = rows_of(folder / "predictions.csv")
    assert [row["id"] for row in predictions] == test.ids
    assert float(predictions[3]["prediction"]) == pytest.approx(prediction[3].item(), rel=1e-5)


def test_a_finished_folder_is_not_trained_again(whole):
    record, folder = whole
    watcher = Watcher()
    assert tiny_train(folder, listener=watcher) == record
    assert not watcher.rows


def test_the_same_seed_gives_the_same_bits_and_another_seed_does_not(whole, tmp_path):
    record, folder = whole
    torch.manual_seed(999)
    assert science(tiny_train(tmp_path / "a")) == science(record)
    assert same_weights(weights(tmp_path / "a"), weights(folder))
    assert tiny_train(tmp_path / "b", seed=1112)["test"] != record["test"]


def test_p_mix_zero_is_the_baseline_bit_for_bit(tmp_path):
    class Paired(PairMixer):
        batch_factor = 2

    plain = tiny_train(tmp_path / "none", Mixer(p_mix=0))
    never = tiny_train(tmp_path / "zero", Paired(p_mix=0))
    late = tiny_train(tmp_path / "late", Paired(p_mix=1, start_epoch=6))
    assert science(plain) == science(never) == science(late)
    assert same_weights(weights(tmp_path / "none"), weights(tmp_path / "zero"))
    assert plain["mixing"]["mixed_rate"] == 0 and plain["mixing"]["mean_k"] is None


def test_mixing_neither_shifts_shuffling_nor_dropout(tmp_path):
    class Idle(PairMixer):
        """Draws as PairMixer does, then hands the batch back."""

        def apply(self, shift, hidden, target):
            return Mixer(p_mix=0)(hidden, target)

    mixed, plain = tiny_train(tmp_path / "idle", Idle(p_mix=1)), tiny_train(tmp_path / "none", Mixer(p_mix=0))
    assert mixed["test"] == plain["test"]


def test_a_mixer_that_pairs_mini_batches_gets_them_together(tmp_path):
    sizes = []

    class Paired(PairMixer):
        batch_factor = 2

        def apply(self, shift, hidden, target):
            sizes.append(len(target))
            return super().apply(shift, hidden, target)

    tiny_train(tmp_path, Paired(p_mix=1, start_epoch=1), max_epochs=2)
    assert sizes == [32, 21]


def test_the_mixer_sees_epochs_from_zero_and_the_model_from_one(tmp_path):
    seen = {"mixer": [], "model": []}

    class Curious(PairMixer):
        def flip(self, generator, size, epoch=None):
            seen["mixer"].append(epoch)
            return super().flip(generator, size, epoch)

    class Observing(TinyFusion):
        def observe(self, encoded, batch, epoch, noise=None):
            seen["model"].append(epoch)

    train(Observing, tiny_splits(), Curious(), Settings(max_epochs=2, device="cpu"), 1, tmp_path)
    assert seen == {"mixer": [0, 0, 1, 1], "model": [1, 1, 2, 2]}


class Scripted(TinyFusion):
    """Predicts a constant that follows a script: one value per training epoch."""

    script = (0.0,)

    def fuse(self, hidden, noise=None):
        epoch = int(self.seen) // 4 + (noise is not None)
        value = self.script[min(epoch, len(self.script)) - 1]
        return super().fuse(hidden, noise) * 0 + value


def scripted(*values):
    return type("Scripted", (Scripted,), {"script": values})


def splits_with_zero_labels():
    splits = tiny_splits()
    for split in (splits.train, splits.valid, splits.test):
        split.target.zero_()
    return splits


def quick(model, folder, listener=None, splits=None, **settings):
    settings = Settings(**{"device": "cpu", "batch_size": 16, "early_stop": 2} | settings)
    return train(model, splits or splits_with_zero_labels(), Mixer(p_mix=0), settings, 1, folder, listener)


@pytest.mark.filterwarnings("ignore::powmix.metrics.values.UndefinedMetric")
def test_training_stops_after_epochs_without_improvement_and_keeps_the_best(tmp_path):
    record = quick(scripted(3.0, 1.0, 2.0, 1.0, 0.1), tmp_path)
    assert (record["epochs"], record["best_epoch"], record["validation"]["Loss"]) == (4, 2, 1.0)
    assert record["test"]["Loss"] == 1.0


@pytest.mark.filterwarnings("ignore::powmix.metrics.values.UndefinedMetric")
def test_a_loss_that_is_nan_for_a_while_counts_as_no_improvement(tmp_path):
    record = quick(scripted(1.0, float("nan"), 0.5, float("inf"), float("nan")), tmp_path)
    assert (record["best_epoch"], record["epochs"]) == (3, 5)
    assert rows_of(tmp_path / "history.csv")[1]["validation_MAE"] == "nan"


def test_a_training_that_never_was_finite_fails_and_leaves_no_scores(tmp_path):
    with pytest.raises(TrainingFailed, match=r"validation Loss was not finite in any of 2 epochs"):
        quick(scripted(float("nan")), tmp_path)
    result = json.loads((tmp_path / "result.json").read_text())
    assert result["status"] == "failed" and result["test"] is None and "diverged" in result["error"]
    assert not (tmp_path / "weights.safetensors").exists() and not (tmp_path / "predictions.csv").exists()
    with pytest.raises(TrainingFailed):
        quick(scripted(float("nan")), tmp_path)


def test_the_test_split_is_evaluated_once_and_after_everything_else(tmp_path, monkeypatch):
    splits, seen = tiny_splits(), []
    evaluate = Solver.evaluate

    def recording(self, split):
        seen.append(len(split))
        return evaluate(self, split)

    monkeypatch.setattr(Solver, "evaluate", recording)
    quick(TinyFusion, tmp_path, splits=splits, max_epochs=3)
    assert seen == [len(splits.valid)] * 3 + [len(splits.test)]


def test_validation_loss_is_the_exact_mean_whatever_the_batch_size(tmp_path, monkeypatch):
    rows = []
    for bound in (5 * 15, 65536):
        monkeypatch.setattr("powmix.training.batches.STEPS_AT_ONCE", bound)
        watcher = Watcher()
        tiny_train(tmp_path / str(bound), Mixer(p_mix=0), listener=watcher, max_epochs=2, batch_size=4)
        rows.append([row["validation_Loss"] for row in watcher.rows])
    assert rows[0] == pytest.approx(rows[1], rel=1e-6)


def test_another_metric_may_select_the_epoch(tmp_path):
    record = tiny_train(tmp_path, monitor="Corr")
    correlations = [float(row["validation_Corr"]) for row in rows_of(tmp_path / "history.csv")]
    assert record["best_epoch"] == correlations.index(max(correlations)) + 1
    with pytest.raises(ValueError, match="tiny has no Mult_acc_3"):
        tiny_train(tmp_path / "b", monitor="Mult_acc_3")


def test_classification_trains_on_soft_targets(tmp_path):
    settings = Settings(
        task="classification", device="cpu", max_epochs=20, optimizer={"learning_rate": 0.02, "weight_decay": 0}
    )
    record = train(lambda: TinyFusion(3), tiny_splits(3), PairMixer(0.5), settings, 1, tmp_path)
    assert record["test"].keys() == set(keys("classification")) and record["test"]["Accuracy"] > 0.5
    assert list(rows_of(tmp_path / "predictions.csv")[0]) == ["id", "target", *(f"prediction_{c}" for c in range(3))]


def several_labels():
    """The tiny corpus with three yes-or-no labels: the score is above 0, above 1, and far from 0."""

    def answered(split):
        score = split.target[:, 0]
        return replace(split, target=torch.stack([score > 0, score > 1, score.abs() > 0.5], 1).float())

    splits = tiny_splits()
    parts = {name: answered(getattr(splits, name)) for name in ("train", "valid", "test")}
    return replace(splits, **parts, outputs=3, task="multilabel", convention="multilabel")


def test_multilabel_trains_and_leaves_a_column_for_every_label(tmp_path):
    settings = Settings(
        task="multilabel", device="cpu", max_epochs=20, optimizer={"learning_rate": 0.02, "weight_decay": 0}
    )
    record = train(lambda: TinyFusion(3), several_labels(), PairMixer(0.5), settings, 1, tmp_path)
    assert record["test"].keys() == set(keys("multilabel")) and record["test"]["AUROC"] > 0.8
    assert record["test"]["Loss"] == pytest.approx(record["test"]["Multilabel_log_loss"], rel=1e-5)
    row = rows_of(tmp_path / "predictions.csv")[0]
    assert list(row) == ["id", *(f"target_{c}" for c in range(3)), *(f"prediction_{c}" for c in range(3))]
    assert {row[f"target_{c}"] for c in range(3)} <= {"0.0", "1.0"}


@pytest.mark.parametrize("loss", ["huber", "ccc", "auto"])
def test_numbers_are_learnt_with_every_loss_and_measured_as_such(tmp_path, loss):
    splits = replace(tiny_splits(), convention="regression")
    settings = Settings(loss=loss, device="cpu", max_epochs=15, optimizer={"learning_rate": 0.02, "weight_decay": 0})
    record = train(TinyFusion, splits, PairMixer(0.5), settings, 1, tmp_path)
    found = record["test"]
    assert found.keys() == set(keys("regression")) and found["CCC"] > 0.3
    if loss != "huber":
        exact = {"ccc": 1 - found["CCC"], "auto": found["RMSE"] ** 2}[loss]
        assert found["Loss"] == pytest.approx(exact, rel=1e-4)


def test_smoothing_changes_what_is_learnt_and_not_what_loss_means(tmp_path):
    settings = {"task": "classification", "device": "cpu", "max_epochs": 2}
    found = [
        train(
            lambda: TinyFusion(3),
            tiny_splits(3),
            NoMixer(),
            Settings(**settings, label_smoothing=s),
            1,
            tmp_path / str(s),
        )
        for s in (0.0, 0.3)
    ]
    assert found[0]["test"]["Loss"] != found[1]["test"]["Loss"]
    assert all(one["test"]["Loss"] == pytest.approx(one["test"]["Log_loss"], rel=1e-5) for one in found)


def test_a_model_that_cannot_learn_the_task_is_refused_in_one_line(tmp_path):
    class NumbersOnly(TinyFusion):
        tasks = ("regression",)

    settings = Settings(task="multilabel", device="cpu")
    with pytest.raises(ValueError, match="NumbersOnly cannot be trained with task=multilabel, only with regression"):
        train(lambda: NumbersOnly(3), several_labels(), PairMixer(0.5), settings, 1, tmp_path)
    assert SelfMM.tasks == ("regression", "classification")


def test_bfloat16_trains_close_to_float32(whole, tmp_path):
    record = tiny_train(tmp_path, amp="bf16")
    assert record["test"]["MAE"] == pytest.approx(whole[0]["test"]["MAE"], rel=0.15)
    assert record["test"]["MAE"] != whole[0]["test"]["MAE"]


def test_auxiliary_losses_are_minimised_with_the_task_loss(tmp_path):
    class Shrinking(TinyFusion):
        def auxiliary_losses(self, encoded, mixed, batch, noise=None):
            return {"shrink": 10 * self.head.weight.square().sum()}

    quick(Shrinking, tmp_path / "a", splits=tiny_splits(), max_epochs=5, early_stop=9)
    quick(TinyFusion, tmp_path / "b", splits=tiny_splits(), max_epochs=5, early_stop=9)
    shrunk, plain = (weights(tmp_path / name)["head.weight"].norm() for name in "ab")
    assert shrunk < plain


def test_buffers_and_weights_of_the_best_epoch_are_what_is_exported(whole):
    record, folder = whole
    found = weights(folder)
    assert set(found) == set(TinyFusion().state_dict()) and int(found["seen"]) == 4 * record["best_epoch"]
