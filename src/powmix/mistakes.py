"""How a user's mistake is told, everywhere: the name, what was got, what is allowed, the nearest match. No torch.

A Rule says what a value may be. Each room keeps the rules of its own options beside the options; the command line and
Python check them with the same functions, and all mistakes are told in one message.
"""

from __future__ import annotations

import argparse
import difflib
import inspect
import io
import math
import os
import re
import sys
import types
import typing
import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from numbers import Integral, Real
from typing import Any, Literal, NamedTuple, NoReturn, Union


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


def is_list(value: Any) -> bool:
    """Several values; a text is none."""
    return isinstance(value, Sequence) and not isinstance(value, str)


def is_pair(value: Any) -> bool:
    """Two positive numbers in ascending order."""
    if not is_list(value) or len(value) != 2:
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


NAME = re.compile(r"[A-Za-z][A-Za-z0-9_]*")
TEXT = Rule(lambda value: isinstance(value, str) and bool(value), "text")

OF_TYPE: dict[Any, Rule] = {
    bool: SWITCH,
    int: Rule(lambda value: isinstance(value, Integral) and not isinstance(value, bool), "a whole number"),
    float: Rule(is_number, "a number"),
    str: TEXT,
    list: Rule(is_list, "a list"),
    tuple: Rule(is_list, "a list"),
    dict: Rule(lambda value: isinstance(value, Mapping), "a section"),
}
"""What a value may be that a function's signature says to be of a type."""


class Options(NamedTuple):
    """What a function can be told. defaults: None where it has to be told. rules: of those with a type."""

    defaults: dict[str, Any]
    rules: dict[str, Rule]


def options_of(function: Callable[..., Any], *besides: str) -> Options:
    """The options that a function or a class takes by keyword, from its signature; `besides` are none of them.

    The rule of an option follows from its annotation (bool, int, float, str, list, tuple, dict, Literal, and any of
    them or None), else from its default. ValueError for an option that can only be given by position, and for
    `*args` and `**kwargs`, whose names a configuration could not show.
    """
    made = Options({}, {})
    hints = _hints(function)
    for parameter in inspect.signature(function).parameters.values():
        if parameter.name in besides:
            continue
        if parameter.kind not in (parameter.POSITIONAL_OR_KEYWORD, parameter.KEYWORD_ONLY):
            raise ValueError(f"{function.__qualname__}: {parameter} has no name that a configuration could show")
        needed = parameter.default is parameter.empty
        made.defaults[parameter.name] = None if needed else parameter.default
        kind = hints.get(parameter.name, type(made.defaults[parameter.name]))
        if rule := _rule(kind) or _rule(typing.get_origin(kind)):
            made.rules[parameter.name] = rule
        elif needed:
            made.rules[parameter.name] = Rule(lambda value: value is not None, "given")
    return made


def taken(kind: str, name: str, new: Any, known: Any) -> list[str]:
    """What is wrong with registering `new` under a name, as sentences: it is no name, or it is known from elsewhere.

    known: the row that has the name, None where nobody does; of a registered one the attribute `kind` is what was
    registered. The same definition, imported once more, may take its own place.
    """
    if not isinstance(name, str) or not NAME.fullmatch(name):
        return [f"{kind} {name!r}: a name is letters, digits and _, and begins with a letter"]
    if known is None:
        return []
    old = getattr(known, "kind", None)
    if callable(old) and old.__qualname__ == new.__qualname__ and _file(old) == _file(new):
        return []
    return [f"{kind} {name!r} is registered already: choose another name"]


def _file(function: Callable[..., Any]) -> str | None:
    """Where a function or a class was written: also the same one of a script that is loaded as a module, too."""
    try:
        return os.path.realpath(inspect.getsourcefile(function) or "")
    except (OSError, TypeError):
        return function.__module__


def _hints(function: Callable[..., Any]) -> dict[str, Any]:
    try:
        return typing.get_type_hints(function.__init__ if isinstance(function, type) else function)  # type: ignore[misc]
    except (NameError, TypeError):  # a name that is imported for type checkers alone
        return {}


def _rule(kind: Any) -> Rule | None:
    """What a value of a type may be; None where anything may be."""
    arguments = typing.get_args(kind)
    if typing.get_origin(kind) is Literal and all(isinstance(word, str) for word in arguments):
        return choice(*arguments)
    if typing.get_origin(kind) in (Union, types.UnionType):
        rules = [_rule(one) for one in arguments if one is not type(None)]
        if len(rules) != 1 or rules[0] is None:
            return None
        return optional(rules[0]) if type(None) in arguments else rules[0]
    return OF_TYPE.get(kind) if isinstance(kind, type) else None


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

    def add_plugins(self) -> None:
        """The argument `--plugins FILE`: code of the user's that a run was trained with, where it is now."""
        told = "the run's own code, where it has moved; may be repeated"
        self.add_argument("--plugins", action="append", default=[], metavar="FILE", help=told)

    @contextmanager
    def saying_warnings(self) -> Iterator[None]:
        """Within it a warning is one line on stderr that begins with the command's name."""

        def say(message: Warning | str, *_: Any, **__: Any) -> None:
            print(f"{self.prog}: {message}", file=sys.stderr)

        with warnings.catch_warnings():
            warnings.showwarning = say
            yield


def print_on_any_terminal() -> None:
    """A character that the terminal's encoding lacks is printed as `?`: it must not end a command."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="replace")
