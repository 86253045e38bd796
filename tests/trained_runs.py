"""Small trained runs to be loaded, asked and exported, and the arrays that they were trained on."""

from pathlib import Path

import numpy as np
from analysis_runs import train
from training_corpus import rows_of

from powmix.command.registered import offer

QUICK = ("trainer.device=cpu", "trainer.checkpoint=false", "trainer.max_epochs=2", "mixer=none")
N = 60


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
