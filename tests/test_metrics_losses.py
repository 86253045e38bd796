"""The losses: their values, their gradients, what is chosen for a task, and those that users register."""

import pytest
import torch
from torch.autograd import gradcheck
from torch.nn import functional

from powmix.metrics.losses import LOSSES, bce, ccc, cross_entropy, huber, name_of, register_loss
from powmix.training import Settings

EQUAL = torch.full((6,), 1 / 6)


def rows(columns: int = 1, seed: int = 0):
    generator = torch.Generator().manual_seed(seed)
    return (torch.randn(6, columns, generator=generator, dtype=torch.float64) for _ in range(2))


@pytest.fixture
def forgotten():
    """The registered losses are gone after the test."""
    known = dict(LOSSES)
    yield
    LOSSES.clear()
    LOSSES.update(known)


def test_huber_and_bce_are_those_of_torch_row_by_row():
    prediction, target = rows(3)
    torch.testing.assert_close(huber(2 * prediction, target).mean(), functional.huber_loss(2 * prediction, target))
    expected = functional.binary_cross_entropy_with_logits(prediction, target.sigmoid())
    torch.testing.assert_close(bce(prediction, target.sigmoid()).mean(), expected)
    assert huber(torch.tensor([[0.5], [3.0]]), torch.zeros(2, 1)).tolist() == [0.125, 2.5]


def test_ccc_is_one_less_the_coefficient():
    found = ccc(torch.tensor([[1.0], [2.0], [3.0]]), torch.tensor([[2.0], [2.0], [5.0]]), torch.full((3,), 1 / 3))
    assert found.item() == pytest.approx(1 - 2 / (2 / 3 + 2 + 1))


def test_a_row_that_weighs_twice_stands_twice():
    prediction, target = rows()
    weight = torch.tensor([2.0, 1, 1, 1, 1, 1]) / 7
    doubled = [torch.cat([x[:1], x]) for x in (prediction, target)]
    for name in ("l1", "mse", "huber", "ccc"):
        twice = LOSSES[name](*doubled, torch.full((7,), 1 / 7))
        torch.testing.assert_close(LOSSES[name](prediction, target, weight), twice, atol=1e-6, rtol=1e-6)


def test_ccc_of_constants_is_one_and_its_gradient_is_finite():
    prediction = torch.full((3, 1), 2.0, requires_grad=True)
    loss = ccc(prediction, torch.full((3, 1), 2.0), torch.full((3,), 1 / 3))
    loss.backward()
    assert loss.item() == 1 and prediction.grad.isfinite().all()


@pytest.mark.parametrize("name", sorted(set(LOSSES) - {"l1"}))
def test_gradients_are_those_of_finite_differences(name):
    prediction, target = rows(3)
    target = target.softmax(-1) if name == "cross_entropy" else target.sigmoid() if name == "bce" else target
    weight = torch.tensor([3.0, 1, 1, 2, 1, 2], dtype=torch.float64) / 10
    assert gradcheck(lambda x: LOSSES[name](x, target, weight), (prediction.requires_grad_(),))


def test_label_smoothing_is_that_of_torch_and_none_is_the_loss_itself():
    logit, target = rows(4)
    target = target.softmax(-1)
    found = cross_entropy(logit, target, smoothing=0.2)
    expected = functional.cross_entropy(logit, target, reduction="none", label_smoothing=0.2)
    torch.testing.assert_close(found, expected)
    smoothed = LOSSES["cross_entropy"].smoothed(0.2)
    torch.testing.assert_close(smoothed(logit, target, EQUAL), expected.mean())
    assert LOSSES["cross_entropy"].smoothed(0.0) is LOSSES["cross_entropy"]


def test_over_a_split_a_loss_is_the_exact_mean_and_ccc_that_of_all_examples():
    prediction, target = rows()
    assert LOSSES["l1"].over(prediction, target) == (prediction - target).abs().mean().item()
    assert LOSSES["ccc"].over(prediction, target) == pytest.approx(ccc(prediction, target, EQUAL).item())


def test_every_task_has_its_own_loss_where_none_is_named():
    assert [name_of(task, "auto") for task in ("regression", "classification", "multilabel")] == [
        "mse",
        "cross_entropy",
        "bce",
    ]


def test_a_recipes_loss_of_its_regression_leaves_the_other_tasks_theirs():
    assert name_of("classification", "l1") == "cross_entropy" and name_of("multilabel", "mse") == "bce"
    with pytest.raises(ValueError, match="loss=ccc is none of task=classification; allowed: auto, cross_entropy"):
        name_of("classification", "ccc")
    with pytest.raises(ValueError, match="loss=cross_entropy is none of task=regression"):
        Settings(loss="cross_entropy")
    with pytest.raises(ValueError, match="did you mean huber"):
        Settings(loss="hubert")


def test_smoothing_belongs_to_the_cross_entropy():
    assert Settings(task="classification", label_smoothing=0.1, loss="l1").task_loss == "cross_entropy"
    with pytest.raises(ValueError, match="label_smoothing must be 0 with task=multilabel loss=bce"):
        Settings(task="multilabel", label_smoothing=0.1)


def test_a_users_loss_is_chosen_by_its_name_for_any_task(forgotten):
    @register_loss("half")
    def half(prediction, target, row_weight):
        return ((prediction - target).abs().mean(-1) * row_weight).sum() / 2

    prediction, target = rows(3)
    assert name_of("regression", "half") == name_of("multilabel", "half") == "half"
    torch.testing.assert_close(LOSSES["half"](prediction, target, EQUAL), (prediction - target).abs().mean() / 2)
    assert LOSSES["half"].over(prediction, target) == pytest.approx((prediction - target).abs().mean().item() / 2)
    register_loss("half", half)


def test_names_that_are_taken_and_what_is_no_function_are_refused(forgotten):
    for name, function, words in (
        ("l1", lambda p, t, w: 0, "registered already"),
        ("auto", lambda p, t, w: 0, "choose another name"),
        ("mine", 3, "expected a function"),
    ):
        with pytest.raises(ValueError, match=words):
            register_loss(name, function)
