"""Splits in memory, M-SENA feature files and their store, the synthetic corpus, corruption, fractions.

`load` is all that training needs. Nothing heavy is imported before it is used.
"""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from powmix.data.loading import load
    from powmix.data.splits import Batch, Split, Splits

__all__ = ["Batch", "Split", "Splits", "load"]


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(f"module 'powmix.data' has no attribute {name!r}")
    from importlib import import_module

    return getattr(import_module("powmix.data.loading" if name == "load" else "powmix.data.splits"), name)
