"""The benchmarks' commands print the lines that their pages promise."""

import json
import sys

import pytest
import torch

from benchmarks import mixing


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
