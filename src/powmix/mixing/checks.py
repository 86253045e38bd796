"""What every mixer's options may be: one rule per option name, checked without torch, all mistakes in one message."""

from __future__ import annotations

import difflib
import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from numbers import Integral, Real
from typing import Any

Rule = tuple[Callable[[Any], bool], str]
"""Is the value allowed, and the words for what is."""


def is_number(value: Any) -> bool:
    return isinstance(value, Real) and not isinstance(value, bool) and math.isfinite(value)


def is_pair(value: Any) -> bool:
    """Two positive numbers in ascending order."""
    if not isinstance(value, Sequence) or isinstance(value, str) or len(value) != 2:
        return False
    return all(map(is_number, value)) and 0 < value[0] <= value[1]


def count(least: int) -> Rule:
    return (
        lambda value: isinstance(value, Integral) and not isinstance(value, bool) and int(value) >= least,
        f"a whole number of at least {least}",
    )


def choice(*allowed: str) -> Rule:
    return lambda value: value in allowed, "one of " + ", ".join(allowed)


PROBABILITY: Rule = (lambda value: is_number(value) and 0 <= value <= 1, "a number within [0, 1]")
POSITIVE: Rule = (lambda value: is_number(value) and value > 0, "a number above 0")
RANGE: Rule = (is_pair, "two numbers [a, b] with 0 < a <= b")
CONCENTRATION: Rule = (
    lambda value: is_pair(value) or (is_number(value) and value > 0),
    "a number above 0, or two numbers [a, b] with 0 < a <= b",
)
SWITCH: Rule = (lambda value: isinstance(value, bool), "true or false")

CHOICES = {
    "reweight": ("relu", "uniform", "eps"),
    "p_scope": ("element", "row"),
    "combine": ("replace", "add"),
    "sampler": ("auto", "dense", "sparse"),
}

RULES: dict[str, Rule] = {
    "p_mix": PROBABILITY,
    "p": PROBABILITY,
    "start_epoch": count(0),
    "n_out": count(1),
    "min_selected": count(1),
    "subset": RANGE,
    "alpha": CONCENTRATION,
    "eps": POSITIVE,
    "bandwidth": POSITIVE,
    "anisotropic": SWITCH,
    "mask_sharing": SWITCH,
    "dynamic": SWITCH,
    "detach": SWITCH,
    **{name: choice(*allowed) for name, allowed in CHOICES.items()},
}


def nearest(word: Any, allowed: Iterable[str]) -> str:
    """` (did you mean 'x'?)`, or nothing where no allowed word is near."""
    near = difflib.get_close_matches(str(word), list(allowed), n=1)
    return f" (did you mean '{near[0]}'?)" if near else ""


def mistakes(options: Mapping[str, Any]) -> list[str]:
    """A sentence per option whose value is not allowed; options without a rule pass."""
    return [
        f"{name} must be {RULES[name][1]}, got {value!r}{nearest(value, CHOICES.get(name, ()))}"
        for name, value in options.items()
        if name in RULES and not RULES[name][0](value)
    ]


def refuse(owner: str, found: list[str]) -> None:
    """ValueError with every mistake found, if any."""
    if found:
        raise ValueError(f"{owner}: " + "; ".join(found))
