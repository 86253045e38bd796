"""The datasets by name: label ranges, file names, where the files come from, and what they are made of. No torch."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

SPLITS = ("train", "valid", "test")
MODALITIES = ("text", "audio", "vision")
KEYS = (
    "raw_text", "id", "text", "text_bert", "audio", "vision", "audio_lengths", "vision_lengths", "regression_labels",
    "regression_labels_T", "regression_labels_A", "regression_labels_V", "classification_labels", "annotations",
)  # fmt: skip
"""What a split of a feature file may hold; msena.py says in what form."""
SYNTHETIC = "synthetic"
MMSA = "https://github.com/thuiar/MMSA"


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


def where_from(name: str) -> str:
    """One sentence: where the feature files of dataset `name` come from, and the command that then uses them."""
    source = SOURCES[name]
    return (
        f"{source.title}: its authors hand out {name.upper()}/Processed/{' or '.join(source.files)} over the cloud "
        f"drives linked in the README of {MMSA}; then: powmix dataset={name} dataset.path=FOLDER/{source.files[0]}"
    )
