"""What happens to raw features once, on their way into the store: not-finite values, lengths, the padding side.

Shape suffixes: N examples, L time steps, D features.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass

import numpy as np

from powmix.data.pickled_arrays import Numbers

ROWS = 256
"""Rows cleaned at a time: bounds the memory beside a file that may fill most of it."""


@dataclass
class Scan:
    """What one pass over a modality found: values replaced by 0, all-zero steps at either end of each example (N,).

    hash_N: equal where two examples are equal; it differs from process to process.
    """

    replaced: dict[str, int]
    leading_N: np.ndarray
    trailing_N: np.ndarray
    hash_N: np.ndarray


def clean(array_NLD: Numbers, write: Callable[[np.ndarray], None] | None = None) -> Scan:
    """Scan features; give them to `write`, some rows at a time, as float32 with -inf, inf and NaN replaced by 0."""
    size, steps, _ = array_NLD.shape
    scan = Scan({"-inf": 0, "inf": 0, "nan": 0}, *(np.empty(size, np.int64) for _ in range(3)))
    for start in range(0, size, ROWS):
        rows = slice(start, min(start + ROWS, size))
        with np.errstate(over="ignore"):
            part_NLD = array_NLD[rows].astype(np.float32)
        bad_NLD = ~np.isfinite(part_NLD)
        if bad_NLD.any():
            bad = part_NLD[bad_NLD]
            scan.replaced["nan"] += int(np.isnan(bad).sum())
            scan.replaced["inf"] += int((bad == np.inf).sum())
            scan.replaced["-inf"] += int((bad == -np.inf).sum())
            part_NLD[bad_NLD] = 0
        real_NL = np.asarray(part_NLD.any(-1))
        empty_N = ~real_NL.any(-1)
        scan.leading_N[rows] = np.where(empty_N, steps, real_NL.argmax(-1))
        scan.trailing_N[rows] = np.where(empty_N, steps, real_NL[:, ::-1].argmax(-1))
        scan.hash_N[rows] = hashes(part_NLD)
        if write is not None:
            write(part_NLD)
    return scan


def hashes(rows: np.ndarray) -> list[int]:
    """A hash of each row's bytes."""
    return [hash(row.tobytes()) for row in rows]


def padding_side(scans: Iterable[Scan]) -> str:
    """The side with more all-zero steps, over all examples; `right` where nothing tells."""
    scans = list(scans)
    leading, trailing = (sum(int(getattr(scan, name).sum()) for scan in scans) for name in ("leading_N", "trailing_N"))
    return "left" if leading > trailing else "right"


def measured_lengths(scan: Scan, side: str, steps: int) -> np.ndarray:
    """Lengths of features that come without any: what is left of the zero steps on the padded side."""
    return steps - (scan.trailing_N if side == "right" else scan.leading_N)


def repaired_lengths(length_N: np.ndarray, steps: int) -> tuple[np.ndarray, dict[str, int]]:
    """Lengths within 1..steps, as packing needs them, and how many were changed."""
    counts = {"zero": int((length_N < 1).sum()), "beyond": int((length_N > steps).sum())}
    return np.clip(length_N, 1, steps).astype(np.int64), counts
