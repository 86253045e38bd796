"""Raw waveforms and images become the states of a frozen model of transformers; the models here have random weights."""

import json

import numpy as np
import pytest
import torch

from powmix.data import load
from powmix.data.__main__ import main
from powmix.data.extracting import extract
from powmix.data.registry import defaults

N = 12
TARGET = np.arange(N) % 2
WAVES = [np.random.default_rng(row).normal(size=400 + 60 * row).astype(np.float32) for row in range(N)]
IMAGES = np.random.default_rng(0).integers(0, 256, (N, 3, 16, 16)).astype(np.uint8)


@pytest.fixture(scope="module")
def models(tmp_path_factory):
    """A folder of an audio model and one of an image model, each with how raw input is prepared."""
    from transformers import ViTConfig, ViTModel, Wav2Vec2Config, Wav2Vec2FeatureExtractor, Wav2Vec2Model

    sizes = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 24}
    torch.manual_seed(0)
    audio, image = tmp_path_factory.mktemp("audio"), tmp_path_factory.mktemp("image")
    convolutions = {"conv_dim": (8, 8), "conv_kernel": (10, 3), "conv_stride": (5, 2)}
    more = {"num_conv_pos_embeddings": 4, "num_conv_pos_embedding_groups": 2}
    Wav2Vec2Model(Wav2Vec2Config(**sizes, **convolutions, **more)).save_pretrained(audio)
    Wav2Vec2FeatureExtractor(sampling_rate=16000).save_pretrained(audio)
    ViTModel(ViTConfig(**sizes, image_size=16, patch_size=8)).save_pretrained(image)
    told = {"image_processor_type": "ViTImageProcessor", "size": {"height": 16, "width": 16}, "do_resize": False}
    told |= {"do_normalize": True, "image_mean": [0.5] * 3, "image_std": [0.5] * 3, "do_rescale": True}
    (image / "preprocessor_config.json").write_text(json.dumps(told))
    return {"audio": audio, "image": image}


@pytest.fixture
def raw(tmp_path):
    """An .npz file of ragged waveforms, images and a target."""
    waves = {"sound.rows": np.concatenate(WAVES)[:, None], "sound.lengths": np.array(list(map(len, WAVES)))}
    np.savez(tmp_path / "raw.npz", **waves, face=IMAGES, target=TARGET)
    return str(tmp_path / "raw.npz")


def test_waveforms_become_the_models_own_states(models, raw, tmp_path):
    from transformers import Wav2Vec2FeatureExtractor, Wav2Vec2Model

    assert extract(raw, "sound", models["audio"], tmp_path / "out.npz") == (N, 16)
    found = np.load(tmp_path / "out.npz")
    parts = np.split(found["sound.rows"], found["sound.lengths"].cumsum()[:-1])
    model = Wav2Vec2Model.from_pretrained(models["audio"]).eval()
    prepare = Wav2Vec2FeatureExtractor.from_pretrained(models["audio"])
    for row in (0, N - 1):
        with torch.no_grad():
            given = prepare(WAVES[row], sampling_rate=16000, return_tensors="pt")
            expected = model(given["input_values"]).last_hidden_state[0]
        np.testing.assert_allclose(parts[row], expected, atol=1e-5)
    assert len(parts[0]) < len(parts[-1]) and (found["face"] == IMAGES).all()


def test_images_become_the_models_own_states_and_train(models, raw, tmp_path):
    from transformers import ViTModel

    assert main(["extract", raw, "sound", str(models["audio"]), str(tmp_path / "one.npz")]) == 0
    assert main(["extract", str(tmp_path / "one.npz"), "face", str(models["image"]), str(tmp_path / "two.npz")]) == 0
    model = ViTModel.from_pretrained(models["image"], add_pooling_layer=False).eval()
    with torch.no_grad():
        expected = model((torch.from_numpy(IMAGES[:1]) / 255 - 0.5) / 0.5).last_hidden_state[0]
    found = np.load(tmp_path / "two.npz")
    np.testing.assert_allclose(found["face.rows"][: found["face.lengths"][0]], expected, atol=1e-4)
    splits = load({**defaults("arrays"), "path": str(tmp_path / "two.npz")}, ("*",))
    assert splits.dims == {"face": 16, "sound": 16} and set(splits.kinds.values()) == {"sequence"}


def test_mistakes_are_one_line_and_write_nothing(models, raw, tmp_path, capsys):
    cases = {
        ("sonud", "audio", "16000"): "did you mean sound",
        ("face", "audio", "16000"): "a 'wav2vec2' model does not read face",
        ("sound", "image", "16000"): "a 'vit' model does not read sound",
        ("target", "audio", "16000"): "target: expected waveforms (N, T) or images",
        ("sound", "audio", "8000"): "reads 16000 Hz, the waveforms have 8000 (--rate)",
    }
    for (key, model, rate), message in cases.items():
        assert main(["extract", raw, key, str(models[model]), str(tmp_path / "out.npz"), "--rate", rate]) == 2
        error = capsys.readouterr().err
        assert message in error and error.count("\n") == 1 and not (tmp_path / "out.npz").exists()
