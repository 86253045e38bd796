"""Small trained runs to be loaded, asked and exported, and the arrays that they were trained on."""

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
from analysis_runs import train
from training_corpus import rows_of

from powmix import models, plugins
from powmix.command.registered import offer
from powmix.data import registry as datasets

QUICK = ("trainer.device=cpu", "trainer.checkpoint=false", "trainer.max_epochs=2", "mixer=none")
N = 60

LAB = """
import numpy as np
from torch import nn
import powmix


@powmix.register_dataset("sensors_of_lab")
def sensors(path: str, gain: float = 1.0):
    found = np.load(path)
    return {"pair": gain * found["pair"], "sound": found["sound"], "target": found["level"]}


@powmix.register_model("plain_of_lab")
class Plain(nn.Module):
    def __init__(self, inputs, width: int = 4):
        super().__init__()
        self.layers = nn.ModuleDict({m: nn.Linear(d, width) for m, d in inputs.dims.items()})
        self.norm, self.drop = nn.BatchNorm1d(width), nn.Dropout(0.3)
        self.head = nn.Linear(width, inputs.outputs)

    def encode(self, batch):
        return {m: self.drop(self.norm(layer(batch[m]))) for m, layer in self.layers.items()}

    def fuse(self, hidden):
        return self.head(sum(hidden.values()))
"""


def arrays(task: str = "classification", seed: int = 0) -> dict:
    """A vector and a ragged sequence, scaled far from 0 and 1, that tell the target of a task."""
    rng = np.random.default_rng(seed)
    group = np.arange(N) % 3
    target = {
        "classification": np.array(["calm", "glad", "sad"])[group],
        "regression": (group + 0.1 * rng.normal(size=N)).astype(np.float32),
        "multilabel": np.eye(3, dtype=int)[group] | np.eye(3, dtype=int)[np.arange(N) % 2],
    }[task]
    vector = 50 + 9 * (np.eye(3)[group] @ rng.normal(size=(3, 4)) + rng.normal(size=(N, 4)))
    lengths = rng.integers(2, 6, N)
    steps = rng.normal(size=(lengths.sum(), 2)) + np.repeat(group, lengths)[:, None]
    return {
        "a": vector.astype(np.float32),
        "b.rows": steps.astype(np.float32),
        "b.lengths": lengths,
        "target": target,
        "split": np.repeat([0, 1, 2], 20),
        "id": [f"clip {row}" for row in range(N)],
    }


def on_arrays(folder: Path, task: str = "classification", *overrides: str) -> tuple[Path, Path]:
    """A run of late fusion on an .npz of arrays: the file, and the run's folder."""
    offer()
    folder.mkdir(parents=True, exist_ok=True)
    np.savez(folder / "x.npz", **arrays(task))
    data = ("dataset=arrays", f"dataset.path={folder / 'x.npz'}", "model=late_fusion", "seeds=2")
    return folder / "x.npz", train(folder, *data, *overrides, small=QUICK)


def stored(run: Path, seed: int) -> np.ndarray:
    """What a seed's predictions.csv holds, (N, C) as float32."""
    rows = rows_of(run / f"seed_{seed}" / "predictions.csv")
    return np.array([[float(v) for k, v in row.items() if k.startswith("prediction")] for row in rows], np.float32)


def of_test(found: dict) -> dict:
    """The arrays' test part, as arrays of their own."""
    rows = np.flatnonzero(found["split"] == 2)
    steps = np.split(found["b.rows"], found["b.lengths"].cumsum()[:-1])
    return {"a": found["a"][rows], "b": [steps[row] for row in rows], "target": found["target"][rows]}


def on_lab(folder: Path) -> Path:
    """A run of the plugin LAB in `folder`, which also holds its data; the plugin stays loaded."""
    rng = np.random.default_rng(0)
    pair = rng.normal(size=(40, 2))
    np.savez(folder / "own.npz", pair=pair, sound=rng.normal(size=(40, 3)), level=pair.sum(1))
    plugin = folder / "lab_of_use.py"
    plugin.write_text(LAB)
    plugins.load([str(plugin)])
    offer()
    data = ("dataset=sensors_of_lab", f"dataset.path={folder / 'own.npz'}", "model=plain_of_lab")
    return train(folder, *data, "seeds=[3]", f"plugins=[{plugin}]", "dataset.split_seed=4", small=QUICK)


@contextmanager
def forgetting() -> Iterator[Callable[[], None]]:
    """What plugins register inside is gone afterwards, and whenever the function is called."""
    places = (models.registry.MODELS, models.registry.TITLES, datasets.DATASETS, datasets.TITLES, plugins._loaded)
    before = [dict(place) for place in places]

    def forget() -> None:
        for place, known in zip(places, before):
            place.clear()
            place.update(known)
        sys.modules.pop("lab_of_use", None)

    yield forget
    forget()
