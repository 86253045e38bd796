"""The loop's parts: settings, seeds, losses, batches, accumulation, schedule, early stopping, mixing statistics."""

import math

import pytest
import torch
from torch import nn
from training_corpus import PairMixer, tiny_split

from powmix.mixing.mixer import clean
from powmix.training import Settings, resolve_device
from powmix.training.batches import evaluation_batches, training_batches
from powmix.training.losses import cross_entropy, l1, mse
from powmix.training.optimisation import Optimisation, Plateau
from powmix.training.seeds import Generators, stream_seeds
from powmix.training.statistics import MixingStatistics, mean_of_epochs
from powmix.training.stopping import EarlyStopping

CPU = torch.device("cpu")


class Weight(nn.Module):
    """One parameter whose gradient is whatever the loss multiplies it with."""

    def __init__(self):
        super().__init__()
        self.w = nn.Parameter(torch.zeros(()))

    def parameter_groups(self, optimizer):
        return [{"params": [self.w], "lr": 0.1, "weight_decay": 0.0}]


def gradients_stepped(slopes, **settings):
    """The gradient at each optimiser step when the batches of an epoch have these slopes."""
    model, seen = Weight(), []
    optimisation = Optimisation(model, Settings(**settings))
    step = optimisation.adam.step
    optimisation.adam.step = lambda: (seen.append(round(model.w.grad.item(), 6)), step())
    for slope in slopes:
        optimisation.backward(model.w * slope)
        optimisation.step_if_due()
    optimisation.end_epoch()
    assert model.w.grad is None
    return seen


def test_published_accumulation_sums_gradients_and_drops_the_left_over_batches():
    assert gradients_stepped([1, 2, 3, 4, 5], accumulate=2) == [3, 7]


def test_sound_accumulation_averages_gradients_and_steps_every_batch():
    assert gradients_stepped([1, 2, 3, 4, 5], accumulate=2, accumulation="mean") == [1.5, 3.5, 5]


def test_published_clipping_acts_on_every_partial_sum():
    assert gradients_stepped([5, -3, 4], accumulate=3, clip_value=1.0) == pytest.approx([1.0])
    assert gradients_stepped([5, -1.5, 0.2], accumulate=3, clip_value=1.0) == pytest.approx([-0.3])


def test_sound_clipping_acts_once_on_the_mean():
    found = gradients_stepped([5, -1.5, 0.2], accumulate=3, clip_value=1.0, accumulation="mean")
    assert found == pytest.approx([1.0])
    assert gradients_stepped([5, -5, 0.3], accumulate=3, clip_value=1.0, accumulation="mean") == pytest.approx([0.1])


def test_the_optimiser_is_adam_with_coupled_decay():
    ours, theirs = nn.Linear(4, 2), nn.Linear(4, 2)
    theirs.load_state_dict(ours.state_dict())
    ours.parameter_groups = lambda o: [{"params": list(ours.parameters()), "lr": o["lr"], "weight_decay": 0.1}]
    optimisation = Optimisation(ours, Settings(optimizer={"lr": 0.01}))
    adam = torch.optim.Adam(theirs.parameters(), lr=0.01, weight_decay=0.1)
    x = torch.randn(5, 4)
    for _ in range(4):
        optimisation.backward(ours(x).square().mean())
        optimisation.step_if_due()
        theirs(x).square().mean().backward()
        adam.step()
        adam.zero_grad()
    torch.testing.assert_close(ours.weight, theirs.weight)


def test_the_plateau_schedule_equals_torchs():
    model, losses = Weight(), [1.0, 0.9, 0.95, 0.9, 0.89999, math.nan, 0.5, 0.6, 0.6, 0.6, 0.6, 0.6, 0.6]
    adam = torch.optim.Adam(model.parameters(), lr=1.0)
    theirs, ours = torch.optim.lr_scheduler.ReduceLROnPlateau(adam, factor=0.1, patience=1), Plateau(1, 0.1)
    for loss in losses:
        theirs.step(loss)
        assert ours.update(loss) == pytest.approx(adam.param_groups[0]["lr"])
    assert ours.reductions >= 3
    assert all(Plateau(None, 0.1).update(1.0) == 1 for _ in range(20))


def test_early_stopping_counts_epochs_without_an_improvement_of_1e_6():
    stopping = EarlyStopping("Loss", 2)
    assert [stopping.update(e, v) for e, v in enumerate([math.nan, 1.0, 1 - 5e-7, 0.5, math.inf, 0.6], 1)] == [
        False,
        True,
        False,
        True,
        False,
        False,
    ]
    assert stopping.best_epoch == 4 and not stopping.is_over(5) and stopping.is_over(6)
    rising = EarlyStopping("Corr", 2)
    assert rising.update(1, 0.2) and not rising.update(2, 0.1) and rising.update(3, 0.3)


def test_row_losses_are_those_of_torch_row_by_row():
    prediction, target = torch.randn(7, 3), torch.randn(7, 3).softmax(-1)
    functional = nn.functional
    torch.testing.assert_close(l1(prediction, target).mean(), functional.l1_loss(prediction, target))
    torch.testing.assert_close(mse(prediction, target).mean(), functional.mse_loss(prediction, target))
    expected = functional.cross_entropy(prediction, target, reduction="none")
    torch.testing.assert_close(cross_entropy(prediction, target), expected)
    stacked = cross_entropy(prediction.expand(2, 7, 3), target.expand(2, 7, 3))
    assert stacked.shape == (2, 7)


def test_streams_of_a_seed_are_distinct_and_repeatable():
    assert stream_seeds(1111) == stream_seeds(1111)
    assert len({value for seed in range(50) for value in stream_seeds(seed).values()}) == 200
    with pytest.raises(ValueError, match="seed"):
        stream_seeds(-1)


def test_generators_leave_the_global_one_alone_and_do_not_read_it():
    torch.manual_seed(1)
    before = torch.get_rng_state()
    first = Generators(3, CPU).initialised(lambda: nn.Linear(3, 3)).weight
    assert torch.equal(before, torch.get_rng_state())
    torch.manual_seed(2)
    assert torch.equal(first, Generators(3, CPU).initialised(lambda: nn.Linear(3, 3)).weight)


def test_restored_generators_continue_their_streams():
    generators = Generators(5, CPU)
    state = generators.state()
    drawn = [torch.rand(3, generator=g) for g in (generators.shuffle, generators.dropout, generators.mixing)]
    generators.restore(state)
    again = [torch.rand(3, generator=g) for g in (generators.shuffle, generators.dropout, generators.mixing)]
    assert all(map(torch.equal, drawn, again))
    assert not torch.equal(drawn[0], drawn[1])


@pytest.mark.parametrize("bucket", [False, True])
def test_an_epoch_sees_every_example_once_in_a_new_order(bucket):
    split, generator = tiny_split(53, 0), torch.Generator().manual_seed(0)
    epochs = [torch.cat(training_batches(split, 8, generator, bucket)) for _ in range(2)]
    assert all(epoch.sort().values.tolist() == list(range(53)) for epoch in epochs)
    assert not torch.equal(*epochs)


def test_buckets_hold_similar_lengths_in_random_order():
    split, generator = tiny_split(512, 0), torch.Generator().manual_seed(0)
    lengths = [split.lengths["text"][index].float() for index in training_batches(split, 8, generator, True)]
    assert sum(length.std() == 0 for length in lengths) > 0.7 * len(lengths)
    means = torch.stack([length.mean() for length in lengths])
    assert not torch.equal(means, means.sort().values)


def test_evaluation_reads_a_split_in_order_in_large_batches():
    split = tiny_split(53, 0)
    batches = evaluation_batches(split, 8)
    assert torch.equal(torch.cat(batches), torch.arange(53)) and len(batches) < 53 / 8


def test_mixing_statistics_are_rates_over_steps_and_rows():
    statistics, mixer = MixingStatistics(), PairMixer()
    hidden, target = {"text": torch.randn(4, 2)}, torch.randn(4, 1)
    statistics.add(mixer(hidden, target, generator=torch.Generator()))
    statistics.add(clean(hidden, target))
    row = statistics.row()
    assert row["mixed_rate"] == 0.5 and row["mean_k"] == 2 and row["attention_rate"] == 0.25
    assert row["label_spread"] == pytest.approx(target.std().item()) and row["dropped_rate"] is None
    history = [{"mixing_mean_k": 2.0, "seconds": 1.0}, {"mixing_mean_k": None, "seconds": 1.0}]
    assert mean_of_epochs(history) == {"mean_k": 2.0}


def test_all_mistakes_in_the_settings_are_named_at_once():
    with pytest.raises(ValueError, match=r"batch_size.*clip_value.*amp") as error:
        Settings(batch_size=0, clip_value=-1, amp="fp8")
    assert "0" in str(error.value) and "one of off, bf16" in str(error.value)
    with pytest.raises(ValueError, match="monitor"):
        Settings(task="classification", monitor="MAE")


def test_settings_come_from_the_sections_of_the_configuration():
    settings = Settings.from_config(
        trainer={"batch_size": 16, "amp": False},
        optimizer={"learning_rate": 0.1, "weight_decay": 0},
        schedule={"plateau_patience": 5},
        protocol={"accumulation": "mean", "mask_padding": True},
    )
    assert (settings.batch_size, settings.amp, settings.accumulation) == (16, "off", "mean")
    with pytest.raises(ValueError, match="did you mean batch_size"):
        Settings.from_config(trainer={"batchsize": 16}, optimizer={})


def test_a_missing_gpu_is_a_users_mistake():
    with pytest.raises(ValueError, match=r"trainer\.device=cuda:99"):
        resolve_device("cuda:99")
    assert resolve_device("auto").type in ("cpu", "cuda")
