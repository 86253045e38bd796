"""Reads a feature pickle from strangers: arrays and plain values only, nothing of the file is ever executed.

A stack machine of our own obeys those of the opcodes in `pickletools` that plain values and numpy's arrays are made of.
It has none that makes an object of a class, and a name in the file is a key of the table NUMPY, never an import: shape,
dtype and bytes of an array are checked, then `numpy.frombuffer` builds it. (Python's own unpickler can be made to
crash, hang or fill memory by a hundred bytes: a hash of shared tuples, a memo index of 2^31.)

The cost is a microsecond an opcode. MOSI's files have 5,000 opcodes, one of MOSEI's size with its strings in lists has
170,000. Arrays of numbers of UNREAD bytes and more are left in the file until rows of them are asked for; but those of
protocols 0 to 2, which write arrays as text, and those in Fortran order are read in one piece.
"""

from __future__ import annotations

import pickletools
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, BinaryIO, cast

from powmix.data.pickled_arrays import (
    DEPTH,
    Array,
    Dtype,
    FeatureFileError,
    Function,
    Located,
    Plain,
    UnreadBytes,
    brief,
    foreign,
    function_of,
)
from powmix.data.sources import KEYS, SPLITS

__all__ = ["FeatureFileError", "read"]

MOST_OPCODES = 500_000
"""Three times as many as MOSEI's file has: under two seconds of one core and some 200 MB at worst."""
UNREAD = 2**20
"""From so many bytes on, those of an array are not read with the opcodes around them."""
OPCODES = {opcode.code: opcode for opcode in pickletools.opcodes}
BYTES = {"BINBYTES": 4, "BINBYTES8": 8, "BYTEARRAY8": 8}
"""The opcodes of bytes, and of how many bytes their number is. (SHORT_BINBYTES are at most 255.)"""


def read(path: Path) -> Any:
    """The plain value in the pickle at `path`: dict, list, tuple, str, bytes, numbers, None and numpy arrays.

    An array of numbers that is large (UNREAD) is an UnreadArray, of use while the file stays as it is. A list never
    unfolds to more values than the file has bytes. Raises FeatureFileError, in one line, for anything else (code,
    classes, truncation, bombs), before any of it has an effect.
    """
    size = path.stat().st_size
    machine = _Machine(2 * size + 2**20)
    try:
        with path.open("rb") as stream:
            value = machine.run(_Bounded(path, stream, size))
        return Plain(size).of(value, "")
    except Located as error:
        raise FeatureFileError(f"{path}: {error}") from None
    except FeatureFileError as error:
        reason = str(error)
    except (EOFError, ValueError) as error:
        reason = f"expected a complete pickle, got one that is truncated or damaged ({brief(str(error))})"
    except (TypeError, AttributeError, KeyError, IndexError) as error:
        reason = f"expected a pickle of arrays and plain values, got a damaged or hostile one ({type(error).__name__})"
    except (MemoryError, OverflowError, RecursionError) as error:
        reason = f"expected a pickle that fits in memory, got {type(error).__name__}"
    raise FeatureFileError(f"{path}: {machine.place()}{reason}")


class _Bounded:
    """A stream that does not set memory aside for more bytes than the file has left."""

    def __init__(self, path: Path, stream: BinaryIO, size: int):
        self._path, self._stream, self._left = path, stream, size

    def read(self, size: int) -> bytes:
        """The next `size` bytes, or EOFError."""
        self._take(size)
        return self._stream.read(size)

    def leave(self, size: int) -> bytes | UnreadBytes:
        """As `read`, but from UNREAD bytes on it says only where they are."""
        if size < UNREAD:
            return self.read(size)
        self._take(size)
        start = self._stream.tell()
        self._stream.seek(start + size)
        return UnreadBytes(self._path, start, size)

    def _take(self, size: int) -> None:
        if size > self._left:
            raise EOFError(f"{size} bytes announced, {self._left} left")
        self._left -= size

    def readline(self) -> bytes:
        """The next line, as pickles of protocol 0 have them."""
        line = self._stream.readline()
        self._left -= len(line)
        return line


def _opcodes(stream: _Bounded) -> Iterator[tuple[str, Any]]:
    """Each opcode's name and argument up to STOP, as `pickletools.genops` has them; long bytes stay in the file."""
    name = ""
    while name != "STOP":
        code = stream.read(1)
        opcode = OPCODES.get(code.decode("latin-1"))
        if opcode is None:
            raise ValueError(f"opcode {code!r} unknown")
        name = opcode.name
        if name in BYTES:
            yield name, stream.leave(int.from_bytes(stream.read(BYTES[name]), "little"))
        else:
            yield name, opcode.arg.reader(cast(BinaryIO, stream)) if opcode.arg else None


class _Machine:
    """The pickle machine for arrays and plain values: a stack, the positions of marks on it, a memo.

    room: how many bytes and items functions may be given in all, so that none copies the same million again and again.
    """

    def __init__(self, room: int) -> None:
        self.room = room
        self.stack: list[Any] = []
        self.marks: list[int] = []
        self.memo: dict[int, Any] = {}

    def run(self, stream: _Bounded) -> Any:
        """The value that the opcodes leave. Raises FeatureFileError for an opcode that plain values do not need."""
        for number, (name, argument) in enumerate(_opcodes(stream)):
            if number == MOST_OPCODES:
                raise FeatureFileError(
                    f"expected strings and numbers in arrays, got {MOST_OPCODES} single ones and more"
                )
            if name in PUSHED:
                self.stack.append(argument)
            elif name in MADE:
                self.stack.append(MADE[name]())
            elif name in TUPLES:
                self.stack.append(tuple(self.pop(TUPLES[name])))
            elif name not in IGNORED:
                obey = getattr(self, f"do_{name.lower()}", None)
                if obey is None:
                    raise foreign(REFUSED.get(name, f"the opcode {name}"))
                obey(argument)
        return self.pop(1)[0]

    def pop(self, count: int) -> list[Any]:
        """The last `count` values, none of them below the last mark."""
        if len(self.stack) - count < (self.marks[-1] if self.marks else 0):
            raise EOFError("the stack is empty")
        values = self.stack[len(self.stack) - count :]
        del self.stack[len(self.stack) - count :]
        return values

    def pop_mark(self) -> list[Any]:
        """The values above the last mark."""
        if not self.marks:
            raise EOFError("no mark")
        values = self.pop(len(self.stack) - self.marks[-1])
        self.marks.pop()
        return values

    def top(self, kind: type | tuple[type, ...]) -> Any:
        """The last value, which must be of `kind`."""
        if not self.stack or not isinstance(self.stack[-1], kind):
            raise TypeError
        return self.stack[-1]

    def place(self) -> str:
        """`train/audio: `, the last split and key on the stack, whose value was being read; or nothing."""
        split = key = ""
        for value in self.stack:
            if isinstance(value, str) and value in SPLITS:
                split, key = value, ""
            elif isinstance(value, str) and value in KEYS:
                key = value
        return "/".join(filter(None, (split, key))) + ": " if split or key else ""

    def charge(self, parts: tuple[Any, ...]) -> None:
        """Takes what a function is given from the room left."""
        if len(parts) > 2 * DEPTH:
            raise TypeError
        self.room -= sum(len(part) for part in parts if isinstance(part, str | bytes | UnreadBytes | list))
        if self.room < 0:
            raise FeatureFileError("expected every array to have bytes of its own, got the same ones many times")

    def do_mark(self, _: None) -> None:
        if len(self.marks) == 8 * DEPTH:
            raise FeatureFileError(f"expected at most {DEPTH} levels of nesting")
        self.marks.append(len(self.stack))

    def do_put(self, index: int) -> None:
        self.memo[index] = self.top(object)

    do_binput = do_long_binput = do_put

    def do_memoize(self, _: None) -> None:
        self.do_put(len(self.memo))

    def do_get(self, index: int) -> None:
        self.stack.append(self.memo[index])

    do_binget = do_long_binget = do_get

    def do_tuple(self, _: None) -> None:
        self.stack.append(tuple(self.pop_mark()))

    def do_list(self, _: None) -> None:
        self.stack.append(self.pop_mark())

    def do_append(self, _: None) -> None:
        items = self.pop(1)
        self.top(list).extend(items)

    def do_appends(self, _: None) -> None:
        items = self.pop_mark()
        self.top(list).extend(items)

    def do_dict(self, _: None) -> None:
        items = self.pop_mark()
        self.stack.append({})
        self.set_items(items)

    def do_setitem(self, _: None) -> None:
        self.set_items(self.pop(2))

    def do_setitems(self, _: None) -> None:
        self.set_items(self.pop_mark())

    def set_items(self, items: list[Any]) -> None:
        """Only strings are keys: the hash of a tuple may take for ever, and that of numbers can be made to collide."""
        for key, value in zip(items[::2], items[1::2], strict=True):
            if not isinstance(key, str):
                raise FeatureFileError(f"expected strings as the keys of a dict, got {brief(key)}")
            self.top(dict)[key] = value

    def do_global(self, name: str) -> None:
        self.stack.append(function_of(*name.split(" ", 1)))

    def do_stack_global(self, _: None) -> None:
        self.stack.append(function_of(*self.pop(2)))

    def do_inst(self, name: str) -> None:
        raise foreign(name.replace(" ", "."))

    def do_reduce(self, _: None) -> None:
        function, arguments = self.pop(2)
        if not isinstance(function, Function) or not isinstance(arguments, tuple):
            raise foreign(f"a call of {brief(function)}")
        self.charge(arguments)
        self.stack.append(function.make(*arguments))

    def do_build(self, _: None) -> None:
        state = self.pop(1)[0]
        if not self.stack or not isinstance(self.stack[-1], Dtype | Array):
            raise foreign("a new state for what is neither array nor dtype")
        self.charge(state if isinstance(state, tuple) else ())
        self.stack[-1].fill(state)


PUSHED = {
    *("BININT", "BININT1", "BININT2", "INT", "LONG", "LONG1", "LONG4", "BINFLOAT", "FLOAT"),
    *("BINUNICODE", "SHORT_BINUNICODE", "BINUNICODE8", "UNICODE", "STRING", "BINSTRING", "SHORT_BINSTRING"),
    *("BINBYTES", "SHORT_BINBYTES", "BINBYTES8", "BYTEARRAY8"),
}
MADE: dict[str, Callable[[], Any]] = {
    "NONE": lambda: None, "NEWTRUE": lambda: True, "NEWFALSE": lambda: False,
    "EMPTY_LIST": list, "EMPTY_DICT": dict, "EMPTY_TUPLE": tuple,
}  # fmt: skip
TUPLES = {"TUPLE1": 1, "TUPLE2": 2, "TUPLE3": 3}
IGNORED = {"PROTO", "FRAME", "STOP"}
REFUSED = {
    "EMPTY_SET": "a set", "ADDITEMS": "a set", "FROZENSET": "a frozenset", "NEWOBJ": "an object of a class",
    "NEWOBJ_EX": "an object of a class", "OBJ": "an object of a class", "PERSID": "a persistent id",
    "BINPERSID": "a persistent id", "EXT1": "an extension code", "EXT2": "an extension code",
    "EXT4": "an extension code", "NEXT_BUFFER": "a buffer of another file",
}  # fmt: skip
