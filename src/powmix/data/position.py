"""Where in a feature pickle reading failed: the split and key whose value was being read, for the error message."""

from __future__ import annotations

import pickletools
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import BinaryIO

from powmix.data.schema import KEYS, SPLITS

MEMOIZE = {"MEMOIZE", "PUT", "BINPUT", "LONG_BINPUT"}
GET = {"GET", "BINGET", "LONG_BINGET"}


def position_in(path: Path, admitted: Callable[[str, str], bool]) -> str:
    """`train/audio: `, the last split and key before the first name not admitted or the premature end; or nothing.

    The opcodes are listed, not executed; only used once reading has failed.
    """
    split, key = "", ""
    try:
        with path.open("rb") as stream:
            for text in _strings(stream, admitted):
                if text in SPLITS:
                    split, key = text, ""
                elif text in KEYS:
                    key = text
        return ""
    except (ValueError, EOFError, OSError, MemoryError, UnicodeError):
        where = "/".join(part for part in (split, key) if part)
        return f"{where}: " if where else ""


def _strings(stream: BinaryIO, admitted: Callable[[str, str], bool]) -> Iterator[str]:
    """The strings a pickle pushes, memoized ones too. Raises EOFError at a name that is not admitted."""
    memo: dict[int, str | None] = {}
    before: str | None = None
    last: str | None = None
    for opcode, argument, _ in pickletools.genops(stream):
        if opcode.name == "FRAME":
            continue
        if opcode.name in MEMOIZE:
            memo[len(memo) if argument is None else int(argument)] = last
            continue
        module, _, name = argument.partition(" ") if opcode.name in ("GLOBAL", "INST") else (before, "", last)
        if opcode.name in ("GLOBAL", "INST", "STACK_GLOBAL") and not admitted(str(module), str(name)):
            raise EOFError
        pushed = memo.get(int(argument)) if opcode.name in GET else argument if "UNICODE" in opcode.name else None
        before, last = last, pushed
        if pushed is not None:
            yield pushed
