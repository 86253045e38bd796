"""Any encoder of transformers reads the tokens, by its own rules for padding, positions and types, and raw text."""

import csv
import json
import shutil
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from bert_cases import INPUTS, PUBLISHED, batch_of, make, noise, padded

import powmix
from powmix.__main__ import main
from powmix.data import load, tokenising
from powmix.data.registry import defaults
from powmix.models import Inputs, build, inputs_of
from powmix.models.bert import TextEncoder
from powmix.training.preparation import Preparation
from powmix.use import exporting
from powmix.use.incoming import split_of

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


# --- raw text ---------------------------------------------------------------------------------------------------------

N = 90
GOOD, BAD = ["good", "fine", "lovely", "warm"], ["bad", "awful", "cold", "grim"]
SPECIAL = {"roberta": ["<s>", "<pad>", "</s>", "<unk>"], "deberta": ["[PAD]", "[CLS]", "[SEP]", "[UNK]"]}
"""In the order of their ids: RoBERTa's padding is 1, DeBERTa's 0."""


def said():
    """N sentences of several lengths, and whether each is friendly."""
    rng = np.random.default_rng(0)
    friendly = np.arange(N) % 2
    words = [rng.choice(GOOD if one else BAD, rng.integers(1, 4)).tolist() for one in friendly]
    return [" ".join([f"n{row}", *some]) for row, some in enumerate(words)], friendly


@pytest.fixture(scope="module")
def readers(folders, tmp_path_factory):
    """The folders of `folders` with a tokenizer: byte pairs for RoBERTa, word pieces for DeBERTa."""
    from tokenizers import Tokenizer, models, pre_tokenizers, processors, trainers
    from transformers import AutoConfig, AutoModel, PreTrainedTokenizerFast

    made = {}
    for kind, special in SPECIAL.items():
        start, end = (special[0], special[2]) if kind == "roberta" else (special[1], special[2])
        unknown, pad = special[3], special[1] if kind == "roberta" else special[0]
        one = Tokenizer(models.BPE(unk_token=unknown) if kind == "roberta" else models.WordPiece(unk_token=unknown))
        one.pre_tokenizer = pre_tokenizers.Whitespace()
        trainer = trainers.BpeTrainer if kind == "roberta" else trainers.WordPieceTrainer
        one.train_from_iterator(said()[0], trainer(vocab_size=140, special_tokens=special, show_progress=False))
        ids = [(name, one.token_to_id(name)) for name in (start, end)]
        one.post_processor = processors.TemplateProcessing(single=f"{start} $A {end}", special_tokens=ids)
        folder = tmp_path_factory.mktemp(f"{kind}_reader")
        wrapped = PreTrainedTokenizerFast(
            tokenizer_object=one, pad_token=pad, unk_token=unknown, cls_token=start, sep_token=end
        )
        wrapped.save_pretrained(folder)
        torch.manual_seed(0)
        AutoModel.from_config(AutoConfig.for_model(kind, vocab_size=140, **SHAPES[kind])).save_pretrained(folder)
        made[kind] = folder
    return made


@pytest.fixture
def sentences(tmp_path, monkeypatch):
    """An .npz file of raw text, noise beside it, and the class that only the text tells."""
    monkeypatch.setenv("POWMIX_CACHE", str(tmp_path / "cache"))
    texts, friendly = said()
    noise_ND = np.random.default_rng(1).normal(size=(N, 3))
    np.savez(tmp_path / "x.npz", raw_text=np.array(texts), motion=noise_ND, target=friendly)
    return {**defaults("arrays"), "path": str(tmp_path / "x.npz")}


@pytest.mark.parametrize("kind", SPECIAL)
def test_raw_text_trains_any_encoder_end_to_end(readers, sentences, kind, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    command = ["powmix", "dataset=arrays", f"dataset.path={sentences['path']}", "model=late_fusion", "seeds=1"]
    command += [f"model.text.pretrained={readers[kind]}", "optimizer.learning_rate=0.003", "trainer.max_epochs=12"]
    monkeypatch.setattr(sys, "argv", [*command, "mixer=powmix", "trainer.device=cpu"])
    main()
    [path] = (tmp_path / "outputs/runs").glob("*/result.json")
    result = json.loads(path.read_text())
    assert result["mean"]["test"]["Accuracy"] > 0.85
    assert result["provenance"]["dataset"]["tokenizer"] == str(readers[kind])


@pytest.mark.parametrize(
    ("kind", "model", "mixer"),
    [
        *[("deberta", model, "powmix") for model in ("self_mm", "mag_bert")],
        pytest.param("deberta", "misa", "powmix", marks=pytest.mark.slow),
        # with PowMix and batches of eight its predictions shrink to the mean
        pytest.param("roberta", "misa", "none", marks=pytest.mark.slow),
        *[pytest.param("roberta", model, "powmix", marks=pytest.mark.slow) for model in ("self_mm", "mag_bert")],
    ],
)
def test_the_papers_bert_models_train_on_raw_text(readers, sentences, model, kind, mixer, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    arrays = dict(np.load(sentences["path"]))
    two = {"audio": np.repeat(arrays["motion"][:, None], 4, 1), "vision": arrays["motion"][:, None, ::-1]}
    np.savez("three.npz", raw_text=arrays["raw_text"], target=2.0 * arrays["target"] - 1, **two)
    command = ["powmix", "dataset=arrays", "dataset.path=three.npz", f"model={model}", f"mixer={mixer}", "seeds=1"]
    command += [f"model.text.pretrained={readers[kind]}", "trainer.max_epochs=12", "trainer.batch_size=8"]
    command += ["trainer.accumulate=1", *(["mixer.n_out=32"] if mixer == "powmix" else [])]
    monkeypatch.setattr(sys, "argv", [*command, "trainer.device=cpu"])
    main()
    [run] = (tmp_path / "outputs/runs").iterdir()
    assert json.loads((run / "result.json").read_text())["mean"]["test"]["Corr"] > 0.5, "only the text tells"
    given = {"text": ["good warm", "bad grim"], "audio": np.zeros((2, 4, 3)), "vision": np.zeros((2, 1, 3))}
    friendly, grim = powmix.load(run).predict(given)
    assert friendly > grim


@pytest.mark.parametrize("model", ["misa", "self_mm", "mag_bert"])
def test_the_papers_bert_models_name_audio_that_is_no_sequence(folders, model):
    inputs = replace(INPUTS, kinds={"audio": "vector"})
    with pytest.raises(ValueError, match=rf"model {model} reads sequences \(N, L, D\), audio is of kind vector"):
        build(model, {"text": {"pretrained": folders["roberta"]}}, inputs, PUBLISHED)


@pytest.mark.parametrize("kind", SPECIAL)
def test_a_trained_run_predicts_raw_text_and_so_does_what_was_exported(readers, sentences, kind, tmp_path, monkeypatch):
    reader = shutil.copytree(readers[kind], tmp_path / "reader")
    monkeypatch.chdir(tmp_path)
    command = ["powmix", "dataset=arrays", f"dataset.path={sentences['path']}", "model=late_fusion", "seeds=1"]
    command += [f"model.text.pretrained={reader}", "trainer.max_epochs=2", "trainer.device=cpu"]
    monkeypatch.setattr(sys, "argv", [*command, "mixer=none"])
    main()
    [run] = (tmp_path / "outputs/runs").iterdir()
    assert exporting.main([str(run), "out"]) == 0 and '"text": ["a sentence", ...]' in Path("out/README.md").read_text()
    with (run / "seed_1111/predictions.csv").open() as stream:
        told = {int(one["id"]): [float(one[f"prediction_{c}"]) for c in (0, 1)] for one in csv.DictReader(stream)}
    noise = np.load(sentences["path"])["motion"]
    given = {"text": [said()[0][row] for row in told], "motion": noise[list(told)]}
    stored = torch.tensor(list(told.values()))
    torch.testing.assert_close(powmix.load(run).outputs(given), stored, atol=1e-6, rtol=0)
    shutil.rmtree(reader)
    shutil.rmtree(run)
    model = powmix.load("out")
    torch.testing.assert_close(model.outputs(given), stored, atol=1e-6, rtol=0)
    assert model.predict({"text": ["good unheard of words"], "motion": np.zeros((1, 3))}).shape == (1, 2)


def test_frozen_states_of_new_text_are_those_of_the_training(readers, sentences):
    for folder in readers.values():
        splits = load({**sentences, "text_encoder": str(folder)}, ("text", "motion"))
        prepared = Preparation.of(inputs_of(splits), splits)
        rows = list(map(int, splits.test.ids))
        given = {"text": [said()[0][row] for row in rows], "motion": np.load(sentences["path"])["motion"][rows]}
        seen = split_of(given, prepared)
        for name, value in splits.test.features.items():
            torch.testing.assert_close(seen.features[name], value, atol=1e-5, rtol=0)


@pytest.mark.parametrize("kind", SPECIAL)
def test_tokens_are_the_encoders_own_and_made_once(readers, sentences, kind, monkeypatch):
    from transformers import AutoTokenizer

    dataset = {**sentences, "text_encoder": str(readers[kind])}
    splits = load(dataset, ("*", "tokens"))
    own = AutoTokenizer.from_pretrained(readers[kind])
    expected = own(splits.train.raw_text, padding="longest", return_tensors="pt")
    steps = expected["input_ids"].shape[1]
    assert torch.equal(splits.train.tokens[:, 0, :steps], expected["input_ids"])
    assert torch.equal(splits.train.tokens[:, 1, :steps], expected["attention_mask"])
    assert torch.equal(splits.train.lengths["text"], expected["attention_mask"].sum(-1))
    assert not splits.train.tokens[:, 1, steps:].any() and list(splits.dims) == ["motion"]
    monkeypatch.setattr(tokenising, "load_tokenizer", lambda folder: pytest.fail("tokenised again"))
    again = load({**dataset, "valid": 0.2}, ("*", "tokens"))
    assert len(again.valid) == 18 and again.steps["text"] == splits.steps["text"]


def test_a_text_is_cut_to_the_encoders_positions_and_to_max_steps(readers, sentences, tmp_path, caplog):
    texts, target = said()
    np.savez(tmp_path / "long.npz", text=np.array([one + " good" * 60 for one in texts]), target=target)
    dataset = {**sentences, "path": str(tmp_path / "long.npz"), "text_encoder": str(readers["roberta"])}
    assert load(dataset, ("tokens",)).steps["text"] == 40
    assert "90 of 90 texts fill 40 tokens" in caplog.text
    tokens = load({**dataset, "max_steps": 7}, ("tokens",)).train.tokens
    assert tokens.shape[2] == 7 and (tokens[:, 0, -1] == 2).all(), "the last token stays </s>"


def test_a_model_that_names_text_reads_frozen_states(readers, sentences):
    from transformers import AutoModel, AutoTokenizer

    for kind, folder in readers.items():
        splits = load({**sentences, "text_encoder": str(folder), "scale": "none"}, ("text", "motion"))
        read = AutoTokenizer.from_pretrained(folder)(splits.test.raw_text[:1], return_tensors="pt")
        with torch.no_grad():
            states = AutoModel.from_pretrained(folder).eval()(read["input_ids"], read["attention_mask"])[0][0]
        torch.testing.assert_close(splits.test.features["text"][0, : len(states)], states, atol=1e-5, rtol=0)
        assert splits.dims == {"text": 16, "motion": 3}, kind
        assert not splits.test.features["text"][0, len(states) :].any()


def test_raw_text_that_no_model_reads_is_named(sentences, tmp_path, caplog):
    assert list(load(sentences, ("*",)).dims) == ["motion"]
    assert "not used: its raw text, since the model has no text encoder" in caplog.text
    texts, target = said()
    np.savez(tmp_path / "only.npz", text=np.array(texts), target=target)
    with pytest.raises(ValueError, match="nothing but raw text, which the model does not read"):
        load({**sentences, "path": str(tmp_path / "only.npz")}, ("*",))
    with pytest.raises(ValueError, match=r"tokenizer of its raw text is not known: dataset.text_encoder=NAME"):
        load(sentences, ("*", "tokens"))


def test_a_folder_without_a_tokenizer_is_told_and_code_in_it_is_never_run(folders, readers, sentences, tmp_path):
    from shutil import copytree

    with pytest.raises(ValueError, match=r"no tokenizer in .*: expected tokenizer.json there"):
        load({**sentences, "text_encoder": folders["roberta"]}, ("*", "tokens"))
    hostile = copytree(readers["roberta"], tmp_path / "hostile")
    (hostile / "code.py").write_text(f"open({str(tmp_path / 'ran')!r}, 'w')\nclass Mine: pass\n")
    told = json.loads((hostile / "tokenizer_config.json").read_text())
    told |= {"tokenizer_class": "Mine", "auto_map": {"AutoTokenizer": ["code.Mine", "code.Mine"]}}
    (hostile / "tokenizer_config.json").write_text(json.dumps(told))
    splits = load({**sentences, "text_encoder": str(hostile)}, ("*", "tokens"))
    own = load({**sentences, "text_encoder": str(readers["roberta"])}, ("*", "tokens"))
    assert torch.equal(splits.train.tokens, own.train.tokens) and not (tmp_path / "ran").exists()
    (hostile / "tokenizer.json").write_text("{}")
    with pytest.raises(ValueError, match="hostile: its tokenizer cannot be loaded"):
        load({**sentences, "text_encoder": str(hostile), "valid": 0.2}, ("*", "tokens"))


@pytest.mark.slow
def test_earnings_calls_are_read_by_a_text_encoder(readers, shared, tmp_path, monkeypatch):
    monkeypatch.setenv("POWMIX_CACHE", str(tmp_path))
    dataset = {**defaults("maec"), "path": str(shared / "data/tasks"), "text_encoder": str(readers["deberta"])}
    splits = load({**dataset, "max_steps": 12}, ("*", "tokens"))
    assert splits.train.tokens.shape == (535, 3, 12) and list(splits.dims) == ["audio", "past"]
