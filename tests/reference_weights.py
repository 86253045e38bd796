"""The weights of a powmix model under the names, and in the shapes, of the reference implementation."""

import re

import torch

from powmix.models.mult import pairs_of

LSTM = ((r"\.(weight|bias)_(ih|hh)$", r".\1_\2_l0"),)
BERT = ((r"^text\.bert\.", "text_model.bert."),)
RULES = {
    "lf_dnn": ((r"^text\.linear\.", "text.linear_1."), (r"^fusion\.", "post."), *LSTM),
    "self_mm": (
        (r"^(audio|vision)\.lstm\.", r"\1_model.rnn."),
        (r"^(audio|vision)\.output\.", r"\1_model.linear_1."),
        (r"^vision_model", "video_model"),
        (r"^heads\.fusion", "head.M"),
        (r"^heads\.text", "head.T"),
        (r"^heads\.audio", "head.A"),
        (r"^heads\.vision", "head.V"),
        (r"\.first\.", ".linear_1."),
        (r"\.second\.", ".linear_2."),
        (r"^(head.*)\.output\.", r"\1.linear_3."),
        *LSTM,
        *BERT,
    ),
    "misa": (
        (r"^(vision|audio)\.(first|second)\.(\d)\.(.*)$", r"rnn.\1.rnn_\2.\4_l0\3"),
        (r"rnn_first", "rnn_1"),
        (r"rnn_second", "rnn_2"),
        (r"_l00$", "_l0"),
        (r"_l01$", "_l0_reverse"),
        (r"^(vision|audio)\.norm", r"rnn.\1.norm"),
        (r"^(private\.\w+|shared)\.", r"\1.0."),
        (r"attention_in\.", "self_attn.in_proj_"),
        (r"attention_out", "self_attn.out_proj"),
        (r"^transformer\.inner", "transformer.linear1"),
        (r"^transformer\.outer", "transformer.linear2"),
        (r"norm_attention", "norm1"),
        (r"norm_feedforward", "norm2"),
        (r"^hidden_layer", "fusion.0"),
        (r"^output", "fusion.3"),
        *BERT,
    ),
    "mag_bert": (
        (r"^gate\.(vision|audio)_gate", r"gate.gate_\1"),
        (r"^gate\.(vision|audio)_shift", r"gate.\1"),
        (r"^output", "classifier"),
        (r"^text\.bert\.", "bert."),
    ),
    "mult": (
        (r"^projections", "project"),
        (r"norm_1\.", "norm_2."),
        (r"norm_0\.", "norm_1."),
        (r"in_proj\.", "attention.in_proj_"),
        (r"out_proj", "attention.out_proj"),
        (r"fc_", "linear_"),
        (r"^output", "out"),
    ),
}
RULES["tfn"] = RULES["lf_dnn"]


def as_reference(name: str, tensors: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """A state dict (or gradients by parameter name) of powmix's model `name`, for the reference model."""
    result = {}
    for key, value in tensors.items():
        if key.startswith("ulgm."):
            continue
        for pattern, replacement in RULES[name]:
            key = re.sub(pattern, replacement, key)
        result.update(one_each(key, value) if name == "mult" else {key: value})
    return result


def one_each(key: str, value: torch.Tensor) -> dict[str, torch.Tensor]:
    """MulT's group axis as separate networks."""
    part, _, rest = key.partition(".")
    networks = {
        "crossmodal": [f"cross.{target}_with_{source}" for target, source in pairs_of(("text", "audio", "vision"))],
        "memory": [f"memory.{target}" for target in ("text", "audio", "vision")],
    }
    if part not in networks:
        return {key: value}
    return {f"{network}.{rest}": one for network, one in zip(networks[part], value, strict=True)}
