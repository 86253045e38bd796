"""The benchmarks' commands print the lines that their pages promise."""

import json
import pickle
import sys

import pytest
import torch

from benchmarks import mixing, mosei_file, scale
from powmix.data import msena


@pytest.fixture
def printed(monkeypatch, capsys):
    """The figures that a command prints, by name."""

    def call(command, *arguments):
        monkeypatch.setattr(sys, "argv", [command.__name__, *arguments])
        command.main()
        figures = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
        return {figure["name"]: figure for figure in figures}

    return call


def test_a_mixers_cost_is_a_share_of_the_step(printed):
    options = ("--model", "lf_dnn", "--rows", "8", "--batch", "4", "--repeats", "1", "--mixers", "powmix", "multimix")
    figures = printed(mixing, *options)
    assert list(figures) == ["mixing/lf_dnn/powmix/n_O=8/B=4", "mixing/lf_dnn/multimix/n_O=8/B=4"]
    for figure in figures.values():
        assert figure["notes"] == {"share": pytest.approx(1 / figure["ratio"]["median"])}


def test_a_mixer_that_would_wait_for_the_device_is_refused(monkeypatch):
    hidden, target = {"text": torch.randn(4, 3, requires_grad=True)}, torch.randn(4, 1)
    mixing.forbid_waiting({"name": "powmix", "p_mix": 1.0}, hidden, target)
    monkeypatch.setattr("powmix.mixing.powmix.attention", lambda shown, eps: float(next(iter(shown)).sum()))
    with pytest.raises(RuntimeError, match="meta"):
        mixing.forbid_waiting({"name": "powmix", "p_mix": 1.0}, hidden, target)


def test_the_file_of_moseis_size_is_what_pickle_would_have_written(tmp_path):
    sizes = mosei_file.write_mosei(tmp_path / "f.pkl", share=0.001)
    content, read = pickle.loads((tmp_path / "f.pkl").read_bytes()), msena.read(tmp_path / "f.pkl")
    assert sizes == {"train": 16, "valid": 2, "test": 5}
    for name, size in sizes.items():
        for modality, (steps, width) in mosei_file.SHAPES.items():
            array = content[name][modality]
            assert array.shape == (size, steps, width) and array.dtype == "float32" and array.any()
            assert (read[name].features[modality][:] == array).all()


@pytest.mark.slow
def test_the_cost_of_a_share_is_told_beside_that_of_the_first(printed, monkeypatch, tmp_path):
    monkeypatch.setenv("POWMIX_CACHE", "another")
    monkeypatch.setattr(scale, "apart", lambda work, *given: work(*given))
    models = ("--models", "lf_dnn", "mult", "--batches", "1")
    figures = printed(scale, "--shares", "1/2000", "1/1000", *models, "--folder", str(tmp_path))
    clips = {
        **dict.fromkeys(("convert", "convert_memory", "open"), (12, 23)),
        **dict.fromkeys(("epoch/lf_dnn", "memory/lf_dnn"), (10, 18)),  # a batch of 64 holds all that there are
        **dict.fromkeys(("epoch/mult", "memory/mult"), (6, 6)),
    }
    assert list(figures) == [f"scale/{cost}/1/{share}" for share in (2000, 1000) for cost in clips]
    for cost, told in clips.items():
        small, large = (figures[f"scale/{cost}/1/{share}"] for share in (2000, 1000))
        assert small["reference"] == large["reference"] == small["ours"] != large["ours"]
        assert (small["notes"]["clips"], large["notes"]["clips"]) == told
    trained = figures["scale/memory/lf_dnn/1/1000"]["notes"]
    assert trained["mapped"] > 0 and trained["dirty"] == 0
    assert not list(tmp_path.iterdir())
