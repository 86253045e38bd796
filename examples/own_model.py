"""My own network on my own arrays: two sensors that tell four activities, 20 seconds on one core.

python own_model.py                                                       one variant, five seeds
python own_model.py -m mixer=none,manifold_mixup,multimix,powmix seeds=10 compared, paired by seed
python own_model.py -m sweeps=staged                                      searched
"""

import numpy as np
import torch
from torch import nn

import powmix


@powmix.register_dataset("activities")
def activities(examples: int = 400, noise: float = 1.0, corpus_seed: int = 0):
    """Arrays by name: sequences of any length and a vector; `target` holds classes, `group` who must not be shared."""
    rng = np.random.default_rng(corpus_seed)
    action = rng.integers(4, size=examples)
    person = rng.integers(20, size=examples)
    habit = rng.normal(size=(20, 6))
    lengths = rng.integers(20, 40, size=examples)
    motion = [
        np.sin(np.arange(n)[:, None] * (0.2 + 0.15 * a) + np.arange(3)) + noise * rng.normal(size=(n, 3))
        for n, a in zip(lengths, action)
    ]
    posture = np.eye(4)[action] @ rng.normal(size=(4, 6)) + habit[person] + noise * rng.normal(size=(examples, 6))
    return {"motion": motion, "posture": posture, "target": action, "group": [f"person {p}" for p in person]}


@powmix.register_model("two_sensors")
class TwoSensors(nn.Module):
    """encode: a dict of tensors, one for each modality; a mixer mixes them; fuse: the prediction."""

    def __init__(self, inputs, width: int = 32, dropout: float = 0.2):
        super().__init__()
        self.motion = nn.GRU(inputs.dims["motion"], width, batch_first=True)
        self.posture = nn.Sequential(nn.Linear(inputs.dims["posture"], width), nn.ReLU(), nn.Dropout(dropout))
        self.head = nn.Sequential(nn.Linear(2 * width, width), nn.ReLU(), nn.Linear(width, inputs.outputs))

    def encode(self, batch):
        states, _ = self.motion(batch["motion"])
        real = batch.mask("motion").unsqueeze(-1)  # padded steps do not count
        return {"motion": (states * real).sum(1) / real.sum(1), "posture": self.posture(batch["posture"])}

    def fuse(self, hidden):
        return self.head(torch.cat([hidden["motion"], hidden["posture"]], dim=-1))


if __name__ == "__main__":
    powmix.main(dataset="activities", model="two_sensors")
