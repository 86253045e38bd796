"""Splits in memory, anyone's arrays and columns, M-SENA feature files and their store, the synthetic corpus.

`load` is all that training needs, `from_arrays` takes what is in memory. Nothing heavy is imported before it is used.
"""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from powmix.data.loading import from_arrays, load
    from powmix.data.splits import Batch, Split, Splits

__all__ = ["Batch", "Split", "Splits", "from_arrays", "load"]


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(f"module 'powmix.data' has no attribute {name!r}")
    from importlib import import_module

    home = "loading" if name in ("from_arrays", "load") else "splits"
    return getattr(import_module(f"powmix.data.{home}"), name)
