"""Padding is not computed: examples share lines, and a step is the one that examples computed apart would make."""

import bert_cases
import fusion_cases
import pytest
import torch
from training_corpus import tiny_split

from powmix.data.splits import MODALITIES
from powmix.metrics.losses import LOSSES
from powmix.mixing import PowMix
from powmix.models import Encoded, recurrent
from powmix.models.packing import beside, in_lines
from powmix.training.batches import training_batches

LENGTHS = {"text": [8, 2, 5, 7, 1, 3], "audio": [3, 21, 9, 1, 2, 5], "vision": [6, 15, 1, 8, 2, 2]}


def case(name, protocol, side="right"):
    """A model and a batch of six examples of very different lengths."""
    if name in fusion_cases.OPTIONS:
        sound = {"mask_padding": True, "positions": True} if protocol == "sound" else {}
        return fusion_cases.model_of(name, **sound), fusion_cases.batch_of(6, lengths=LENGTHS, side=side)
    steps = bert_cases.ALIGNED if name == "mag_bert" else bert_cases.STEPS
    inputs = bert_cases.Inputs(bert_cases.DIMS, steps, vocabulary=130)
    model = bert_cases.make(name, bert_cases.SOUND if protocol == "sound" else bert_cases.PUBLISHED, inputs)
    return model, bert_cases.batch_of(6, steps)


def rows_of(batch, rows):
    """Some examples, padded as they were."""
    rows = torch.as_tensor(rows)
    pick = {"features": {name: x[rows] for name, x in batch.features.items()}, "target": batch.target[rows]}
    pick |= {"lengths": {name: x[rows] for name, x in batch.lengths.items()}, "index": batch.index[rows]}
    return bert_cases.replace(batch, tokens=None if batch.tokens is None else batch.tokens[rows], **pick)


def encoded_one_by_one(model, batch):
    parts = [model.encode(rows_of(batch, [row])) for row in range(len(batch.target))]
    hidden = {name: torch.cat([part.hidden[name] for part in parts]) for name in parts[0].hidden}
    clean = {name: torch.cat([part.clean[name] for part in parts], -2) for name in parts[0].clean}
    return Encoded(hidden, clean)


@pytest.mark.parametrize("mixing", [False, True], ids=["clean", "mixed"])
@pytest.mark.parametrize(
    ("name", "protocol"),
    [("mult", "sound"), ("lf_dnn", "sound"), ("tfn", "sound")]
    + [(name, protocol) for name in ("misa", "self_mm", "mag_bert") for protocol in ("published", "sound")],
)
def test_a_steps_loss_and_gradient_are_those_of_examples_encoded_one_by_one(monkeypatch, name, protocol, mixing):
    """Mixing and losses see the whole batch either way; dropout is off, so that the two can be compared."""
    monkeypatch.setattr(recurrent, "WIDE", 1)
    model, batch = case(name, protocol)
    model.prepare(batch.target)
    mixer = PowMix(p_mix=float(mixing), n_out=12)
    losses, gradients = [], []
    for encoded in (model.encode(batch), encoded_one_by_one(model, batch)):
        mixed = mixer(encoded.hidden, batch.target, generator=torch.Generator().manual_seed(3), epoch=5)
        task = LOSSES["l1"](model.fuse(mixed.hidden), mixed.target, mixed.row_weight)
        losses.append(task + sum(model.auxiliary_losses(encoded, mixed, batch).values()))
        model.zero_grad()
        losses[-1].backward()
        gradients.append({key: p.grad for key, p in model.named_parameters() if p.grad is not None})
    torch.testing.assert_close(*losses, rtol=1e-5, atol=1e-6)
    whole, apart = gradients
    assert whole.keys() == apart.keys() and mixed.is_mixed == mixing
    scale = max(float(gradient.abs().max()) for gradient in apart.values())
    for key, gradient in apart.items():
        torch.testing.assert_close(whole[key], gradient, rtol=1e-3, atol=1e-5 * scale, msg=lambda m, key=key: key + m)


def test_which_examples_share_a_step_is_drawn_before_anything_is_known_of_their_lengths():
    split = tiny_split(53, 0)
    others = bert_cases.replace(split, lengths={name: x.flip(0) for name, x in split.lengths.items()})
    batches, again = (training_batches(one, 8, torch.Generator().manual_seed(0), False) for one in (split, others))
    order = torch.randperm(53, generator=torch.Generator().manual_seed(0))
    assert all(map(torch.equal, batches, again)) and all(map(torch.equal, batches, order.split(8)))


@pytest.mark.parametrize("name", ["mult", "self_mm"])
def test_dropout_in_shared_lines_has_the_law_it_has_alone(name):
    """A short example 800 times: several to a line, where a long one is in the batch, against one a line."""
    model, batch = case(name, "sound")
    short, long = (1, 0) if name == "mult" else (int(batch.lengths["text"].argmin()), 0)
    rows = torch.tensor([short] * 800)
    packed, lonely = (
        model.encode(rows_of(batch, index), bert_cases.noise(seed)).hidden["text"][:800].detach()
        for seed, index in enumerate([torch.cat([rows, torch.tensor([long])]), rows])
    )
    spread = lonely.std(0)
    assert len(packed.unique(dim=0)) == 800 and spread.max() > 0
    torch.testing.assert_close(packed.mean(0), lonely.mean(0), rtol=0, atol=5 * float(spread.max()) * (2 / 800) ** 0.5)
    torch.testing.assert_close(packed.std(0), spread, rtol=0.2, atol=0.02 * float(spread.max()))


def test_lines_hold_every_sequence_whole_and_the_same_ones_in_every_modality():
    generator = torch.Generator().manual_seed(0)
    lengths = [torch.randint(1, most, (40,), generator=generator) for most in (51, 300)]
    lines = in_lines(lengths)
    owners = [{frozenset(row.tolist()) - {-1} for row in places.owner_RS} for places in lines]
    assert owners[0] == owners[1] and len(owners[0]) < 30
    for length, places in zip(lengths, lines):
        assert places.owner_RS.shape[1] == length.max()
        start = torch.arange(40) * 300
        x = torch.randn(40 * 300, 2, generator=generator)
        again = places.padded(places.fill(x, start), 300).unbind()
        for row, one in enumerate(again):
            assert torch.equal(one[: length[row]], x.view(40, 300, 2)[row, : length[row]])
            assert torch.equal(one[length[row] :], one[length[row] - 1].expand(300 - length[row], 2))


def test_sequences_nearly_as_long_get_equal_lines_and_others_their_own():
    near, far = beside([46, 50, 48], 2, torch.device("cpu")), beside([46, 371], 2, torch.device("cpu"))
    assert [places.owner_RS.shape for places in near] == [(2, 50)] * 3
    assert [places.owner_RS.shape for places in far] == [(2, 46), (2, 371)]
    assert [(places.owner_RS >= 0).sum(1).tolist() for places in near] == [[46] * 2, [50] * 2, [48] * 2]


def test_padding_is_not_computed():
    """MulT's tensors have lines for the valid steps, not for the padded ones."""
    model, batch = fusion_cases.model_of("mult", mask_padding=True), fusion_cases.batch_of(6, lengths=LENGTHS)
    laid = model._laid_in_lines(batch, None)
    assert [laid[name].x.shape[:2] for name in MODALITIES] == [(4, 6), (4, 21), (4, 14)]
