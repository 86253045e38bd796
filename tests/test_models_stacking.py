"""Seeds trained side by side compute what each computes alone; forward writes nothing."""

import pytest
import torch
from fusion_cases import ALIGNED, UNALIGNED, batch_of, model_of, noise_of, stacked_batch

from powmix.models.stacking import stack, unstack

NEAR = {"text": 9, "audio": 9, "vision": 10}
CASES = [("lf_dnn", UNALIGNED), ("tfn", UNALIGNED), ("mult", ALIGNED), ("mult", NEAR), ("mult", UNALIGNED)]
SEEDS = (3, 4, 5)


def gradients(model, batch, noise):
    prediction = model(batch, noise)
    loss = (prediction - batch.target).abs().mean(-2).sum()
    parameters = {name: value for name, value in model.named_parameters() if value.requires_grad}
    return prediction, dict(zip(parameters, torch.autograd.grad(loss, list(parameters.values()))))


@pytest.mark.parametrize("mask_padding", [False, True])
@pytest.mark.parametrize(("name", "steps"), CASES)
def test_a_stacked_seed_equals_its_solo_run_in_training_with_dropout(name, steps, mask_padding):
    lengths = {"text": [4, 8, 2, 7, 5], "audio": [9, 3, 6, 4, 9]} if mask_padding else None
    models = [model_of(name, steps, seed, mask_padding=mask_padding) for seed in SEEDS]
    batches = [batch_of(5, steps, lengths, seed=seed) for seed in SEEDS]
    together, d_together = gradients(stack(models), stacked_batch(batches), noise_of(*SEEDS))
    for k, (model, batch, seed) in enumerate(zip(models, batches, SEEDS)):
        alone, d_alone = gradients(model, batch, noise_of(seed))
        torch.testing.assert_close(together[k], alone, rtol=1e-4, atol=1e-5)
        assert not torch.allclose(alone, model(batch), atol=1e-3)  # dropout was at work
        for parameter, gradient in d_alone.items():
            torch.testing.assert_close(d_together[parameter][k], gradient, rtol=1e-3, atol=2e-5, msg=parameter)


@pytest.mark.parametrize("name", ["lf_dnn", "tfn", "mult"])
def test_stacking_copies_and_unstacking_gives_each_seed_back(name):
    models = [model_of(name, seed=seed) for seed in SEEDS]
    stacked = stack(models)
    with torch.no_grad():
        for parameter in stacked.parameters():
            parameter.add_(1)
    for k, seed in enumerate(SEEDS):
        untouched = model_of(name, seed=seed).state_dict()
        assert all(torch.equal(value, untouched[key]) for key, value in models[k].state_dict().items())
        moved = {
            key: value + 1 if key in dict(models[k].named_parameters()) else value for key, value in untouched.items()
        }
        given_back = unstack(stacked, k)
        assert given_back.keys() == moved.keys()
        assert all(torch.equal(value, moved[key]) for key, value in given_back.items())


def test_models_of_different_shape_do_not_stack():
    with pytest.raises(ValueError, match="one class and shape"):
        stack([model_of("lf_dnn"), model_of("lf_dnn", options={"text_out": 7})])


@pytest.mark.parametrize("name", ["lf_dnn", "tfn", "mult"])
def test_training_forward_writes_no_state(name):
    model, batch = model_of(name), batch_of(5)
    before = {key: value.clone() for key, value in model.state_dict().items()}
    gradients(model, batch, noise_of(1))
    assert all(torch.equal(value, before[key]) for key, value in model.state_dict().items())


@pytest.mark.parametrize("name", ["lf_dnn", "tfn"])
def test_observe_absorbs_the_batch_statistics_of_each_seed(name):
    models = [model_of(name, seed=seed) for seed in SEEDS]
    batches = [batch_of(5, seed=seed) for seed in SEEDS]
    stacked, together = stack(models), stacked_batch(batches)
    stacked.observe(stacked.encode(together, noise_of(*SEEDS)), together, 1)
    for k, (model, batch) in enumerate(zip(models, batches)):
        model.observe(model.encode(batch, noise_of(SEEDS[k])), batch, 1)
        expected = 0.9 + 0.1 * batch.features["audio"].mean(1).var(0)
        torch.testing.assert_close(model.audio.norm.running_var, expected)
        for key, value in unstack(stacked, k).items():
            torch.testing.assert_close(value, model.state_dict()[key])


@pytest.mark.parametrize("name", ["lf_dnn", "tfn", "mult"])
def test_the_same_generator_gives_the_same_step_and_leaves_the_global_one_alone(name):
    model, batch = model_of(name), batch_of(5)
    state = torch.get_rng_state()
    first, second, other = (model(batch, noise_of(seed)) for seed in (7, 7, 8))
    assert torch.equal(first, second) and not torch.equal(first, other)
    assert torch.equal(torch.get_rng_state(), state)
