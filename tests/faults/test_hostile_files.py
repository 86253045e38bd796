"""Feature files made to run code, to crash, to hang or to fill memory: each is refused in one line, within bounds.

The files are made here, never kept. A child process reads them (limited_reader.py).
"""

import os
import pickle
import struct

import numpy as np
import pytest
from feature_files import content
from limited_reader import FEATURES, RESIDENT, read_in_child

# --- pickles, opcode by opcode ------------------------------------------------------------------------------------


def text(value):
    data = value.encode("utf-8", "surrogatepass")
    return b"X" + struct.pack("<I", len(data)) + data


def raw(value):
    return b"B" + struct.pack("<I", len(value)) + value


def shared_tuples(levels=40):
    """2^levels items, each tuple twice the one before."""
    return b"N\x85" + b"".join(b"\x94h" + bytes([level]) + b"\x86" for level in range(levels))


def named(module, name):
    return b"c" + module.encode() + b"\n" + name.encode() + b"\n"


def called(module, name, *arguments):
    return named(module, name) + b"(" + b"".join(arguments) + b"tR"


DTYPE = called("numpy", "dtype", text("f4"))
EMPTY = called("numpy.core.multiarray", "_reconstruct", named("numpy", "ndarray"), b"K\x00\x85", raw(b"b"))


def array(shape=b"K\x01\x85", dtype=DTYPE, data=None, fortran=b"\x89"):
    return EMPTY + b"(K\x01" + shape + dtype + fortran + (raw(bytes(4)) if data is None else data) + b"tb"


def whole(value):
    """A pickle that ends with one value on the stack."""
    return b"\x80\x04" + value + b"."


def in_file(value, key="audio", split="train"):
    """A feature file's pickle with `value`, opcodes, under a key: the rest is as it should be."""
    made = content()
    made[split][key] = "__here__"
    data = pickle.dumps(made, protocol=2)
    place = text("__here__")
    assert data.count(place) == 1
    return data.replace(place, value)


def unfolding(width, depth):
    """A list of lists of one number; every level is one list, `width` times."""
    value = 0.5
    for _ in range(depth):
        value = [value] * width
    return value


def changed(key, value, split="train"):
    made = content()
    made[split][key] = value(made[split][key]) if callable(value) else value
    return made


def tokens(row, value, dtype=np.float64):
    def change(old):
        new = old.astype(dtype)
        new[0, row, 1] = value
        return new

    return changed("text_bert", change)


def colliding(size=60_000):
    """The pickle of a dict of numbers of one hash; to make the dict itself would take minutes."""

    def number(value):
        data = pickle.encode_long(value)
        return b"\x8a" + bytes([len(data)]) + data

    return whole(b"}(" + b"".join(number(n * (2**61 - 1)) + b"K\x00" for n in range(size)) + b"u")


def bombs():
    """Small files that once hung, filled memory or crashed."""
    yield "shared tuples as a dtype", whole(called("numpy", "dtype", shared_tuples()))
    yield "shared tuples as a shape", whole(array(shape=shared_tuples()))
    yield "shared tuples as an array's data", whole(array(data=shared_tuples()))
    yield "shared tuples as an encoding", whole(called("_codecs", "encode", text("x"), shared_tuples()))
    yield "shared tuples as a persistent id", whole(shared_tuples() + b"Q")
    yield "shared tuples as a key", whole(b"}" + shared_tuples() + b"Ns")
    yield "shared tuples in a set", whole(b"\x8f(" + shared_tuples() + b"\x90")
    yield "shared tuples in a frozenset", whole(b"(" + shared_tuples() + b"\x91")
    yield "shared tuples as audio", in_file(shared_tuples())
    yield "a list that unfolds to 300^5", changed("regression_labels", unfolding(300, 5))
    yield "a list that unfolds to 1000^3", changed("audio", unfolding(1000, 3))
    yield "a list of one array, a million times", changed("audio", [np.zeros(1000)] * 1_000_000)
    yield "a memo index of 2^28", b"Nr" + struct.pack("<I", 2**28) + b"N."
    yield "a memo index of 2^31", b"Nr" + struct.pack("<I", 2**31 + 1) + b"N."
    yield "a memo index of twenty digits", b"Np99999999999999999999\nN."
    yield "a tuple nested a million deep as a key", whole(b"}N" + b"\x85" * 1_000_000 + b"Ns")
    yield "a tuple nested a million deep", whole(b"N" + b"\x85" * 1_000_000)
    yield "ten million marks", whole(b"(" * 10_000_000)
    yield "ten million lists", whole(b"]" * 10_000_000)
    yield "ten million memos", whole(b"N" + b"\x94" * 10_000_000)
    yield "numbers of one hash as keys", colliding()
    yield "a million bytes encoded again and again", whole(
        named("_codecs", "encode") + b"\x94" + text("x" * 1_000_000) + text("latin1") + b"\x86\x94"
        + b"h\x00h\x01R" * 100_000 + b"t"
    )  # fmt: skip
    yield "a million strings made an array again and again", whole(
        text("s") + b"\x94](" + b"h\x00" * 200_000 + b"e\x94"
        + (EMPTY + b"(K\x01J\x40\x0d\x03\x00\x85" + called("numpy", "dtype", text("O")) + b"\x89h\x01tb") * 50
    )  # fmt: skip
    yield "one long string among the labels", changed("regression_labels", ["x" * 1_000_000] + ["y"] * 20_000)
    yield (
        "a shape of a hundred thousand huge sizes",
        whole(array(shape=b"(" + (b"\x8a\x40" + b"\xff" * 63 + b"\x0f") * 100_000 + b"t")),
    )
    yield (
        "a function given a million arguments",
        whole(named("numpy", "dtype") + b"\x94(" + b"N" * 1_000_000 + b"t\x94" + b"h\x00h\x01R0" * 10_000),
    )
    for name, opcode in (("bytes", b"\x8e"), ("text", b"\x8d"), ("byte array", b"\x96"), ("frame", b"\x95")):
        yield f"a {name} of 2^62 announced", whole(opcode + struct.pack("<Q", 2**62))
    yield "a number of 2^31 bytes announced", whole(b"\x8b" + struct.pack("<i", 2**31 - 1))
    yield "a number of a million digits", b"L" + b"9" * 1_000_000 + b"L\n."


def intruders():
    """Files that try to run code, to make objects or to trick numpy."""
    ran = "open('ran', 'w')"
    yield "REDUCE", whole(called("builtins", "eval", text(ran)))
    yield "REDUCE in a file", in_file(called("os", "system", text("touch ran")))
    yield "INST", b"(S'touch ran'\nios\nsystem\n."
    yield "OBJ", whole(b"(" + named("os", "system") + text("touch ran") + b"o")
    yield "NEWOBJ", whole(named("subprocess", "Popen") + b"(" + text("touch ran") + b"t\x81")
    yield "NEWOBJ of a known name", whole(named("numpy", "dtype") + text("O") + b"\x85\x81")
    yield "NEWOBJ_EX", whole(named("numpy", "dtype") + b")}\x92")
    yield "BUILD of a function", whole(named("numpy", "dtype") + b"}" + text("make") + b"Nsb")
    yield "BUILD of a dict", whole(b"}}" + text("x") + b"Nsb")
    yield "a call of a string", whole(text("f") + b")R")
    yield "a call of an array", whole(array() + b")R")
    yield "EXT1", whole(b"\x82\x01")
    yield "EXT2", whole(b"\x83\x01\x00")
    yield "EXT4", whole(b"\x84\x01\x00\x00\x00")
    yield "PERSID", b"Pname\n."
    yield "BINPERSID", whole(text("name") + b"Q")
    yield "NEXT_BUFFER", whole(b"\x97")
    yield "READONLY_BUFFER", whole(raw(b"x") + b"\x98")
    yield "a dotted name", whole(text("numpy") + text("dtype.__class__") + b"\x93")
    yield (
        "a name made of memos",
        whole(text("system") + b"\x94" + text("os") + b"h\x00\x93" + text("ls") + b"\x85R"),
    )
    yield "a name that is a number", whole(b"K\x01K\x02\x93")
    yield "getattr", whole(called("builtins", "getattr", named("numpy", "dtype"), text("make")))
    yield "numpy.load", whole(called("numpy", "load", text("x")))
    yield "numpy.memmap", whole(called("numpy", "memmap", text("ran"), text("u1"), text("w+")))
    yield "a call of numpy.ndarray", whole(called("numpy", "ndarray", b"K\x02\x85"))
    yield "an array of another class", whole(EMPTY.replace(b"cnumpy\nndarray\n", text("x")))
    yield "an array without data", whole(EMPTY)
    yield "an object array of numbers", whole(array(dtype=called("numpy", "dtype", text("O")), data=b"(K\x01l"))
    yield "an object array of addresses", whole(array(dtype=called("numpy", "dtype", text("O8")), data=raw(bytes(8))))
    yield "records", whole(called("numpy", "dtype", text("f4,O")))
    yield "dates", whole(array(dtype=called("numpy", "dtype", text("M8[s]")), data=raw(bytes(8))))
    yield "a dtype of width 0", whole(array(dtype=called("numpy", "dtype", text("U0"))))
    yield "a dtype of width ten million", whole(array(dtype=called("numpy", "dtype", text("U9999999"))))
    yield "a negative size", whole(array(shape=b"J\xff\xff\xff\xff\x85"))
    yield "more values than bytes", whole(array(shape=b"J\xff\xff\xff\x7f\x85"))
    yield (
        "code points that do not exist",
        in_file(array(shape=b"K\x0c\x85", dtype=called("numpy", "dtype", text("U1")), data=raw(b"\xff" * 48)), "id"),
    )
    yield "a list in itself", whole(b"]\x94h\x00a")
    yield "a dict in itself", whole(b"}\x94" + text("k") + b"h\x00s")
    yield "lists nested five thousand deep", whole(b"]" * 5000 + b"a" * 4999)
    yield "a name that moves the cursor", whole(named("os\x1b[2J", "sys\rtem"))
    yield "a key of a million letters and line breaks", {"\n" * 1_000_000: 1}
    yield "a hundred thousand keys", {f"key{number}": 0 for number in range(100_000)}
    yield "an empty file", b""
    yield "no pickle", b"\x1f\x8b not a pickle"
    yield "nothing on the stack", b"\x80\x04."
    yield "a value from below the mark", whole(b"K\x01(\x85")
    yield "an append to nothing", whole(b"Na")


def wrong():
    """Files whose numbers or strings no model can take."""
    yield "token ids of 10^7", tokens(0, 10_000_000)
    yield "token ids of 10^12", tokens(0, 10**12)
    yield "token ids of 1e30", tokens(0, 1e30)
    yield "token ids that wrap to -7", tokens(0, 2**64 - 7, np.uint64)
    yield "token types of 5", tokens(2, 5)
    yield "token types of 1e30", tokens(2, 1e30)
    yield "a mask of 2", tokens(1, 2)
    yield "no audio in any split", {split: {**parts, "audio": None} for split, parts in content().items()}
    yield "half a character in an id", changed("id", lambda ids: ["a\ud800", *ids[1:]])
    yield "ids of train in test", changed("id", content()["train"]["id"][:6], "test")
    yield "ids of train in valid", changed("id", content()["train"]["id"][:5], "valid")
    yield "one id for all", changed("id", ["x"] * 12)
    yield "labels beyond float64", changed("regression_labels", [10**400] * 12)
    yield "labels that are words", changed("regression_labels", ["good"] * 12)
    yield "a string for audio", changed("audio", "x" * 1_000_000)


BOMBS, INTRUDERS, WRONG = (dict(cases()) for cases in (bombs, intruders, wrong))
LARGE = {"a list of one array, a million times", "ten million marks", "ten million lists", "ten million memos",
         "a function given a million arguments", "a tuple nested a million deep",
         "a shape of a hundred thousand huge sizes"}  # fmt: skip
QUICK = {name: case for name, case in {**BOMBS, **INTRUDERS, **WRONG}.items() if name not in LARGE}


def written(folder, name, case):
    path = folder / f"{name.replace(' ', '_').replace('^', '')}.pkl"
    path.write_bytes(case if isinstance(case, bytes) else pickle.dumps(case, protocol=4))
    return path


def assert_refused(path, kind, message, resident):
    assert kind == "FeatureFileError" and message.startswith(f"{path}: ")
    reason = message.removeprefix(f"{path}: ")
    assert reason.isprintable() and 20 < len(reason) < 400
    assert resident < RESIDENT and "MemoryError" not in reason


@pytest.fixture(scope="module")
def answers(tmp_path_factory):
    """All quick files read by one process, which must survive them all; and what lies in its folder afterwards."""
    folder, here = (tmp_path_factory.mktemp(name) for name in ("files", "here"))
    paths = {name: written(folder, name, case) for name, case in QUICK.items()}
    found = read_in_child(FEATURES, here, paths.values())
    assert len(found) == len(paths)
    return {name: (path, *answer) for (name, path), answer in zip(paths.items(), found)}, os.listdir(here)


@pytest.mark.parametrize("name", QUICK)
def test_a_hostile_file_is_refused_in_one_line(answers, name):
    assert_refused(*answers[0][name])


def test_no_hostile_file_ran_anything(answers):
    assert answers[1] == []


@pytest.mark.slow
@pytest.mark.parametrize("name", sorted(LARGE))
def test_a_large_hostile_file_is_refused_in_one_line(tmp_path, name):
    path = written(tmp_path, name, BOMBS[name])
    assert_refused(path, *read_in_child(FEATURES, tmp_path, [path])[0])


@pytest.mark.parametrize(
    "name, key, reason",
    [
        ("shared tuples as audio", "train/audio", "nesting"),
        ("a list that unfolds to 1000^3", "train/audio", "unfolds to more"),
        ("REDUCE in a file", "train/audio", "os.system; nothing was executed"),
        ("token ids of 10^7", "train/text_bert", "token ids of 0 to 1000000 in row 0"),
        ("token ids that wrap to -7", "train/text_bert", "token ids of 0 to 1000000 in row 0"),
        ("token types of 5", "train/text_bert", "token types of 0 to 1 in row 2, got 5"),
        ("no audio in any split", "train/audio", "expected this key"),
        ("half a character in an id", "train/id", r"a\ud800"),
        ("ids of train in test", "test/id", "got 6 that train has too"),
        ("one id for all", "train/id", "got 11 repeated"),
    ],
)
def test_the_refusal_names_split_key_and_reason(answers, name, key, reason):
    path, _, message, _ = answers[0][name]
    assert message.startswith(f"{path}: {key}: ") and reason in message


def test_an_honest_file_is_read_under_the_same_limits(tmp_path):
    path = written(tmp_path, "honest", content())
    assert read_in_child(FEATURES, tmp_path, [path])[0][0] is None
