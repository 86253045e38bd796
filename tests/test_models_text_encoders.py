"""Any encoder of transformers reads the tokens, by its own rules for padding, positions and types."""

import pytest
import torch
from bert_cases import INPUTS, PUBLISHED, batch_of, make, noise, padded

from powmix.models import Inputs, build
from powmix.models.bert import TextEncoder

SIZES = {"hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 24}
DISTIL = {"dim": 16, "n_layers": 2, "n_heads": 2, "hidden_dim": 24}
SHAPES = {
    "roberta": {**SIZES, "max_position_embeddings": 42, "type_vocab_size": 1, "pad_token_id": 1},
    "deberta": {**SIZES, "relative_attention": True, "pos_att_type": ["c2p", "p2c"], "position_biased_input": False},
    "deberta-v2": {**SIZES, "relative_attention": True, "pos_att_type": ["c2p", "p2c"], "position_biased_input": False},
    "electra": {**SIZES, "embedding_size": 12},
    "distilbert": DISTIL,
    "mpnet": {**SIZES, "max_position_embeddings": 42},
}
MODELS = {"misa": 3e-3, "self_mm": 3e-3, "mag_bert": 1e-2, "late_fusion": 3e-3}
"""Who reads text, and a learning rate for five examples."""


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    """A folder with random weights of each architecture, as a user would keep one."""
    from transformers import AutoConfig, AutoModel

    made = {}
    for kind, sizes in SHAPES.items():
        torch.manual_seed(0)
        made[kind] = str(tmp_path_factory.mktemp(kind))
        AutoModel.from_config(AutoConfig.for_model(kind, vocab_size=140, **sizes)).save_pretrained(made[kind])
    return made


@pytest.mark.parametrize("model", MODELS)
@pytest.mark.parametrize("kind", ["roberta", "deberta", "deberta-v2"])
def test_a_model_with_another_encoder_learns_and_all_of_it_gets_a_gradient(folders, kind, model):
    network, batch = make(model, text={"pretrained": folders[kind]}), batch_of()
    network.prepare(batch.target)
    adam = torch.optim.Adam(network.parameters(), lr=MODELS[model])
    losses = []
    for step in range(40):
        adam.zero_grad()
        loss = (network(batch, noise(step)) - batch.target).abs().mean()
        losses.append(loss.item())
        loss.backward()
        adam.step()
    assert losses[-1] < 0.8 * losses[0]
    text = network.encoders[0] if model == "late_fusion" else network.text
    assert [name for name, p in text.named_parameters() if p.grad is None] == []


@pytest.mark.parametrize("kind", SHAPES)
def test_tokens_are_read_as_transformers_itself_reads_them_with_the_encoders_own_padding(folders, kind):
    from transformers import AutoModel

    batch, reference = batch_of(), AutoModel.from_pretrained(folders[kind]).eval()
    mask = batch.tokens[:, 1] != 0
    ids = batch.tokens[:, 0].where(mask, reference.config.pad_token_id or 0)
    expected = reference(input_ids=ids, attention_mask=mask.long()).last_hidden_state
    for known in (None, tuple(batch.tokens[:, 0].unique().tolist())):
        encoder = TextEncoder(Inputs({}, {}, vocabulary=130, token_ids=known), folders[kind])
        states, own = encoder(batch.tokens)
        assert torch.equal(own, mask)
        torch.testing.assert_close(states[mask], expected[mask], atol=1e-5, rtol=0)


@pytest.mark.parametrize("kind", SHAPES)
def test_more_padding_changes_nothing_and_dropout_follows_the_noise(folders, kind):
    network, batch = make("mag_bert" if kind != "mpnet" else "misa", text={"pretrained": folders[kind]}), batch_of()
    torch.testing.assert_close(network.text(padded(batch, 6).tokens)[0], network.text(batch.tokens)[0])
    first, again, other = (network.text(batch.tokens, noise(seed))[0] for seed in (1, 1, 2))
    assert torch.equal(first, again) and not torch.equal(first, other)


def test_words_that_training_lacked_are_read_with_the_vectors_the_encoder_began_with(folders):
    batch = batch_of()
    whole = TextEncoder(Inputs({}, {}, vocabulary=130), folders["roberta"])
    small = TextEncoder(Inputs({}, {}, vocabulary=130, token_ids=(120, 121)), folders["roberta"])
    small.bert.get_input_embeddings().weight.data[-1] += 1  # 121, trained
    words = batch.tokens[:, 0].unique()
    small.admit(words)
    ids = torch.arange(140)
    same = (small.bert.get_input_embeddings()(ids) == whole.bert.get_input_embeddings()(ids)).all(1)
    assert ids[~same].tolist() == [121]
    with pytest.raises(ValueError, match=r"token ids up to 140, .* knows 140"):
        small.admit(torch.tensor([140]))


def test_robertas_positions_begin_after_its_padding(folders):
    encoder = TextEncoder(INPUTS, folders["roberta"])
    assert encoder.positions == 40
    with pytest.raises(ValueError, match="an example of 41 tokens, the encoder has 40 positions"):
        encoder(torch.full((1, 3, 41), 5))
    assert TextEncoder(INPUTS, folders["deberta"]).positions is None


def test_a_frozen_encoder_of_any_kind_gets_no_gradient(folders):
    for kind in SHAPES:
        states, _ = TextEncoder(INPUTS, folders[kind], finetune=False)(batch_of().tokens, noise())
        assert not states.requires_grad


def test_a_model_with_a_decoder_is_refused(tmp_path):
    from transformers import T5Config, T5Model

    T5Model(T5Config(vocab_size=140, d_model=8, d_kv=4, d_ff=8, num_layers=1, num_heads=2)).save_pretrained(tmp_path)
    with pytest.raises(ValueError, match="holds a 't5' model, which is more than an encoder"):
        build("misa", {"text": {"pretrained": str(tmp_path)}}, INPUTS, PUBLISHED)


def test_code_in_an_encoders_folder_is_never_run(tmp_path):
    (tmp_path / "config.json").write_text('{"model_type": "mine", "auto_map": {"AutoModel": "code.Mine"}}')
    (tmp_path / "model.safetensors").write_bytes(b"")
    (tmp_path / "code.py").write_text("raise SystemExit('run')")
    with pytest.raises(ValueError, match=r"expected a model_type of transformers' own .*, got 'mine'"):
        TextEncoder(INPUTS, str(tmp_path))
