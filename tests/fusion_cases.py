"""Small batches, models and the oracles' weights for the tests of MulT, LF-DNN and TFN."""

import json

import oracle_files
import torch

from powmix.data.splits import MODALITIES, Batch
from powmix.models import Inputs, Noise, build

DIMS = {"text": 12, "audio": 5, "vision": 7}
PUBLISHED = {"mask_padding": False, "positions": False, "range_from_labels": False, "configured_decay": False}
OPTIONS = {
    "mult": {"dim": 8, "heads": 2, "levels": 2, "kernel_text": 3, "kernel_audio": 1, "kernel_vision": 2}
    | {"relu_dropout": 0.1, "res_dropout": 0.1},
    "lf_dnn": {"text_hidden": 6, "audio_hidden": 4, "vision_hidden": 8, "text_out": 5, "post_fusion_dim": 9},
    "tfn": {"text_hidden": 6, "audio_hidden": 4, "vision_hidden": 8, "text_out": 5, "post_fusion_dim": 9},
}
UNALIGNED = {"text": 8, "audio": 21, "vision": 15}
ALIGNED = {"text": 9, "audio": 9, "vision": 9}


def model_of(name: str, steps=UNALIGNED, seed=0, options=None, **protocol):
    torch.manual_seed(seed)
    return build(name, OPTIONS[name] | (options or {}), Inputs(DIMS, steps), PUBLISHED | protocol)


def batch_of(size: int, steps=UNALIGNED, lengths=None, side="right", seed=0) -> Batch:
    """Random sequences, zero where `lengths` (by modality, `size` numbers) say padding."""
    generator = torch.Generator().manual_seed(seed)
    features = {name: torch.randn(size, steps[name], DIMS[name], generator=generator) for name in MODALITIES}
    full = {name: torch.full((size,), steps[name]) for name in MODALITIES}
    lengths = {name: torch.tensor(value) for name, value in (lengths or {}).items()}
    batch = Batch(
        features, None, full | lengths, dict.fromkeys(MODALITIES, side), torch.randn(size, 1), torch.arange(size)
    )
    for name in lengths:
        features[name].mul_(batch.mask(name).unsqueeze(-1))
    return batch


def noise_of(seed: int) -> Noise:
    return Noise(torch.Generator().manual_seed(seed))


class Oracle:
    """An oracle: `config`, its `weights` under the reference framework's names, `batch`, and `out`."""

    def __init__(self, name: str):
        arrays = oracle_files.read(name)
        self.config = json.loads(str(arrays["config"]))
        part = {key: torch.from_numpy(value) for key, value in arrays.items() if key != "config"}
        self.weights = {key[2:]: value for key, value in part.items() if key.startswith("w/")}
        self.out = {key[4:]: value for key, value in part.items() if key.startswith("out/")}
        features = {name: part[f"in/{name}"] for name in MODALITIES}
        size = len(features["text"])
        self.steps = {name: value.shape[1] for name, value in features.items()}
        lengths = {name: torch.full((size,), steps) for name, steps in self.steps.items()}
        side = dict.fromkeys(MODALITIES, "right")
        self.batch = Batch(features, None, lengths, side, torch.zeros(size, 1), torch.arange(size))
        self.inputs = Inputs(dict(zip(MODALITIES, self.config["dims"])), self.steps)


def mult_of(oracle: Oracle):
    """Our MulT with an oracle's weights."""
    c = oracle.config
    options = {"dim": c["d"], "heads": c["heads"], "levels": c["layers"]}
    options |= {f"kernel_{name}": kernel for name, kernel in zip(MODALITIES, c["kernels"])}
    model = build("mult", options, oracle.inputs, PUBLISHED)
    state = mult_state(oracle.weights, c["layers"])
    unused = {f"projections.{name}.weight" for name, width in oracle.inputs.dims.items() if width == c["d"]}
    model.load_state_dict({key: value for key, value in state.items() if key not in unused})
    return model


def mult_state(w: dict, levels: int) -> dict:
    """The reference framework's MulT weights under our names."""
    attention = {f"in_proj.{kind}": f"self_attn.in_proj_{kind}" for kind in ("weight", "bias")}
    plain = {"out_proj": "self_attn.out_proj", "fc_1": "fc1", "fc_2": "fc2"}
    plain |= {"norm_0": "layer_norms.0", "norm_1": "layer_norms.1"}
    names = attention | {
        f"{ours}.{kind}": f"{theirs}.{kind}" for ours, theirs in plain.items() for kind in ("weight", "bias")
    }
    state = {f"projections.{ours}.weight": w[f"proj_{theirs}.weight"] for ours, theirs in zip(MODALITIES, "lav")}
    crossmodal = ["l_with_a", "l_with_v", "a_with_l", "a_with_v", "v_with_l", "v_with_a"]
    for encoders, networks, depth in (
        ("crossmodal", crossmodal, levels),
        ("memory", ["l_mem", "a_mem", "v_mem"], max(levels, 3)),
    ):
        for ours, theirs in names.items():
            for n in range(depth):
                parts = [w[f"trans_{network}.layers.{n}.{theirs}"] for network in networks]
                state[f"{encoders}.layers.{n}.{ours}"] = torch.stack(parts)
        for kind in ("weight", "bias"):
            state[f"{encoders}.norm.{kind}"] = torch.stack([w[f"trans_{n}.layer_norm.{kind}"] for n in networks])
    for ours, theirs in (("linear_1", "proj1"), ("linear_2", "proj2"), ("output", "out_layer")):
        state |= {f"{ours}.{kind}": w[f"{theirs}.{kind}"] for kind in ("weight", "bias")}
    return state


def subnets_of(name: str, oracle: Oracle):
    """Our LF-DNN or TFN with an oracle's weights."""
    c = oracle.config
    text, audio, vision = c["hidden_dims"]
    options = {"text_hidden": text, "audio_hidden": audio, "vision_hidden": vision, "text_out": c["text_out"]}
    model = build(name, options | {"post_fusion_dim": c["post_fusion_dim"]}, oracle.inputs, PUBLISHED)
    renames = {"audio_subnet": "audio", "video_subnet": "vision", "text_subnet.linear_1": "text.linear"}
    renames |= {"text_subnet": "text", "post_fusion_layer": "fusion.linear", "_l0": ""}
    state = {}
    for key, value in oracle.weights.items():
        for theirs, ours in renames.items():
            key = key.replace(theirs, ours)
        if not key.endswith("num_batches_tracked"):
            state[key] = value
    model.load_state_dict(state)
    return model
