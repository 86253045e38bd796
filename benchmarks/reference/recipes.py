"""The framework's published hyper-parameters on MOSI (config_regression.json), as facts.

model: constructor options; batch_size; accumulate: batches per step (`update_epochs`); clip: value clipping after every
backward pass; groups: Adam's (learning rate, weight decay), one for all or by part; loss; tokens: text is token ids;
average: audio and vision are averaged over time before training.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Literal


@dataclass(frozen=True)
class Recipe:
    model: dict[str, Any]
    batch_size: int
    groups: dict[str, tuple[float, float]]
    accumulate: int = 1
    clip: float | None = None
    loss: Literal["l1", "mse"] = "l1"
    tokens: bool = False
    average: bool = False
    weights: dict[str, float] = field(default_factory=dict)


MOSI = {
    "mult": Recipe(
        model={
            "dst_feature_dim_nheads": (50, 10),
            "nlevels": 4,
            "conv1d_kernel_size_l": 5,
            "conv1d_kernel_size_a": 5,
            "conv1d_kernel_size_v": 5,
            "attn_dropout": 0.3,
            "attn_dropout_a": 0.2,
            "attn_dropout_v": 0.0,
            "relu_dropout": 0.0,
            "embed_dropout": 0.2,
            "res_dropout": 0.0,
            "output_dropout": 0.5,
            "text_dropout": 0.5,
        },
        batch_size=16,
        groups={"all": (0.002, 0.0)},
        accumulate=8,
        clip=0.6,
    ),
    "lf_dnn": Recipe(
        model={
            "hidden_dims": (128, 16, 128),
            "text_out": 256,
            "post_fusion_dim": 128,
            "dropouts": (0.2, 0.2, 0.2, 0.2),
        },
        batch_size=128,
        groups={"all": (0.001, 0.01)},
        average=True,
    ),
    "tfn": Recipe(
        model={"hidden_dims": (128, 32, 128), "text_out": 32, "post_fusion_dim": 64, "dropouts": (0.3, 0.3, 0.3, 0.5)},
        batch_size=32,
        groups={"all": (0.001, 0.0)},
        average=True,
    ),
    "misa": Recipe(
        model={"hidden_size": 128, "dropout": 0.2},
        batch_size=16,
        groups={"all": (0.0001, 0.0)},
        accumulate=2,
        clip=0.8,
        loss="mse",
        tokens=True,
        weights={"difference": 0.1, "similarity": 0.3, "reconstruction": 1.0},
    ),
    "self_mm": Recipe(
        model={
            "a_lstm_hidden_size": 16,
            "v_lstm_hidden_size": 32,
            "audio_out": 16,
            "video_out": 32,
            "post_fusion_dim": 128,
            "post_text_dim": 32,
            "post_audio_dim": 16,
            "post_video_dim": 32,
            "post_fusion_dropout": 0.0,
            "post_text_dropout": 0.1,
            "post_audio_dropout": 0.1,
            "post_video_dropout": 0.0,
        },
        batch_size=16,
        groups={"bert": (5e-5, 0.001), "audio": (0.005, 0.001), "video": (0.005, 0.001), "other": (0.001, 0.001)},
        accumulate=4,
        tokens=True,
    ),
    "mag_bert": Recipe(
        model={"beta_shift": 1.0, "dropout_prob": 0.3}, batch_size=32, groups={"all": (2e-5, 0.0)}, tokens=True
    ),
}
