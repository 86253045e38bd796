"""Where powmix's own files lie: beside src/ in a clone, inside the package where it is installed."""

from pathlib import Path

PACKAGE = Path(__file__).resolve().parent
CLONE = PACKAGE.parents[1]
"""The clone this package runs from, where it runs from one."""
CONF = next(path for path in (PACKAGE / "conf", CLONE / "conf") if path.is_dir())
"""The configuration tree."""
