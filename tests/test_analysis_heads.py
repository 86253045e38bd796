"""The linear heads are the minimisers they claim to be."""

import numpy as np
import pytest
import torch
from scipy.optimize import minimize

from powmix.analysis.unimodal import logistic, ridge
from powmix.metrics.losses import bce


def drawn(classes=1):
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(60, 5, dtype=torch.float64, generator=generator)
    score = x @ torch.randn(5, classes, dtype=torch.float64, generator=generator) + 0.5
    return x, score if classes == 1 else torch.eye(classes, dtype=torch.float64)[score.argmax(1)]


@pytest.mark.parametrize("penalty", [1e-4, 0.1, 10.0])
def test_ridge_solves_the_normal_equations(penalty):
    x, y = drawn()
    [(w, b)] = ridge(x, y, [penalty])
    residual = x @ w + b - y
    torch.testing.assert_close(x.T @ residual / len(x) + penalty * w, torch.zeros_like(w), rtol=0, atol=1e-10)
    assert abs(residual.mean()) < 1e-12


def test_ridge_ignores_a_constant_feature():
    x, y = drawn()
    with_constant = torch.cat([x, torch.ones(60, 1, dtype=torch.float64)], 1)
    [(w, b)], [(w_more, b_more)] = ridge(x, y, [0.1]), ridge(with_constant, y, [0.1])
    torch.testing.assert_close(w_more[:5], w)
    torch.testing.assert_close(b_more, b)
    assert abs(w_more[5]) < 1e-12


def test_logistic_regression_reaches_scipys_minimum():
    x, y = drawn(classes=3)
    [(w, b)] = logistic(x, y, [0.01])

    def objective(flat):
        w, b = torch.from_numpy(flat[:15]).view(5, 3), torch.from_numpy(flat[15:])
        loss = -(y * (x @ w + b).log_softmax(-1)).sum(-1).mean() + 0.01 * w.square().sum()
        return loss.item()

    found = objective(np.concatenate([w.flatten().numpy(), b.numpy()]))
    assert found == pytest.approx(minimize(objective, np.zeros(18), method="BFGS").fun, abs=1e-6)


def test_heads_of_several_labels_are_as_many_binary_ones():
    x, _ = drawn()
    y = torch.stack([x[:, 0] > 0, x[:, 1] + x[:, 2] > 1], 1).double()
    [(w, b)] = logistic(x, y, [0.01], bce)
    for label in range(2):
        [(alone, bias)] = logistic(x, y[:, label : label + 1], [0.02], bce)
        torch.testing.assert_close(w[:, label], alone[:, 0], atol=1e-4, rtol=0)
        torch.testing.assert_close(b[label], bias[0], atol=1e-4, rtol=0)
