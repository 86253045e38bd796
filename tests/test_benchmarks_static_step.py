"""The step with static shapes trains as the solver's own does. Its CUDA graphs need a GPU: test_device.py."""

from dataclasses import replace

import pytest
import torch
from training_models import builder, corpus, mixer, settings

from benchmarks.static_step import StaticStep
from powmix.training import Solver

MIXERS = {"none": {}, "powmix": {"p_mix": 0.6, "n_out": 12}, "multimix": {"p_mix": 0.6, "n_out": 12}}
RULES = {
    "sum": {"accumulate": 2, "clip_value": 0.02, "accumulation": "sum"},
    "mean": {"accumulate": 2, "clip_value": 0.02, "accumulation": "mean"},
}


def begun(name, mixing="none", options=None, **changed):
    """A solver without dropout, whose last batch has 6 of 16 rows."""
    made = mixer(mixing, **(options or {}))
    solver = Solver(builder(name), corpus(), made, settings(**changed), 1, "unused")
    solver.begin()
    for module in solver.model.modules():
        for option in [key for key in vars(module) if key.endswith("dropout")]:
            rates = getattr(module, option)
            setattr(module, option, [0.0] * len(rates) if isinstance(rates, list) else 0.0)
    return solver


def trained(train, solver):
    """The losses of three epochs, and the test split's predictions after them."""
    losses = []
    for _ in range(3):
        losses.append(train())
        solver.history.append({})
    return losses, solver.predict(solver.splits.test)


def expect_equal(solvers, name):
    losses, prediction = trained(lambda: solvers[0].train_pass()[0], solvers[0])
    same, found = trained(StaticStep(solvers[1], name).train_pass, solvers[1])
    assert same == pytest.approx(losses, rel=1e-4) and len(set(losses)) == 3
    torch.testing.assert_close(found, prediction, rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("rule", RULES)
@pytest.mark.parametrize(
    ("name", "mixing"),
    [("lf_dnn", "none"), ("lf_dnn", "powmix"), ("lf_dnn", "multimix"), ("tfn", "powmix"), ("mult", "powmix")],
)
def test_losses_and_predictions_are_those_of_the_solver(name, mixing, rule):
    assert len(corpus().train) % 16 == 6
    expect_equal([begun(name, mixing, MIXERS[mixing], **RULES[rule]) for _ in range(2)], name)


@pytest.mark.parametrize("rows", [33, 18])
def test_a_last_batch_of_one_or_two_rows_is_as_the_solvers(rows):
    solvers = [begun("lf_dnn", "powmix", {"p_mix": 1.0, "n_out": 12}) for _ in range(2)]
    for solver in solvers:
        solver.splits = replace(solver.splits, train=solver.splits.train.select(list(range(rows))))
    expect_equal(solvers, "lf_dnn")


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("self_mm", {}),
        ("mult", {"combine": "add"}),
        ("mult", {"partners": "label"}),
        ("mult", {"label_weights": "learned"}),
    ],
)
def test_a_step_whose_shapes_would_change_is_refused(name, options):
    solver = begun("mult", "powmix", options)
    with pytest.raises(
        ValueError, match=r"the step has fixed shapes with mult, lf_dnn, tfn and without mixing, with M"
    ):
        StaticStep(solver, name)


def test_c_mixup_has_as_many_rows_as_the_batch_and_is_refused():
    with pytest.raises(ValueError, match="mixer=CMixup"):
        StaticStep(begun("mult", "c_mixup"), "mult")
