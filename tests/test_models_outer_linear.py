"""TFN's outer product in pieces is the whole one, with its gradients."""

import pytest
import torch
from fusion_cases import noise_of

from powmix.models import outer_linear


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
