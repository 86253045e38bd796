"""The slope of predictions on labels, whole and by modality: known where predictions are made to attenuate."""

import json
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from analysis_runs import train

from powmix import PowMix, analysis
from powmix.analysis.overview import table
from powmix.analysis.regularity import _slopes, by_modality, slope
from powmix.data.splits import Split
from powmix.models import Encoded
from powmix.runs.records import read_record
from powmix.training.settings import precision

NAMES = ("text", "audio", "vision")


def test_a_slope_is_least_squares():
    y = torch.randn(500, 1)
    noise = torch.randn(500, 1)
    noise -= noise.mean() + y * ((noise - noise.mean()) * (y - y.mean())).sum() / (y - y.mean()).square().sum()
    assert slope(0.4 * y + noise + 7, y) == pytest.approx(0.4, abs=1e-3)
    assert np.isnan(slope(y, torch.ones(500, 1)))


def test_hidden_vectors_belong_to_the_modality_in_their_name():
    names = ["private_text", "shared_text", "private_audio", "left_hand", "fused"]
    assert by_modality(names, ["audio", "text", "left_hand"]) == {
        "text": ["private_text", "shared_text"],
        "audio": ["private_audio"],
        "left_hand": ["left_hand"],
        "fused": ["fused"],
    }


class Additive(torch.nn.Module):
    """The hidden vectors are the features; fusion adds them up by known weights."""

    def __init__(self, weights):
        super().__init__()
        self.weights = weights

    def encode(self, batch):
        return Encoded(dict(batch.features))

    def fuse(self, hidden):
        return sum(h * w for h, w in zip(hidden.values(), self.weights, strict=True))


def made_of(text_NC, weights):
    """What `_slopes` needs of a solver: an additive model of three features, and labels that are the text."""
    source = torch.Generator().manual_seed(1)
    size = len(text_NC)
    features = {"text": text_NC, **{name: torch.randn(size, 1, generator=source) for name in NAMES[1:]}}
    split = Split(features, None, {}, {}, text_NC, [str(i) for i in range(size)], [""] * size)
    model = Additive(weights)
    return SimpleNamespace(
        settings=SimpleNamespace(batch_size=64),
        model=model,
        precision=precision(torch.device("cpu"), "off"),
        predict=lambda split: model.fuse(split.features),
    ), split


def fitted(label_weights):
    """Least squares on rows that PowMix made of examples whose label is their text: the weights of the features."""
    source = torch.Generator().manual_seed(3)
    mixer = PowMix(n_out=64, reweight="uniform", label_weights=label_weights)
    rows = []
    for _ in range(300):
        hidden = {name: torch.randn(32, 1, generator=source) for name in NAMES}
        rows.append(mixer(hidden, hidden["text"].clone(), generator=source))
    h = torch.cat([torch.cat(list(row.hidden.values()), 1) for row in rows])
    alike = [(row.weights["text"] * row.weights["audio"]).sum(1).mean() for row in rows]
    own = [row.weights["text"].square().sum(1).mean() for row in rows]
    rho = float(torch.stack(alike).mean() / torch.stack(own).mean())
    return torch.linalg.lstsq(h, torch.cat([row.target for row in rows])).solution[:, 0], rho


@pytest.mark.parametrize("label_weights", ["mean", {"text": 1, "audio": 0, "vision": 0}])
def test_the_slope_shows_how_much_averaged_labels_attenuate_the_dominant_modality(label_weights):
    weights, rho = fitted(label_weights)
    expected = (1 + 2 * rho) / 3 if label_weights == "mean" else 1.0
    text = torch.randn(4000, 1, generator=torch.Generator().manual_seed(2))
    found = _slopes(*made_of(text, weights))
    assert found["slope_text"] == pytest.approx(expected, abs=0.02)
    assert found["slope_audio"] == pytest.approx(0, abs=0.02) and found["slope_vision"] == pytest.approx(0, abs=0.02)
    assert sum(found[f"slope_{name}"] for name in NAMES) == pytest.approx(found["slope"], abs=1e-4)
    assert 0.4 < rho < 0.9, "rows of two modalities are neither the same nor strangers"


def test_slopes_by_modality_are_of_what_the_model_says_of_it_alone():
    text = torch.randn(2000, 1, generator=torch.Generator().manual_seed(2))
    found = _slopes(*made_of(text, [0.5, 2.0, 0.0]))
    assert found["slope_text"] == pytest.approx(0.5, abs=1e-4) and found["slope_vision"] == 0


def test_a_runs_slopes_are_those_of_its_predictions_with_their_spread_over_seeds(tmp_path):
    folder = train(tmp_path, "seeds=[1,2]", "trainer.max_epochs=2", "mixer=powmix")
    rows = analysis.run(["regularity"], folder, device="cpu")["regularity"]
    for row in rows:
        lines = (folder / f"seed_{row['seed']}" / "predictions.csv").read_text().splitlines()[1:]
        y, f = np.array([[float(cell) for cell in line.rsplit(",", 2)[1:]] for line in lines]).T
        assert row["slope"] == pytest.approx(np.polyfit(y, f, 1)[0], rel=1e-3, abs=1e-5)
        assert {"slope_text", "slope_audio", "slope_vision"} <= row.keys()
    assert json.loads((folder / "analysis" / "regularity.json").read_text())["settings"]["slopes"] == "test"
    slopes = [row["slope"] for row in rows]
    shown = f"{np.mean(slopes):.3f} ± {np.std(slopes, ddof=1):.3f}"
    assert shown in table("regularity", [(read_record(folder), rows)])
