"""MulT's sublayers on a CPU, and TFN's outer product in pieces, are what they save time on, with their gradients."""

import pytest
import torch
from fusion_cases import ALIGNED, batch_of, model_of, noise_of

from powmix.models import crossmodal, outer_linear, sublayers, sublayers_cpu

NETWORKS, WIDTH, HEADS, BATCH = 3, 8, 2, 4


def weights():
    shapes = [(3 * WIDTH, WIDTH), (WIDTH, WIDTH), (4 * WIDTH, WIDTH), (WIDTH, 4 * WIDTH)]
    return [(torch.randn(NETWORKS, *s) / 3, torch.randn(NETWORKS, s[0])) for s in shapes]


def layer(run, x, source, affines, bias, dropping):
    """A layer as `run` computes it, from and to (G, B, L, E)."""
    noise = noise_of(3) if dropping else None
    in_proj, out_proj, fc_1, fc_2 = affines
    source = source and tuple(run.normal(run.enter(part)) for part in source)
    y = run.attention(run.enter(x), source, in_proj, out_proj, HEADS, bias, [0.3, 0.0, 0.2], noise, 0.1)
    return run.leave(run.feed_forward(y, fc_1, fc_2, 0.2, 0.1, noise))


@pytest.mark.parametrize("dropping", [False, True])
@pytest.mark.parametrize("crossed", [False, True])
def test_a_layer_on_a_cpu_has_the_outputs_and_gradients_of_the_plain_one(crossed, dropping):
    torch.manual_seed(0)
    x, *source = (torch.randn(NETWORKS, BATCH, steps, WIDTH, requires_grad=True) for steps in (5, 7, 7))
    affines = [tuple(part.requires_grad_() for part in affine) for affine in weights()]
    keys = 7 if crossed else 5
    bias = torch.zeros(5, keys).masked_fill(torch.ones(5, keys).triu(1).bool(), -torch.inf)
    wanted = [x, *(source if crossed else []), *(part for affine in affines for part in affine)]
    plain, ours = (
        layer(run, x, tuple(source) if crossed else None, affines, bias, dropping) for run in (sublayers, sublayers_cpu)
    )
    torch.testing.assert_close(ours, plain)
    cotangent = torch.randn_like(plain)
    for mine, theirs in zip(
        torch.autograd.grad(ours, wanted, cotangent), torch.autograd.grad(plain, wanted, cotangent)
    ):
        torch.testing.assert_close(mine, theirs, rtol=1e-4, atol=1e-5)


def test_mult_draws_the_same_masks_whichever_sublayers_compute_it(monkeypatch):
    model, batch = model_of("mult", ALIGNED), batch_of(4, ALIGNED)
    ours = model(batch, noise_of(1))
    monkeypatch.setattr(crossmodal, "_sublayers", lambda x: sublayers)
    torch.testing.assert_close(model(batch, noise_of(1)), ours)


@pytest.mark.parametrize("name", ["mult", "tfn"])
def test_half_precision_autocast_is_no_trouble_on_a_cpu(name):
    model, batch = model_of(name), batch_of(4)
    with torch.autocast("cpu", torch.bfloat16):
        prediction = model(batch, noise_of(1))
    prediction.sum().backward()
    torch.testing.assert_close(prediction.float(), model(batch, noise_of(1)), rtol=0.1, atol=0.1)


@pytest.mark.parametrize("piece", [1, 90, 2**20, None], ids=["one by one", "some", "all", "as on a GPU"])
@pytest.mark.parametrize("dropping", [False, True])
def test_the_outer_product_in_pieces_is_the_whole_one_with_its_gradients(monkeypatch, piece, dropping):
    if piece is None:
        monkeypatch.delitem(outer_linear.PIECE, "cpu")
    else:
        monkeypatch.setitem(outer_linear.PIECE, "cpu", piece)
    torch.manual_seed(0)
    a, v, t = (torch.randn(4, width, requires_grad=True) for width in (5, 3, 6))
    weight, bias = torch.randn(7, 90, requires_grad=True), torch.randn(7, requires_grad=True)
    ours = outer_linear.outer_linear((a, v, t), weight, bias, 0.4, noise_of(2) if dropping else None)
    product = torch.einsum("ra,rv,rt->ravt", a, v, t).flatten(1)
    plain = (noise_of(2).dropout(product, 0.4) if dropping else product) @ weight.T + bias
    torch.testing.assert_close(ours, plain)
    cotangent, wanted = torch.randn_like(plain), [a, v, t, weight, bias]
    for mine, theirs in zip(
        torch.autograd.grad(ours, wanted, cotangent), torch.autograd.grad(plain, wanted, cotangent)
    ):
        torch.testing.assert_close(mine, theirs, rtol=1e-4, atol=1e-5)
