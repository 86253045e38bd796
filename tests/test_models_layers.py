"""The parts of the models: an LSTM, batch norm, attention in blocks, who sees whom, dropout."""

import pytest
import torch
from fusion_cases import noise_of

from powmix.models import block_attention, recurrent
from powmix.models.crossmodal import Encoders
from powmix.models.lf_dnn import BatchNorm1d
from powmix.models.recurrent import LSTM
from powmix.models.sequences import Steps, attention_bias


@pytest.mark.parametrize("padded", ["nothing", "one example", "most steps", "everything"])
def test_the_time_loop_is_the_fused_lstm_with_its_gradients(monkeypatch, padded):
    """Rows that are all zero are left out of its products; that changes nothing."""
    layer, x = LSTM(7, 5), torch.randn(4, 6, 7)
    if padded != "nothing":
        x[1] = 0
    if padded in ("most steps", "everything"):
        x[:, 2:] = 0
    if padded == "everything":
        x[:] = 0
    x.requires_grad_()
    outputs = []
    for wide in (10**9, 1):
        monkeypatch.setattr(recurrent, "WIDE", wide)
        outputs.append(layer(x))
    fused, ours = outputs
    torch.testing.assert_close(ours, fused)
    cotangent, wanted = torch.randn_like(fused), [x, *layer.parameters()]
    gradients = (torch.autograd.grad(y, wanted, cotangent) for y in (ours, fused))
    for mine, theirs in zip(*gradients):
        torch.testing.assert_close(mine, theirs, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("wide", [1, 4096])
def test_lstm_is_torchs_lstm_and_its_final_state_ignores_padding_on_either_side(monkeypatch, wide):
    monkeypatch.setattr(recurrent, "WIDE", wide)
    layer, reference = LSTM(7, 5), torch.nn.LSTM(7, 5, batch_first=True)
    reference.load_state_dict({f"{name}_l0": value for name, value in layer.state_dict().items()})
    x = torch.randn(3, 6, 7)
    torch.testing.assert_close(layer(x), reference(x)[0])
    lengths = torch.tensor([6, 2, 4])
    alone = torch.cat([layer.final(x[i : i + 1, :length]) for i, length in enumerate(lengths)])
    torch.testing.assert_close(layer.final(x, lengths), alone)
    left = torch.stack([x[i].roll(6 - int(length), 0) for i, length in enumerate(lengths)])
    torch.testing.assert_close(layer.final(left, lengths, "left"), alone)


def test_batch_norm_is_torchs_once_its_statistics_are_absorbed():
    ours, theirs = BatchNorm1d(4), torch.nn.BatchNorm1d(4)
    for _ in range(3):
        x = torch.randn(5, 4) * 2 + 1
        y, statistics = ours(x, training=True)
        torch.testing.assert_close(y, theirs(x))
        ours.absorb(**statistics)
    theirs.eval()
    torch.testing.assert_close(ours(x, training=False)[0], theirs(x))


def test_batch_norm_meets_a_training_batch_of_one_with_its_running_statistics():
    layer = BatchNorm1d(4)
    y, statistics = layer(torch.full((1, 4), 3.0), training=True)
    torch.testing.assert_close(y, torch.full((1, 4), 3.0), rtol=1e-4, atol=0)
    assert not statistics


@pytest.mark.parametrize("block", [None, 1, 60, 2**18], ids=["as on a GPU", "one head", "some heads", "all"])
@pytest.mark.parametrize("biased", ["no bias", "shared", "by sequence"])
@pytest.mark.parametrize("dropping", [False, True])
def test_attention_in_blocks_is_attention_written_out(monkeypatch, block, biased, dropping):
    if block is None:
        monkeypatch.delitem(block_attention.BLOCK, "cpu")
    else:
        monkeypatch.setitem(block_attention.BLOCK, "cpu", block)
    torch.manual_seed(0)
    q, k, v = (torch.randn(2, 3, steps, 8, requires_grad=True) for steps in (5, 7, 7))
    hidden = torch.rand(5, 7) > 0.7 if biased == "shared" else torch.rand(6, 5, 7) > 0.7
    hidden[..., 0] = False
    bias = None if biased == "no bias" else torch.zeros(hidden.shape).masked_fill(hidden, -torch.inf)
    rates = [0.3, 0.0]
    ours = block_attention.attention(q, k, v, 2, bias, rates, noise_of(5) if dropping else None)

    def split(x):
        return x.unflatten(-1, (2, 4)).transpose(-3, -2)

    scores = split(q) @ split(k).transpose(-1, -2) / 2
    if bias is not None:
        scores = scores + (bias if bias.dim() == 2 else bias.view(2, 3, 1, 5, 7))
    weights = scores.softmax(-1)
    if dropping:
        keep = noise_of(5).keep((2, 3, 2, 5, 7), rates, q.device)
        assert keep[0].float().mean() < 1 and keep[1].all()
        weights = weights * keep * torch.tensor([1 / 0.7, 1.0]).view(2, 1, 1, 1, 1)
    plain = (weights @ split(v)).transpose(-3, -2).flatten(-2)
    torch.testing.assert_close(ours, plain)
    cotangent = torch.randn_like(plain)
    for mine, theirs in zip(
        torch.autograd.grad(ours, [q, k, v], cotangent), torch.autograd.grad(plain, [q, k, v], cotangent)
    ):
        torch.testing.assert_close(mine, theirs, rtol=1e-4, atol=1e-5)


def test_attention_survives_scores_far_from_zero():
    q = torch.full((1, 1, 2, 4), 200.0)
    value = torch.randn(1, 1, 3, 4)
    mean = block_attention.attention(q, torch.full((1, 1, 3, 4), 200.0), value, 2, None, [0.0], None)
    torch.testing.assert_close(mean, value.mean(-2, keepdim=True).expand(1, 1, 2, 4))


def test_query_i_sees_key_j_unless_j_exceeds_i_plus_the_difference_in_length():
    short, long = Steps(torch.zeros(2, 3, 4)), Steps(torch.zeros(2, 5, 4))
    seen = attention_bias([short], [long]) == 0
    assert seen.tolist() == [[j <= i + 2 for j in range(5)] for i in range(3)]
    assert attention_bias([long], [short]) is None  # keys 3, offset 2: nothing is hidden


@pytest.mark.parametrize(
    ("lengths", "sizes"),
    [
        ([(46, 46)] * 6, [6]),
        ([(46, 371), (46, 496), (371, 46), (371, 496), (496, 46), (496, 371)], [1] * 6),
        ([(18, 30), (18, 30), (30, 18), (30, 30), (30, 18), (30, 30)], [2, 1, 1, 1, 1]),
    ],
    ids=["aligned", "unaligned", "two alike"],
)
def test_neighbouring_networks_of_equal_lengths_are_one_computation(lengths, sizes):
    encoders = Encoders(4, 2, 1, [0.0] * 6, 0.0, 0.0, 0.0, positions=False)
    groups = list(encoders._groups(lengths))
    assert [len(range(6)[group]) for group, _ in groups] == sizes
    weights = torch.cat([layers[0][1][0] for _, layers in groups])
    assert torch.equal(weights, encoders.layers[0].out_proj.weight)


def test_dropout_keeps_the_share_it_should_and_the_mean():
    x = torch.ones(200_000)
    dropped = noise_of(1).dropout(x, 0.3)
    kept = dropped > 0
    assert abs(kept.float().mean() - 0.7) < 0.005
    torch.testing.assert_close(dropped[kept], torch.full_like(dropped[kept], 1 / 0.7))
    assert torch.equal(noise_of(1).dropout(x, 0.3), dropped)
    assert torch.equal(noise_of(1).dropout(x, 0.0), x)
    assert noise_of(1).dropout(x, 0.99999).isfinite().all()
