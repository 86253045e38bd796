"""The datasets by name: what their labels range over, what their files are called, and where those come from."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

MMSA = "https://github.com/thuiar/MMSA"
SYNTHETIC = "synthetic"


@dataclass(frozen=True)
class Source:
    """files: expected names; label_range, convention: of its metrics; encoder: its BERT; sizes: published clips."""

    title: str
    files: tuple[str, ...]
    label_range: tuple[float, float]
    convention: Literal["mosi", "sims"]
    encoder: str
    sizes: tuple[int, int, int]


SOURCES = {
    "mosi": Source("CMU-MOSI", ("unaligned_50.pkl", "aligned_50.pkl"), (-3.0, 3.0), "mosi", "minilm", (1284, 229, 686)),
    "mosei": Source(
        "CMU-MOSEI", ("unaligned_50.pkl", "aligned_50.pkl"), (-3.0, 3.0), "mosi", "minilm", (16326, 1871, 4659)
    ),
    "sims": Source("CH-SIMS", ("unaligned_39.pkl",), (-1.0, 1.0), "sims", "bert-base-chinese", (1368, 456, 457)),
}
DATASETS = (SYNTHETIC, *SOURCES)


def whence(name: str) -> str:
    """One sentence: where the feature files of dataset `name` come from, and the command that then uses them."""
    source = SOURCES[name]
    return (
        f"{source.title}: its authors hand out {name.upper()}/Processed/{' or '.join(source.files)} over the cloud "
        f"drives linked in the README of {MMSA}; then: powmix dataset={name} dataset.path=FOLDER/{source.files[0]}"
    )
