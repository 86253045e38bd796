"""Layers with group axes equal their plain counterparts group by group; attention and dropout mean what they say."""

import pytest
import torch
import torch.nn.functional as F
from fusion_cases import noise_of

from powmix.models import block_attention
from powmix.models import recurrent
from powmix.models.block_attention import attention
from powmix.models.layers import LSTM, BatchNorm1d, Conv1d, LayerNorm, Linear
from powmix.models.sequences import Steps, attention_bias, bundles

GROUPS = 3


@pytest.mark.parametrize(
    ("layer", "shape"),
    [
        (lambda groups: Linear(7, 5, groups=groups), (4, 6, 7)),
        (lambda groups: LayerNorm(7, groups), (4, 6, 7)),
        (lambda groups: Conv1d(7, 3, 4, groups), (4, 6, 7)),
        (lambda groups: Conv1d(7, 9, 4, groups), (4, 6, 7)),
        (lambda groups: Conv1d(7, 9, 1, groups), (4, 6, 7)),
        (lambda groups: LSTM(7, 5, groups), (4, 6, 7)),
        (lambda groups: LSTM(2560, 5, groups), (4, 6, 2560)),
    ],
    ids=["Linear", "LayerNorm", "Conv1d narrow", "Conv1d wide", "Conv1d 1", "LSTM", "LSTM wide"],
)
def test_a_grouped_layer_is_its_groups_one_by_one(layer, shape):
    torch.manual_seed(0)
    grouped, solos = layer((GROUPS,)), [layer(()) for _ in range(GROUPS)]
    with torch.no_grad():
        for name, parameter in grouped.named_parameters():
            parameter.normal_()
            for k, solo in enumerate(solos):
                solo.get_parameter(name).copy_(parameter[k])
    x = torch.randn(GROUPS, *shape, requires_grad=True)
    together = grouped(x)
    apart = torch.stack([solo(x[k]) for k, solo in enumerate(solos)])
    torch.testing.assert_close(together, apart)
    cotangent = torch.randn_like(together)
    wanted = [x, *(p for solo in solos for p in solo.parameters())]
    d_x, *d_solo = torch.autograd.grad((apart * cotangent).sum(), wanted)
    d_x_grouped, *d_grouped = torch.autograd.grad((together * cotangent).sum(), [x, *grouped.parameters()])
    torch.testing.assert_close(d_x_grouped, d_x)
    for j, gradient in enumerate(d_grouped):
        torch.testing.assert_close(gradient, torch.stack(d_solo[j :: len(d_grouped)]), rtol=1e-4, atol=1e-5)


def test_the_batched_time_loop_is_the_fused_lstm_with_its_gradients():
    """The loop serves stacked seeds on a GPU and wide states on a CPU."""
    solos, x = [LSTM(7, 5) for _ in range(GROUPS)], torch.randn(GROUPS, 4, 6, 7, requires_grad=True)
    apart = torch.stack([solo(x[k]) for k, solo in enumerate(solos)])
    names = ("weight_ih", "weight_hh", "bias_ih", "bias_hh")
    weights = [torch.stack([solo.get_parameter(name).detach() for solo in solos]).requires_grad_() for name in names]
    together = recurrent._together(x, weights)
    torch.testing.assert_close(together, apart)
    cotangent = torch.randn_like(apart)
    d_x, *d_solo = torch.autograd.grad(apart, [x, *(p for solo in solos for p in solo.parameters())], cotangent)
    d_x_together, *d_together = torch.autograd.grad(together, [x, *weights], cotangent)
    torch.testing.assert_close(d_x_together, d_x)
    for j, gradient in enumerate(d_together):
        torch.testing.assert_close(gradient, torch.stack(d_solo[j::4]), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("empty", [(), (1,), (0, 1, 2)])
def test_the_time_loop_leaves_out_zero_rows_and_changes_nothing(empty):
    layers, x = [LSTM(7, 5) for _ in range(3)], torch.randn(3, 4, 6, 7)
    x[:, :, 2:] = 0
    x[:, 1] = 0
    x[list(empty)] = 0
    for k, layer in enumerate(layers):
        names, parameters = zip(*layer.named_parameters())
        outputs = layer(x[k]), recurrent._together(x[k : k + 1], [p.unsqueeze(0) for p in parameters])[0]
        torch.testing.assert_close(*outputs)
        cotangent = torch.randn_like(outputs[0])
        apart, together = (torch.autograd.grad(y, parameters, cotangent) for y in outputs)
        for name, *gradients in zip(names, together, apart):
            torch.testing.assert_close(*gradients, rtol=1e-4, atol=1e-5, msg=name)
    weights = [torch.stack([layer.get_parameter(name) for layer in layers]) for name in names]
    expected = torch.stack([layer(x[k]) for k, layer in enumerate(layers)])
    torch.testing.assert_close(recurrent._together(x, weights), expected)


def test_conv1d_is_torchs_convolution_over_time():
    x = torch.randn(2, 9, 7)
    for outputs in (3, 9):
        layer = Conv1d(7, outputs, 4)
        torch.testing.assert_close(layer(x), F.conv1d(x.transpose(1, 2), layer.weight).transpose(1, 2))


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
    ours = attention(q, k, v, 2, bias, rates, noise_of(5) if dropping else None)

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
    mean = attention(q, torch.full((1, 1, 3, 4), 200.0), value, 2, None, [0.0], None)
    torch.testing.assert_close(mean, value.mean(-2, keepdim=True).expand(1, 1, 2, 4))


def test_query_i_sees_key_j_unless_j_exceeds_i_plus_the_difference_in_length():
    short, long = Steps(torch.zeros(2, 3, 4)), Steps(torch.zeros(2, 5, 4))
    seen = attention_bias([short], [long]) == 0
    assert seen.tolist() == [[j <= i + 2 for j in range(5)] for i in range(3)]
    assert attention_bias([long], [short]) is None  # keys 3, offset 2: nothing is hidden


def test_networks_share_a_computation_where_their_lengths_are_near():
    six = slice(0, 6)
    assert bundles([(46, 46)] * 6, 50, 10) == [six]
    assert bundles([(46, 50), (46, 48), (50, 46), (50, 48), (48, 46), (48, 50)], 30, 6) == [six]
    text, audio, vision = 46, 371, 496
    unaligned = [(text, audio), (text, vision), (audio, text), (audio, vision), (vision, text), (vision, audio)]
    assert bundles(unaligned, 50, 10) == [slice(g, g + 1) for g in range(6)]
    assert bundles([(46, 400), (46, 400), (400, 46), (400, 400), (400, 46), (400, 400)], 50, 10)[0] == slice(0, 2)
    assert bundles([(5, 9), (5, 7), (9, 5), (9, 7), (7, 5), (7, 9)], 20, 5) == [six]  # tiny: fewer operations win


def test_dropout_keeps_the_share_it_should_and_the_mean():
    x = torch.ones(200_000)
    dropped = noise_of(1).dropout(x, 0.3)
    kept = dropped > 0
    assert abs(kept.float().mean() - 0.7) < 0.005
    torch.testing.assert_close(dropped[kept], torch.full_like(dropped[kept], 1 / 0.7))
    assert torch.equal(noise_of(1).dropout(x, 0.3), dropped)
    assert not noise_of(1).dropout(x, 1.0).any()
