"""How a user's mistake is told, everywhere: the name, what was got, what is allowed, the nearest match. No torch.

A Rule says what a value may be. Each room keeps the rules of its own options beside the options; the command line and
Python check them with the same functions, and all mistakes are told in one message.
"""

from __future__ import annotations

import argparse
import difflib
import io
import math
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from numbers import Integral, Real
from typing import Any, NamedTuple, NoReturn


class Rule(NamedTuple):
    """What a value may be. allows: whether it is fine. words: what is allowed. among: the words to choose from."""

    allows: Callable[[Any], bool]
    words: str
    among: tuple[str, ...] = ()


def is_number(value: Any) -> bool:
    """A finite number; true and false are none."""
    if not isinstance(value, Real) or isinstance(value, bool):
        return False
    return isinstance(value, Integral) or math.isfinite(value)


def is_count(value: Any, least: int = 0) -> bool:
    """A whole number of at least `least`; true and false are none."""
    return isinstance(value, Integral) and not isinstance(value, bool) and int(value) >= least


def is_pair(value: Any) -> bool:
    """Two positive numbers in ascending order."""
    if not isinstance(value, Sequence) or isinstance(value, str) or len(value) != 2:
        return False
    return all(map(is_number, value)) and 0 < value[0] <= value[1]


def count(least: int) -> Rule:
    """A whole number of at least `least`."""
    return Rule(lambda value: is_count(value, least), f"a whole number >= {least}")


def choice(*allowed: str) -> Rule:
    """One of some words."""
    return Rule(lambda value: isinstance(value, str) and value in allowed, f"one of {', '.join(allowed)}", allowed)


def optional(rule: Rule) -> Rule:
    """null, or what `rule` allows."""
    return Rule(lambda value: value is None or rule.allows(value), f"null or {rule.words}", rule.among)


PROBABILITY = Rule(lambda value: is_number(value) and 0 <= value <= 1, "a number within [0, 1]")
RATE = Rule(lambda value: is_number(value) and 0 <= value < 1, "a number within [0, 1)")
POSITIVE = Rule(lambda value: is_number(value) and value > 0, "a number > 0")
NOT_NEGATIVE = Rule(lambda value: is_number(value) and value >= 0, "a number >= 0")
SWITCH = Rule(lambda value: isinstance(value, bool), "true or false")


def nearest(word: Any, allowed: Iterable[Any]) -> str:
    """` (did you mean X?)`, or nothing where no allowed word is near."""
    close = difflib.get_close_matches(str(word), [str(one) for one in allowed], n=1, cutoff=0.5)
    return f" (did you mean {close[0]}?)" if close else ""


def broken(rules: Mapping[str, Rule], values: Mapping[str, Any], prefix: str = "") -> list[str]:
    """A sentence for each value that its rule does not allow; values without a rule pass."""
    return [
        f"{prefix}{name} must be {rules[name].words}, got {value!r}{nearest(value, rules[name].among)}"
        for name, value in values.items()
        if name in rules and not rules[name].allows(value)
    ]


def unknown(names: Iterable[str], allowed: Iterable[str], kind: str) -> list[str]:
    """A sentence for each name that is not allowed: `unknown KIND NAME (did you mean X?); allowed: ...`."""
    allowed = list(allowed)
    return [
        f"unknown {kind} {name!r}{nearest(name, allowed)}; allowed: {', '.join(allowed)}"
        for name in names
        if name not in allowed
    ]


def check_one_of(name: str, got: Any, allowed: Iterable[str]) -> None:
    """ValueError unless `got` is one of `allowed`."""
    refuse(broken({name: choice(*allowed)}, {name: got}))


def refuse(found: Sequence[str], owner: str = "") -> None:
    """ValueError with every mistake found, if any; `owner` says whose they are."""
    if found:
        raise ValueError((f"{owner}: " if owner else "") + "; ".join(found))


class Parser(argparse.ArgumentParser):
    """argparse whose errors are one line, with the nearest option; what is printed suits every terminal."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        print_on_any_terminal()

    def error(self, message: str) -> NoReturn:
        unrecognized = message.partition("unrecognized arguments: ")[2].split()
        options = [option for action in self._actions for option in action.option_strings]
        hint = nearest(unrecognized[0].partition("=")[0], options) if unrecognized else ""
        self.exit(2, f"{self.prog}: {message}{hint}\n")


def print_on_any_terminal() -> None:
    """A character that the terminal's encoding lacks is printed as `?`: it must not end a command."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="replace")
