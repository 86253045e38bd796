"""Numbers that the M-SENA framework computed, from tests/oracles/: configuration, weights, inputs and outputs by name.

The two MulTs' weights (0.7 MB) and inputs are not stored but drawn again, from the seed with which they were made.
"""

import json
from functools import cache
from pathlib import Path

import numpy as np
import torch
from torch import nn

FOLDER = Path(__file__).parent / "oracles"
DRAWN = ("mult_aligned", "mult_unaligned")
"""In this order, from one stream of random numbers."""
SEED = 7
NOISE = 0.05
"""The standard deviation of what was added to every initial parameter, so that none is zero or one."""


def read(name: str) -> dict[str, np.ndarray]:
    """`config` (JSON), weights `w/...` under the framework's names, inputs `in/...`, outputs `out/...`."""
    with np.load(FOLDER / f"{name}.npz") as stored:
        arrays = dict(stored)
    return arrays | _drawn()[name] if name in DRAWN else arrays


@cache
def _drawn() -> dict[str, dict[str, np.ndarray]]:
    noise = torch.Generator().manual_seed(SEED)
    found = {}
    with torch.random.fork_rng():
        torch.manual_seed(SEED)
        for name in DRAWN:
            with np.load(FOLDER / f"{name}.npz") as stored:
                config, last = json.loads(str(stored["config"])), stored["last"]
            weights = dict(MulT(config).named_parameters())
            arrays = {
                f"w/{key}": (value.detach() + NOISE * torch.randn(value.shape, generator=noise)).numpy()
                for key, value in weights.items()
            }
            for modality, steps, dim in zip(("text", "audio", "vision"), config["lens"], config["dims"]):
                arrays[f"in/{modality}"] = torch.randn(3, steps, dim, generator=noise).numpy()
            drawn = np.append(arrays["w/out_layer.weight"][0, -3:], arrays["in/vision"].ravel()[-3:])
            np.testing.assert_allclose(drawn, last, atol=1e-6, err_msg="this torch draws other random numbers")
            found[name] = arrays
    return found


class MulT(nn.Module):
    """The parameters of the framework's MulT, made in its order and by its rules; it computes nothing."""

    def __init__(self, config: dict):
        super().__init__()
        width, depth = config["d"], config["layers"]
        for letter, dim, kernel in zip("lav", config["dims"], config["kernels"]):
            setattr(self, f"proj_{letter}", nn.Conv1d(dim, width, kernel, bias=False))
        for target in "lav":
            for source in "lav".replace(target, ""):
                setattr(self, f"trans_{target}_with_{source}", Encoder(width, depth))
        for letter in "lav":
            setattr(self, f"trans_{letter}_mem", Encoder(2 * width, max(depth, 3)))
        self.proj1, self.proj2 = nn.Linear(6 * width, 6 * width), nn.Linear(6 * width, 6 * width)
        self.out_layer = nn.Linear(6 * width, 1)


class Encoder(nn.Module):
    def __init__(self, width: int, depth: int):
        super().__init__()
        self.layers = nn.ModuleList(Layer(width) for _ in range(depth))
        self.layer_norm = nn.LayerNorm(width)


class Layer(nn.Module):
    def __init__(self, width: int):
        super().__init__()
        self.self_attn = Attention(width)
        self.fc1, self.fc2 = xavier(width, 4 * width), xavier(4 * width, width)
        self.layer_norms = nn.ModuleList(nn.LayerNorm(width) for _ in range(2))


class Attention(nn.Module):
    def __init__(self, width: int):
        super().__init__()
        self.in_proj_weight = nn.Parameter(torch.empty(3 * width, width))
        self.in_proj_bias = nn.Parameter(torch.zeros(3 * width))
        self.out_proj = nn.Linear(width, width)
        nn.init.xavier_uniform_(self.in_proj_weight)
        nn.init.xavier_uniform_(self.out_proj.weight)
        nn.init.zeros_(self.out_proj.bias)


def xavier(inner: int, outer: int) -> nn.Linear:
    layer = nn.Linear(inner, outer)
    nn.init.xavier_uniform_(layer.weight)
    nn.init.zeros_(layer.bias)
    return layer
