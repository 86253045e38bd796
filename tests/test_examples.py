"""Each laboratory in examples/ runs as its first lines say, from an empty folder, and is at most 60 lines long."""

import json
from pathlib import Path

import commands
import numpy as np
import pytest

EXAMPLES = Path(__file__).resolve().parents[1] / "examples"
SMALL = "dataset.sizes={train: 60, valid: 30, test: 30}"
QUICK = ["seeds=1", "trainer.max_epochs=8", "trainer.device=cpu"]


@pytest.mark.parametrize(
    ("name", "arguments", "mixers", "model"),
    [
        ("own_model", ["mixer=none,powmix"], {"none", "powmix"}, "two_sensors"),
        ("image_and_audio", ["mixer=powmix", "model.fusion=gated"], {"powmix"}, "late_fusion"),
        pytest.param(
            "own_mixer",
            ["mixer=none,swap", "dataset.sizes={train: 60, valid: 30, test: 30}"],
            {"none", "swap"},
            "lf_dnn",
            marks=pytest.mark.slow,
        ),
    ],
)
def test_an_example_runs_and_learns(tmp_path, name, arguments, mixers, model):
    commands.run(tmp_path, EXAMPLES / f"{name}.py", "-m", *arguments, *QUICK)
    found = [json.loads(path.read_text()) for path in tmp_path.glob("outputs/runs/*/result.json")]
    assert {one["variant"]["mixer"] for one in found} == mixers and {one["variant"]["model"] for one in found} == {
        model
    }
    if name != "own_mixer":
        assert all(one["mean"]["test"]["AUROC"] > 0.6 for one in found)


@pytest.mark.slow
def test_linear_baselines_say_what_each_modality_alone_is_good_for(tmp_path):
    label_N = np.arange(120) % 3
    noise = np.random.default_rng(0).normal(size=(120, 2, 6))
    told = {"good": np.eye(3)[label_N] @ np.ones((3, 6)).cumsum(1).cumsum(0) + noise[:, 0], "chance": noise[:, 1]}
    np.savez(tmp_path / "x.npz", target=label_N, **told)
    said = commands.run(tmp_path, EXAMPLES / "linear_baselines.py", "dataset=arrays", "path=x.npz")
    rows = {" ".join(words[2:]): float(words[1]) for words in map(str.split, said.splitlines()[1:])}
    assert rows.keys() == {"good", "chance", "good + chance"}
    assert rows["good"] > 0.9 and rows["chance"] < 0.7


@pytest.mark.slow
def test_the_mixer_alone_learns_in_a_plain_loop(tmp_path):
    said = commands.run(tmp_path, EXAMPLES / "plain_loop.py")
    assert float(said.split()[0]) > 0.6, "the four classes are equally frequent"
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("path", sorted(EXAMPLES.rglob("*.py")), ids=lambda path: path.stem)
def test_an_example_is_short(path):
    assert len(path.read_text().splitlines()) <= 60
