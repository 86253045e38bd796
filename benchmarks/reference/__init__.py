"""The opponent: each architecture computed the way the M-SENA framework computes it.

Per-item datasets, one small batch at a time, separate crossmodal networks, padded BERT. Written from the
published equations and from facts about that framework; it is the oracle of equal outputs as well.
"""

from benchmarks.reference.build import NAMES, build, trainer
from benchmarks.reference.dataset import Items, loader
from benchmarks.reference.recipes import MOSI

__all__ = ["MOSI", "NAMES", "Items", "build", "loader", "trainer"]
