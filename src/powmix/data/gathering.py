"""The original files of a task -> the files that `dataset=NAME` reads (tasks.py). `powmix-data gather`.

Compared with an original: sentences and acoustic features of one call of MAEC. Not compared, since none was at hand:
UTD-MHAD's files and the spoken digits', which are read as their authors describe them and as the arrays in use show
(order of joints, metres, blocks of the grid; floor of the logarithm), and prices. The spectra's windows are ours.
Shape suffixes: N recordings, T steps.
"""

from __future__ import annotations

import csv
import gzip
import json
import logging
import re
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from powmix.data.registry import DATASETS
from powmix.runs.files import replacing

SENSORS = {"inertial": "d_iner", "skeleton": "d_skel", "depth": "d_depth"}
"""The sensors of UTD-MHAD, and what their arrays are called in a .mat file."""
GRID = (8, 10)
RATE, WINDOW, HOP, FFT, MELS = 8000, 200, 80, 256, 20
"""Of the spoken digits: Hz, samples of a frame (25 ms) and between frames (10 ms), points of the transform, bands."""
FLOOR = 1e-7
DAYS = (3, 7, 15, 30)
PAST = 30
UNDEFINED = "--undefined--"
CLIP = 10.0

log = logging.getLogger("powmix")


def gather(name: str, folder: Path, out: Path) -> list[Path]:
    """Writes what `dataset=NAME` reads into `out`, made of the original files in `folder`; returns the files.

    ValueError, saying what is expected, where originals are missing or are not of their kind.
    """
    if name not in GATHERED:
        row = DATASETS.get(name)
        advice = f"{name} needs no gathering: {row.where}" if row and row.where else f"one of {', '.join(GATHERED)}"
        raise ValueError(f"gather: {advice}")
    if not folder.is_dir():
        raise ValueError(f"gather {name}: no folder {str(folder)!r}. {DATASETS[name].where}")
    written = []
    for file, content in GATHERED[name](folder).items():
        with replacing(out / file) as temporary, temporary.open("wb") as stream:
            if file.endswith(".npz"):
                np.savez_compressed(stream, **content)
            else:
                stream.write(gzip.compress(json.dumps(content).encode(), mtime=0))
        written.append(out / file)
    return written


# --- UTD-MHAD ---------------------------------------------------------------------------------------------------------


def utd(folder: Path) -> dict[str, Any]:
    """Inertial, Skeleton and Depth files `a<1..27>_s<1..8>_t<1..4>_<sensor>.mat`, wherever in the folder."""
    found: dict[str, dict[tuple[int, ...], Path]] = {sensor: {} for sensor in SENSORS}
    for path in sorted(folder.rglob("*.mat")):
        if named := re.fullmatch(rf"a(\d+)_s(\d+)_t(\d+)_({'|'.join(SENSORS)})\.mat", path.name):
            found[named[4]][tuple(map(int, named.groups()[:3]))] = path
    recordings = sorted(set().union(*found.values()))
    missing = [f"a{a}_s{s}_t{t}_{one}.mat" for one in SENSORS for a, s, t in recordings if (a, s, t) not in found[one]]
    if missing or not recordings:
        what = f"{len(missing)} files are missing, such as {missing[0]}" if missing else "no a1_s1_t1_inertial.mat, ..."
        raise ValueError(f"{folder}: {what}. {DATASETS['utd'].where}")
    arrays = {sensor: [_sensor(paths[one], sensor) for one in recordings] for sensor, paths in found.items()}
    kinds = {"inertial": np.float32, "skeleton": np.float16, "depth": np.float16}
    files = {f"utd_{one}.npz": _ragged(value, kinds[one]) for one, value in arrays.items()}
    action, subject, trial = np.array(recordings).T
    return {**files, "utd_index.npz": {"action": action - 1, "subject": subject, "trial": trial}}


def _sensor(path: Path, sensor: str) -> np.ndarray:
    """One recording (T, D): inertial 6; joints x, y, z in metres 60; depth in metres as means over a grid 80."""
    from scipy.io import loadmat

    try:
        array = np.asarray(loadmat(path, variable_names=[SENSORS[sensor]])[SENSORS[sensor]], np.float64)
    except Exception as error:
        raise ValueError(f"{path}: expected {SENSORS[sensor]}, got {type(error).__name__}: {error}") from None
    if sensor == "inertial" and array.ndim == 2 and array.shape[1] == 6:
        return array
    if sensor == "skeleton" and array.ndim == 3 and array.shape[:2] == (20, 3):
        return array.transpose(2, 0, 1).reshape(array.shape[2], 60)
    if sensor == "depth" and array.ndim == 3 and not (array.shape[0] % GRID[0] or array.shape[1] % GRID[1]):
        rows, columns = (size // parts for size, parts in zip(array.shape, GRID))
        blocks = array.reshape(GRID[0], rows, GRID[1], columns, array.shape[2]).mean((1, 3))
        return blocks.reshape(GRID[0] * GRID[1], -1).T / 1000
    raise ValueError(f"{path}: {SENSORS[sensor]} has the shape {array.shape}, which is not that of a recording")


# --- spoken digits ----------------------------------------------------------------------------------------------------


def digits(folder: Path) -> dict[str, Any]:
    """Recordings `<digit>_<speaker>_<number>.wav`, wherever in the folder, as log-mel spectra."""
    from scipy.io import wavfile

    recordings = []
    for path in sorted(folder.rglob("*.wav"), key=lambda path: path.name):
        if named := re.fullmatch(r"(\d)_([^_]+)_(\d+)\.wav", path.name):
            try:
                rate, samples_T = wavfile.read(path)
            except Exception as error:
                raise ValueError(f"{path}: expected a .wav file, got {type(error).__name__}: {error}") from None
            if rate != RATE or samples_T.ndim != 1 or samples_T.dtype != np.int16 or len(samples_T) < WINDOW:
                got = f"{rate} Hz, {samples_T.shape} {samples_T.dtype}"
                raise ValueError(f"{path}: expected {RATE} Hz, one channel of int16 and at least {WINDOW}, got {got}")
            recordings.append((int(named[1]), named[2], int(named[3]), log_mel(samples_T / 2**15)))
    if not recordings:
        raise ValueError(f"{folder}: no 0_george_0.wav, ... {DATASETS['digits'].where}")
    digit, speaker, index, spectra = zip(*recordings)
    told = {"digit": np.array(digit, np.int8), "speaker": np.array(speaker), "index": np.array(index, np.int16)}
    return {"fsdd_logmel.npz": _ragged(spectra, np.float16) | told}


def log_mel(samples_T: np.ndarray) -> np.ndarray:
    """Logarithms of the power in 20 mel bands (frames, 20): Hann windows of 25 ms every 10 ms, none of them padded."""
    frames = np.lib.stride_tricks.sliding_window_view(samples_T, WINDOW)[::HOP]
    power = np.abs(np.fft.rfft(frames * np.hanning(WINDOW), FFT)) ** 2
    top = 2595 * np.log10(1 + RATE / 2 / 700)
    edges = 700 * (10 ** (np.linspace(0, top, MELS + 2) / 2595) - 1)
    low, middle, high = edges[:-2], edges[1:-1], edges[2:]
    hertz = np.fft.rfftfreq(FFT, 1 / RATE)[:, None]
    bands = np.clip(np.minimum((hertz - low) / (middle - low), (high - hertz) / (high - middle)), 0, None)
    return np.log(power @ bands + FLOOR)


# --- MAEC -------------------------------------------------------------------------------------------------------------


def maec(folder: Path) -> dict[str, Any]:
    """Folders `2015<month><day>_<ticker>` with text.txt and features.csv, and `prices.csv` beside them.

    prices.csv: date (2015-02-25), ticker, close (adjusted), one line for each trading day, from 31 days before a call
    to 30 after it; calls that it does not cover are left out. Split by date: 70, 10 and 20 per cent. Audio features are
    standardised by the training calls, undefined ones their mean, and cut at 10 standard deviations.
    """
    prices, calls, without, unlike = _prices(folder / "prices.csv"), [], [], []
    for place in sorted(path for path in folder.rglob("2015*_*") if path.is_dir()):
        day, _, ticker = place.name.partition("_")
        around = _returns(prices.get(ticker, {}), f"{day[:4]}-{day[4:6]}-{day[6:8]}")
        if around is None:
            without.append(place.name)
        else:
            said, features = _call(place)
            if len(said) == len(features):
                calls.append((place.name, said, features, *around))
            else:
                unlike.append(place.name)
    if without:
        log.warning("%d of %d calls are left out: prices.csv does not cover them, such as %s", len(without),
                    len(without) + len(calls), without[0])  # fmt: skip
    if unlike:
        log.warning("left out, as they have not one row of features for each sentence: %s", ", ".join(unlike))
    if len(calls) < 10:
        advice = DATASETS["maec"].where
        raise ValueError(f"{folder}: expected at least 10 calls with prices, got {len(calls)}. {advice}")
    names, said, audio, past, after = zip(*calls)
    size = len(calls)
    split = np.repeat(np.array([0, 1, 2], np.int8), [first := size * 7 // 10, size // 10, size - first - size // 10])
    train = np.concatenate(audio[:first])
    mean, std = np.nanmean(train, 0), np.nanstd(train, 0)
    scaled = [np.clip(np.nan_to_num((one - mean) / np.where(std > 0, std, 1)), -CLIP, CLIP) for one in audio]
    ragged = _ragged(scaled, np.float16)
    with np.errstate(divide="ignore"):
        volatility = np.log([[np.std(days[:count]) for count in DAYS] for days in after])
        told = {"past": np.log(np.abs(past)).astype(np.float32), "y": volatility.astype(np.float32)}
    told |= {"audio": ragged["rows"], "lengths": ragged["lengths"], "split": split, "ids": np.array(names)}
    return {"maec15.npz": told, "maec15_text.json.gz": dict(zip(names, said))}


def _call(place: Path) -> tuple[list[str], np.ndarray]:
    """A call's sentences, and its acoustic features (sentences, 29), undefined ones NaN."""
    try:
        said = [line.strip() for line in (place / "text.txt").read_text("utf-8", "replace").split("\n") if line.strip()]
        with (place / "features.csv").open(newline="", encoding="utf-8-sig") as stream:
            _, *rows = csv.reader(stream)
        table = np.array([[np.nan if one.strip() == UNDEFINED else float(one) for one in row] for row in rows if row])
    except (OSError, ValueError) as error:
        raise ValueError(f"{place}: expected text.txt and features.csv, got {type(error).__name__}: {error}") from None
    if table.ndim != 2:
        raise ValueError(f"{place / 'features.csv'}: expected a table of numbers, got {table.shape}")
    return said, table


def _prices(path: Path) -> dict[str, dict[str, float]]:
    """Closing prices by ticker and day."""
    found: dict[str, dict[str, float]] = {}
    try:
        with path.open(newline="", encoding="utf-8-sig") as stream:
            for row in csv.DictReader(stream):
                found.setdefault(row["ticker"], {})[row["date"]] = float(row["close"])
    except (OSError, KeyError, ValueError, TypeError) as error:
        raise ValueError(f"{path}: expected columns date, ticker, close, got {type(error).__name__}: {error}") from None
    return found


def _returns(closes: Mapping[str, float], day: str) -> tuple[np.ndarray, np.ndarray] | None:
    """Daily returns of the 30 days up to a call's, and of the 30 after it; None where prices are lacking."""
    days = sorted(closes)
    until = sum(one <= day for one in days)
    if until <= PAST or len(days) - until < max(DAYS):
        return None
    price = np.array([closes[one] for one in days])
    returns = price[1:] / price[:-1] - 1  # of day n + 1
    return returns[until - 1 - PAST : until - 1], returns[until - 1 : until - 1 + max(DAYS)]


def _ragged(parts: Sequence[np.ndarray], kind: Any) -> dict[str, np.ndarray]:
    return {"rows": np.concatenate(parts).astype(kind), "lengths": np.array(list(map(len, parts)), np.int16)}


GATHERED: dict[str, Callable[[Path], dict[str, Any]]] = {"utd": utd, "digits": digits, "maec": maec}
