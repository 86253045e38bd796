"""What each option of each architecture may be. No torch: the command line asks before anything heavy is imported."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any

from powmix.mistakes import NOT_NEGATIVE, POSITIVE, RATE, SWITCH, Rule, broken, choice, is_count, optional, unknown

WIDTH = Rule(lambda value: is_count(value, 1) and value <= 8192, "a whole number within [1, 8192]")
DEPTH = Rule(lambda value: is_count(value, 1) and value <= 64, "a whole number within [1, 64]")
ENCODER = Rule(
    lambda value: isinstance(value, str | os.PathLike) and os.fspath(value).strip() != "",
    "the name or the folder of a text encoder",
)


def _each(rule: Rule, *names: str) -> dict[str, Rule]:
    return dict.fromkeys(names, rule)


SUBNETS = {
    **_each(WIDTH, "text_hidden", "audio_hidden", "vision_hidden", "text_out", "post_fusion_dim"),
    **_each(RATE, "audio_dropout", "vision_dropout", "post_fusion_dropout"),
}
TEXT = {
    "text": Rule(lambda value: isinstance(value, Mapping), "a mapping with pretrained and finetune"),
    "text.pretrained": ENCODER,
    "text.finetune": SWITCH,
}
RULES: dict[str, dict[str, Rule]] = {
    "lf_dnn": SUBNETS,
    "tfn": SUBNETS,
    "mult": {
        **_each(WIDTH, "dim", "heads", "kernel_text", "kernel_audio", "kernel_vision"),
        "levels": DEPTH,
        **_each(RATE, "text_dropout", "attn_dropout", "attn_dropout_audio", "attn_dropout_vision"),
        **_each(RATE, "relu_dropout", "embed_dropout", "res_dropout", "output_dropout"),
    },
    "misa": {
        **TEXT,
        "hidden_size": WIDTH,
        "dropout": RATE,
        **_each(NOT_NEGATIVE, "diff_weight", "sim_weight", "recon_weight"),
    },
    "self_mm": {
        **TEXT,
        **_each(WIDTH, "audio_hidden_size", "vision_hidden_size", "audio_out", "vision_out"),
        **_each(WIDTH, "post_fusion_dim", "post_text_dim", "post_audio_dim", "post_vision_dim"),
        **_each(RATE, "audio_lstm_dropout", "vision_lstm_dropout"),
        **_each(RATE, "post_fusion_dropout", "post_text_dropout", "post_audio_dropout", "post_vision_dropout"),
        "H": optional(POSITIVE),
        "exclude_zero": SWITCH,
        "unimodal": choice("mixed", "clean"),
    },
    "mag_bert": {**TEXT, "beta_shift": NOT_NEGATIVE, "dropout_prob": RATE},
    "late_fusion": {
        **TEXT,
        "text.pretrained": optional(ENCODER),
        **_each(WIDTH, "width", "hidden", "fusion_hidden"),
        "layers": DEPTH,
        "dropout": RATE,
        "sequence_encoder": choice("conv", "gru", "transformer"),
        "fusion": choice("concat", "transformer", "tensor", "gated", "mean_of_heads"),
    },
}
"""By architecture, the rule of every option; `text.pretrained` is the key `pretrained` of the option `text`."""


def mistakes(name: str, options: Mapping[str, Any]) -> list[str]:
    """What is wrong with an architecture's options, a sentence each: unknown ones, values, and what they are together.

    options: as in conf/model/<name>.yaml except `name`. Whether a text encoder is on this machine is not asked.
    """
    given = _flat(options)
    found = [f"model {name}: {sentence}" for sentence in unknown(given, RULES[name], "option")]
    found += broken(RULES[name], given, "model.")
    return found or _together(name, given)


def _flat(options: Mapping[str, Any]) -> dict[str, Any]:
    """The options of `text` under dotted names, all others as they are."""
    text = options.get("text")
    if not isinstance(text, Mapping):
        return dict(options)
    others = {name: value for name, value in options.items() if name != "text"}
    return {f"text.{key}": value for key, value in text.items()} | others


def _together(name: str, options: Mapping[str, Any]) -> list[str]:
    """What single values do not show: attention divides a width among its heads."""
    if name == "mult" and {"dim", "heads"} <= set(options) and options["dim"] % options["heads"]:
        return [f"model.dim must be a multiple of model.heads={options['heads']}, got {options['dim']}"]
    if name == "misa" and options.get("hidden_size", 2) % 2:
        return [f"model.hidden_size must be even, for two attention heads, got {options['hidden_size']}"]
    if name == "late_fusion":
        owners = {"sequence_encoder": "hidden", "fusion": "width"}
        return [
            f"model.{width} must be even for model.{owner}=transformer, with two attention heads, got {options[width]}"
            for owner, width in owners.items()
            if options.get(owner) == "transformer" and options.get(width, 2) % 2
        ]
    return []
