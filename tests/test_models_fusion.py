"""MulT, LF-DNN and TFN: padding, positions, the plain form of MulT, classification, and what users get wrong."""

import math

import pytest
import torch
import torch.nn.functional as F
from fusion_cases import ALIGNED, DIMS, OPTIONS, PUBLISHED, UNALIGNED, batch_of, model_of, noise_of

from powmix.data.splits import MODALITIES, Batch
from powmix.models import NAMES, Inputs, build
from powmix.models.crossmodal import Encoders
from powmix.models.mult import pairs_of
from powmix.models.sequences import Steps

LENGTHS = {"text": [8, 2, 5, 7], "audio": [3, 21, 9, 1], "vision": [6, 15, 1, 8]}
NAMES_HERE = ["lf_dnn", "tfn", "mult"]


def repadded(batch: Batch, rows: list[int], steps: dict[str, int]) -> Batch:
    """Some examples of a batch, padded to other lengths on the same side."""
    features = {}
    for name in MODALITIES:
        x, steps_then = batch.features[name][rows], batch.features[name].shape[1]
        change = steps[name] - steps_then
        features[name] = F.pad(x, (0, 0, 0, change) if batch.side[name] == "right" else (0, 0, change, 0))
    lengths = {name: batch.lengths[name][rows] for name in MODALITIES}
    return Batch(features, None, lengths, batch.side, batch.target[rows], batch.index[rows])


@pytest.mark.parametrize("positions", [False, True])
@pytest.mark.parametrize("side", ["right", "left"])
@pytest.mark.parametrize("name", NAMES_HERE)
def test_with_mask_padding_an_example_is_predicted_the_same_alone_in_a_batch_and_padded_more(name, side, positions):
    model = model_of(name, mask_padding=True, positions=positions)
    batch = batch_of(4, lengths=LENGTHS, side=side)
    together = model(batch)
    more = repadded(batch, [0, 1, 2, 3], {modality: steps + 9 for modality, steps in UNALIGNED.items()})
    torch.testing.assert_close(model(more), together, rtol=1e-4, atol=1e-5)
    for row in range(4):
        alone = repadded(batch, [row], {modality: LENGTHS[modality][row] for modality in MODALITIES})
        torch.testing.assert_close(model(alone), together[row : row + 1], rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("name", NAMES_HERE)
def test_with_mask_padding_what_stands_in_the_padding_is_not_read(name):
    model = model_of(name, mask_padding=True)
    batch = batch_of(4, lengths=LENGTHS)
    clean = model(batch)
    for modality in MODALITIES:
        batch.features[modality].masked_fill_(~batch.mask(modality).unsqueeze(-1), 7.0)
    torch.testing.assert_close(model(batch), clean, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("name", NAMES_HERE)
def test_as_published_padding_changes_the_prediction_and_lengths_do_not(name):
    model, batch = model_of(name), batch_of(4, lengths=LENGTHS)
    more = repadded(batch, [0, 1, 2, 3], {modality: steps + 9 for modality, steps in UNALIGNED.items()})
    assert not torch.allclose(model(more), model(batch), atol=1e-4)
    full = Batch(
        batch.features,
        None,
        {m: torch.full((4,), UNALIGNED[m]) for m in MODALITIES},
        batch.side,
        batch.target,
        batch.index,
    )
    assert torch.equal(model(full), model(batch))


@pytest.mark.parametrize("name", NAMES_HERE)
def test_mask_padding_changes_nothing_where_nothing_is_padded(name):
    batch = batch_of(4)
    torch.testing.assert_close(model_of(name, mask_padding=True)(batch), model_of(name)(batch), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("mask_padding", [False, True])
def test_gradients_are_finite_where_sequences_are_padded(mask_padding):
    model, batch = model_of("mult", mask_padding=mask_padding), batch_of(4, lengths=LENGTHS, side="left")
    model(batch, noise_of(1)).sum().backward()
    assert all(torch.isfinite(parameter.grad).all() for parameter in model.parameters())


def plain_encoder(encoders, g: int, x, source, heads: int, positions: bool, noise=None):
    """Encoder g alone, step by step as models.md c.1 reads: x (B, Q, E), source None for self-attention."""

    def embed(x):
        steps, width = x.shape[1:]
        x = math.sqrt(width) * x
        if positions:
            half = width // 2
            angle = torch.arange(1, steps + 1).unsqueeze(1) * torch.exp(
                torch.arange(half) * -(math.log(10000) / (half - 1))
            )
            x = x + torch.cat([angle.sin(), angle.cos()], 1)
        return x

    def heads_first(x):
        return x.unflatten(-1, (heads, -1)).transpose(1, 2)

    def norm(x, layer):
        return F.layer_norm(x, x.shape[-1:], layer.weight[g], layer.bias[g])

    def drop(x, rate):
        return x if noise is None else noise.dropout(x, rate)

    x = drop(embed(x), encoders.embed_dropout)
    sources = None if source is None else [drop(embed(source), encoders.embed_dropout) for _ in range(2)]
    for layer in encoders.layers:
        inputs = [norm(value, layer.norm_0) for value in (x, *(sources or (x, x)))]
        weights, biases = layer.in_proj.weight[g].chunk(3), layer.in_proj.bias[g].chunk(3)
        q, k, v = (heads_first(F.linear(value, w, b)) for value, w, b in zip(inputs, weights, biases))
        hidden = torch.ones(q.shape[2], k.shape[2]).triu(1 + abs(k.shape[2] - q.shape[2])).bool()
        scores = q @ k.transpose(2, 3) / math.sqrt(q.shape[3])
        attention = scores.masked_fill(hidden, -torch.inf).softmax(-1)
        if noise is not None:
            rate = encoders.attn_dropout[g]
            attention = attention * noise.keep(attention.shape, rate, x.device) / (1 - rate)
        attended = (attention @ v).transpose(1, 2).flatten(2)
        x = x + drop(F.linear(attended, layer.out_proj.weight[g], layer.out_proj.bias[g]), encoders.res_dropout)
        h = F.linear(norm(x, layer.norm_1), layer.fc_1.weight[g], layer.fc_1.bias[g]).relu()
        h = F.linear(drop(h, encoders.relu_dropout), layer.fc_2.weight[g], layer.fc_2.bias[g])
        x = x + drop(h, encoders.res_dropout)
    return norm(x, encoders.norm)


@pytest.mark.parametrize("positions", [False, True])
@pytest.mark.parametrize(
    "steps", [ALIGNED, {"text": 13, "audio": 12, "vision": 13}, UNALIGNED], ids=["equal", "near", "far"]
)
def test_grouped_mult_has_the_outputs_and_gradients_of_nine_networks_run_one_by_one(steps, positions):
    model, batch = model_of("mult", steps, positions=positions), batch_of(3, steps)
    convolved = {}
    for name in MODALITIES:
        weight = model.projections[name].weight
        convolved[name] = F.conv1d(batch.features[name].transpose(1, 2), weight).transpose(1, 2)
    crossed = [
        plain_encoder(model.crossmodal, g, convolved[t], convolved[s], 2, positions)
        for g, (t, s) in enumerate(pairs_of(MODALITIES))
    ]
    joined = [torch.cat(pair, -1) for pair in zip(crossed[::2], crossed[1::2])]
    plain = {m: plain_encoder(model.memory, g, joined[g], None, 2, positions)[:, -1] for g, m in enumerate(MODALITIES)}
    grouped = model.encode(batch).hidden
    for name in MODALITIES:
        torch.testing.assert_close(grouped[name], plain[name], rtol=1e-4, atol=1e-5)
    parameters = [p for name, p in model.named_parameters() if not name.startswith(("linear_", "output"))]
    cotangent = torch.randn(3, 16)
    d_grouped, d_plain = (
        torch.autograd.grad(sum((hidden[name] * cotangent).sum() for name in MODALITIES), parameters)
        for hidden in (grouped, plain)
    )
    for mine, theirs in zip(d_grouped, d_plain):
        torch.testing.assert_close(mine, theirs, rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("positions", [False, True])
def test_an_encoder_drops_out_where_the_published_one_does(positions):
    torch.manual_seed(0)
    encoders, source = Encoders(8, 2, 3, [0.3], 0.1, 0.2, 0.15, positions), torch.randn(4, 7, 8)
    x = torch.randn(4, 5, 8)
    crossed = encoders.crossmodal([Steps(x)], [Steps(source)], noise_of(1))[0]
    torch.testing.assert_close(crossed, plain_encoder(encoders, 0, x, source, 2, positions, noise_of(1)))
    assert not torch.allclose(crossed, plain_encoder(encoders, 0, x, source, 2, positions), atol=1e-2)


def test_attention_dropout_follows_the_source_of_a_network():
    rates = {"attn_dropout": 0.3, "attn_dropout_audio": 0.2, "attn_dropout_vision": 0.1}
    model = model_of("mult", options=rates)
    assert model.crossmodal.attn_dropout == [0.2, 0.1, 0.3, 0.1, 0.3, 0.2]  # la, lv, al, av, vl, va
    assert model.memory.attn_dropout == [0.3] * 3


@pytest.mark.parametrize("name", NAMES_HERE)
def test_classification_gives_one_logit_a_class(name):
    model = build(name, OPTIONS[name], Inputs(DIMS, UNALIGNED, outputs=3), PUBLISHED)
    assert model(batch_of(4)).shape == (4, 3)
    assert not hasattr(model, "output_range")


def test_tfn_predicts_within_the_published_range_or_that_of_the_labels():
    for switch, limit in ((False, 3.0), (True, 1.0)):
        inputs = Inputs(DIMS, UNALIGNED, label_range=(-1.0, 1.0))
        model = build("tfn", OPTIONS["tfn"], inputs, PUBLISHED | {"range_from_labels": switch})
        with torch.no_grad():
            model.fusion.linear_3.weight.fill_(1e6)
            model.fusion.linear_3.bias.fill_(1.0)
        torch.testing.assert_close(model(batch_of(4)), torch.full((4, 1), limit))


def test_mult_applies_weight_decay_only_where_the_protocol_says_as_configured():
    optimizer = {"learning_rate": 0.002, "weight_decay": 0.005}
    decays = [
        model_of("mult", configured_decay=on).parameter_groups(optimizer)[0]["weight_decay"] for on in (False, True)
    ]
    assert decays == [0.0, 0.005]
    assert model_of("lf_dnn").parameter_groups(optimizer)[0]["weight_decay"] == 0.005


def test_a_kernel_longer_than_its_sequence_is_cut_with_a_warning_that_names_it():
    steps = UNALIGNED | {"vision": 1}
    with pytest.warns(UserWarning, match="kernel_vision=2 is cut to 1"):
        model = model_of("mult", steps)
    assert torch.isfinite(model(batch_of(2, steps))).all()


@pytest.mark.parametrize("name", NAMES_HERE)
def test_a_training_batch_of_one_is_no_trouble(name):
    model, batch = model_of(name), batch_of(1)
    encoded = model.encode(batch, noise_of(1))
    model.fuse(encoded.hidden, noise_of(2)).sum().backward()
    model.observe(encoded, batch, 1)
    assert all(torch.isfinite(value).all() for value in model.state_dict().values())


@pytest.mark.parametrize("name", NAMES_HERE)
def test_training_forward_writes_no_state(name):
    model, batch = model_of(name), batch_of(5)
    before = {key: value.clone() for key, value in model.state_dict().items()}
    model(batch, noise_of(1)).sum().backward()
    assert all(torch.equal(value, before[key]) for key, value in model.state_dict().items())


@pytest.mark.parametrize("name", ["lf_dnn", "tfn"])
def test_observe_absorbs_the_batch_statistics(name):
    model, batch = model_of(name), batch_of(5)
    model.observe(model.encode(batch, noise_of(1)), batch, 1)
    averages = batch.features["audio"].mean(1)
    torch.testing.assert_close(model.audio.norm.running_mean, 0.1 * averages.mean(0))
    torch.testing.assert_close(model.audio.norm.running_var, 0.9 + 0.1 * averages.var(0))


@pytest.mark.parametrize("name", NAMES_HERE)
def test_the_same_generator_gives_the_same_step_and_leaves_the_global_one_alone(name):
    model, batch = model_of(name), batch_of(5)
    state = torch.get_rng_state()
    first, second, other = (model(batch, noise_of(seed)) for seed in (7, 7, 8))
    assert torch.equal(first, second) and not torch.equal(first, other)
    assert torch.equal(torch.get_rng_state(), state)


@pytest.mark.parametrize("name", ["mult", "tfn"])
def test_half_precision_autocast_is_no_trouble_on_a_cpu(name):
    model, batch = model_of(name), batch_of(4)
    with torch.autocast("cpu", torch.bfloat16):
        prediction = model(batch, noise_of(1))
    prediction.sum().backward()
    torch.testing.assert_close(prediction.float(), model(batch, noise_of(1)), rtol=0.1, atol=0.1)


def test_users_mistakes_are_answered_with_the_nearest_match():
    inputs = Inputs(DIMS, UNALIGNED)
    with pytest.raises(ValueError, match=r"model must be one of .*, got 'mutl' \(did you mean mult\?\)"):
        build("mutl", {}, inputs, PUBLISHED)
    with pytest.raises(ValueError, match=r"model mult: unknown option 'head' \(did you mean heads\?\)"):
        build("mult", {"head": 2}, inputs, PUBLISHED)
    with pytest.raises(ValueError, match=r"switch 'mask_padding' is missing \(did you mean mask_paddin\?\)"):
        build("lf_dnn", {}, inputs, {"mask_paddin": True})
    with pytest.raises(ValueError, match=r"model.dim must be a multiple of model.heads=2, got 9"):
        build("mult", {"dim": 9, "heads": 2}, inputs, PUBLISHED)
    assert NAMES == ("mult", "lf_dnn", "tfn", "misa", "self_mm", "mag_bert", "late_fusion")
