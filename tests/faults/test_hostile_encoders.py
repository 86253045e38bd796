"""A text encoder's folder may come from anybody: no code of it is run, and what cannot be read is told in one line."""

import io
import json
import os
import pickle

import pytest
import torch
from feature_files import content, write

from powmix.data import load
from powmix.data.encoders import check_encoder, load_encoder

NEEDS = ("text", "audio", "vision")
EVIL = "import pathlib; pathlib.Path('ran').write_text('')\n"


class Runs:
    """Pickles as a shell command."""

    def __reduce__(self):
        return os.system, ("touch ran",)


@pytest.fixture(autouse=True)
def own_places(tmp_path, monkeypatch):
    monkeypatch.setenv("POWMIX_CACHE", str(tmp_path / "cache"))
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    monkeypatch.setattr("sys.stdin", io.StringIO("y\n" * 10))


@pytest.fixture
def bert(tmp_path):
    from transformers import BertConfig, BertModel

    sizes = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 8}
    BertModel(BertConfig(vocab_size=1000, **sizes)).save_pretrained(tmp_path / "bert")
    return tmp_path / "bert"


def reconfigured(folder, **changes):
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config | changes))


def own_code(folder):
    (folder / "evil.py").write_text(EVIL + "class C: pass\n")
    reconfigured(folder, model_type="evil", auto_map={"AutoConfig": "evil.C", "AutoModel": "evil.C"})


def own_code_for_bert(folder):
    (folder / "evil.py").write_text(EVIL + "raise SystemExit\n")
    reconfigured(folder, auto_map={"AutoConfig": "evil.C", "AutoModel": "evil.C"})
    (folder / "model.safetensors").write_bytes(b"")


def weights_that_run(folder):
    (folder / "model.safetensors").unlink()
    (folder / "pytorch_model.bin").write_bytes(pickle.dumps(Runs()))


def zipped_weights_that_run(folder):
    (folder / "model.safetensors").unlink()
    torch.save({"weight": Runs()}, folder / "pytorch_model.bin")


def truncated_weights(folder):
    data = (folder / "model.safetensors").read_bytes()
    (folder / "model.safetensors").write_bytes(data[: len(data) // 2])


def no_json(folder):
    (folder / "config.json").write_text("{")


def nested_json(folder):
    (folder / "config.json").write_text("[" * 100_000)


def no_object(folder):
    (folder / "config.json").write_text("[]")


def weights_of_another_size(folder):
    reconfigured(folder, hidden_size=32)


@pytest.mark.parametrize(
    "spoil",
    [own_code, own_code_for_bert, weights_that_run, zipped_weights_that_run, truncated_weights, no_json, nested_json,
     no_object, weights_of_another_size],
)  # fmt: skip
def test_a_hostile_or_damaged_encoder_is_refused_in_one_line(tmp_path, bert, spoil):
    spoil(bert)
    path = write(tmp_path / "f.pkl", content(text=False))
    with pytest.raises(ValueError) as error:
        load({"name": "mosi", "path": str(path), "text_encoder": str(bert)}, NEEDS)
    assert str(bert) in str(error.value) and str(error.value).isprintable()
    assert os.listdir() == []
    assert not list((tmp_path / "cache").rglob("*tmp*"))


@pytest.mark.parametrize("spoil", [weights_that_run, zipped_weights_that_run, own_code_for_bert])
def test_a_bert_to_train_is_loaded_no_less_carefully(bert, spoil):
    spoil(bert)
    with pytest.raises(ValueError) as error:
        load_encoder(check_encoder(bert), "BertModel")
    assert str(error.value).isprintable() and os.listdir() == []


def test_code_beside_a_bert_is_ignored(tmp_path, bert):
    (bert / "evil.py").write_text(EVIL)
    reconfigured(bert, auto_map={"AutoConfig": "evil.C", "AutoModel": "evil.C"})
    path = write(tmp_path / "f.pkl", content(text=False))
    assert load({"name": "mosi", "path": str(path), "text_encoder": str(bert)}, NEEDS).dims["text"] == 16
    assert os.listdir() == []


def test_a_model_of_one_s_own_is_refused_by_its_name(bert):
    own_code(bert)
    with pytest.raises(ValueError, match=r"model_type of transformers' own .*, got 'evil'"):
        load_encoder(bert)
