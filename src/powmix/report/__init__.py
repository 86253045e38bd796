"""Finished runs become statistics, tables, figures and pages; nothing imports torch but Figure 1 and Table 1.

    from powmix.report import describe, write_comparison

`write_comparison` ends a multirun, `describe` a single run; `powmix-report` (`__main__`) is the command.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from powmix.report.comparison import describe, write_comparison

__all__ = ["describe", "write_comparison"]


def __getattr__(name: str) -> Any:
    """Imported when first used, so that `powmix-report --help` waits for no statistics."""
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module("powmix.report.comparison"), name)
