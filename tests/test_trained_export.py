"""`powmix-export`: a folder that stands by itself, with the run's table, and is loaded as a run is."""

import shutil

import feature_files
import numpy as np
import pytest
import yaml
from analysis_runs import train
from safetensors.torch import load_file
from trained_runs import QUICK, arrays, forgetting, of_test, on_arrays, on_lab, stored

import powmix
from powmix.runs.files import read_json
from powmix.use.exporting import main


@pytest.fixture
def exported(tmp_path):
    """An exported folder whose run and data are gone, and what the run's test predictions were."""
    _, run = on_arrays(tmp_path / "there")
    assert main([str(run), str(tmp_path / "my-model"), "--seed", "1112"]) == 0
    told = stored(run, 1112)
    shutil.rmtree(tmp_path / "there")
    return tmp_path / "my-model", told


def test_the_folder_predicts_what_the_run_did_without_the_run_and_its_data(exported):
    folder, told = exported
    assert sorted(path.name for path in folder.iterdir()) == ["README.md", "config.json", "model.safetensors"]
    model = powmix.load(folder)
    assert model.seed == 1112 and np.array_equal(model.outputs(of_test(arrays())).numpy(), told)
    with pytest.raises(ValueError, match="it holds seed 1112 alone, got seed=1111"):
        powmix.load(folder, 1111)


def test_nothing_of_this_machine_is_in_it(exported, tmp_path):
    folder, _ = exported
    for path in folder.iterdir():
        assert str(tmp_path).encode() not in path.read_bytes()
    config = read_json(folder / "config.json")
    assert config["model_type"] == "powmix" and "path" not in config["config"]["dataset"]


def test_the_card_says_how_it_is_loaded_what_it_reads_and_what_was_reached(exported):
    card = (exported[0] / "README.md").read_text()
    front = yaml.safe_load(card.split("---")[1])
    assert front["library_name"] == "powmix" and "license" not in front
    assert 'powmix.load("my-model")' in card and "`b` | sequences (N, L, 2), L up to 5" in card
    assert "The probability of each class: calm, glad, sad." in card
    assert "Weights of seed 1112, one of 2." in card and "±" in card and "Acc" in card


def test_the_card_has_the_difference_to_the_run_without_mixing_beside_it(tmp_path):
    _, run = on_arrays(tmp_path)
    _, mixed = on_arrays(tmp_path, "classification", "mixer=powmix")
    assert main([str(mixed), str(tmp_path / "mixed")]) == 0 and main([str(run), str(tmp_path / "plain")]) == 0
    card = (tmp_path / "mixed/README.md").read_text()
    assert "Difference to no mixing, paired by seed" in card and "Undecided" in card
    assert "Difference to no mixing" not in (tmp_path / "plain/README.md").read_text()


def test_a_folder_in_use_is_left_alone_unless_forced(exported, tmp_path, capsys):
    folder, _ = exported
    _, run = on_arrays(tmp_path / "again")
    (folder / "README.md").write_text("mine")
    assert main([str(run), str(folder)]) == 2 and "is not empty" in capsys.readouterr().err
    assert (folder / "README.md").read_text() == "mine"
    assert main([str(run), str(folder), "--force"]) == 0 and "# my-model" in (folder / "README.md").read_text()
    assert main([str(folder), str(tmp_path / "copy")]) == 2
    assert "is an exported folder already" in capsys.readouterr().err


def test_a_text_encoder_travels_with_it_and_training_examples_do_not(tmp_path, monkeypatch):
    monkeypatch.setenv("POWMIX_CACHE", str(tmp_path / "cache"))
    from transformers import BertConfig, BertModel

    sizes = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 24}
    BertModel(BertConfig(vocab_size=1000, **sizes)).save_pretrained(tmp_path / "bert")
    content = feature_files.content()
    file = feature_files.write(tmp_path / "mosi.pkl", content)
    text = ("model=self_mm", f"model.text.pretrained={tmp_path / 'bert'}", "trainer.accumulate=1", "seeds=[3]")
    run = train(tmp_path, "dataset=mosi", f"dataset.path={file}", *text, small=QUICK)
    assert main([str(run), str(tmp_path / "out")]) == 0
    weights = load_file(tmp_path / "out/model.safetensors")
    assert not weights["ulgm.labels_TN"].numel() and not weights["ulgm.bank_NF"].numel()
    told = stored(run, 3)
    shutil.rmtree(tmp_path / "bert")
    shutil.rmtree(run)
    test = content["test"]
    given = {name: [row[:n] for row, n in zip(test[name], test[f"{name}_lengths"])] for name in ("audio", "vision")} | {
        "tokens": test["text_bert"].astype(int)
    }
    model = powmix.load(tmp_path / "out")
    assert np.allclose(model.predict(given), told[:, 0], atol=1e-6)
    given["tokens"][0, 0, 1] = 199  # a word that no example of the run has
    assert np.isfinite(model.predict(given)).all()


def test_code_of_the_users_own_travels_and_is_run_where_it_is_named(tmp_path):
    with forgetting() as forget:
        run = on_lab(tmp_path)
        assert main([str(run), str(tmp_path / "out")]) == 0
        told = stored(run, 3)
        pair = np.load(tmp_path / "own.npz")
        rows = [int(line.split(",")[0]) for line in (run / "seed_3/predictions.csv").read_text().split()[1:]]
        given = {name: pair[name][rows] for name in ("pair", "sound")}
        shutil.rmtree(tmp_path / "runs")
        forget()
        with pytest.raises(ValueError, match="came with it and is not run unasked"):
            powmix.load(tmp_path / "out")
        code = str(tmp_path / "out/lab_of_use.py")
        assert np.array_equal(powmix.load(tmp_path / "out", plugins=[code]).predict(given), told[:, 0])
        assert "plugins=['out/lab_of_use.py']" in (tmp_path / "out/README.md").read_text()
