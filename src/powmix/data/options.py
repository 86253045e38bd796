"""How a user's mistake in the dataset section is told: the name, what was got, what is allowed, the nearest match."""

from __future__ import annotations

from collections.abc import Iterable
from difflib import get_close_matches


def nearest(got: str, allowed: Iterable[str]) -> str:
    """`; did you mean ...?` or nothing."""
    match = get_close_matches(str(got), list(allowed), n=1, cutoff=0.6)
    return f"; did you mean {match[0]!r}?" if match else ""


def unknown_keys(section: str, got: Iterable[str], allowed: Iterable[str]) -> None:
    """Raises ValueError that names every key of `got` which `section` does not have."""
    allowed = list(allowed)
    wrong = [f"{section}.{key}: unknown key{nearest(key, allowed)}" for key in got if key not in allowed]
    if wrong:
        raise ValueError(f"{'; '.join(wrong)} (allowed: {', '.join(allowed)})")


def one_of(name: str, got: object, allowed: Iterable[str]) -> None:
    """Raises ValueError unless `got` is among `allowed`."""
    allowed = list(allowed)
    if got not in allowed:
        raise ValueError(f"{name} must be one of {', '.join(allowed)}, got {got!r}{nearest(str(got), allowed)}")
