"""Arrays, tables, weights and results made to run code, to crash, to hang or to fill memory (limited_reader.py).

Some are harmless once read with care, and are read; nothing else than a ValueError in one line may come of the others.
"""

import io
import json
import os
import pickle
import struct
import zipfile

import numpy as np
import pytest
from limited_reader import ARRAYS, RESIDENT, RUNS, SEEDS, WEIGHTS, read_in_child
from training_corpus import tiny_train

from powmix.runs.identity import SCHEMA


def header(shape, descr="'<f8'", data=b""):
    """A .npy file, its shape and dtype as they stand there."""
    return long_header(f"{{'descr': {descr}, 'fortran_order': False, 'shape': {shape}, }}", data)


def long_header(text, data=b""):
    return b"\x93NUMPY\x02\x00" + struct.pack("<I", len(text)) + text.encode() + data


TARGET = header("(20,)", data=bytes(160))
VALUES = header("(20, 3)", data=bytes(480))


def zipped(members, compression=zipfile.ZIP_STORED):
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w", compression) as archive:
        for name, data in members.items():
            archive.writestr(name, data)
    return stream.getvalue()


def npz(array=VALUES, **more):
    arrays = {"a": array, "target": TARGET, **more}
    return zipped({f"{name}.npy": data for name, data in arrays.items()}, zipfile.ZIP_DEFLATED)


def one_member_many_names(count=60_000):
    """One array to which a whole directory of names points."""
    whole = zipped({"a00000.npy": VALUES})
    start, end = whole.index(b"PK\x01\x02"), whole.index(b"PK\x05\x06")
    entries = b"".join(whole[start:end].replace(b"a00000", b"%06d" % number) for number in range(count))
    last = struct.pack("<HHHHIIH", 0, 0, count, count, len(entries), start, 0)
    return whole[:start] + entries + b"PK\x05\x06" + last


class Runs:
    def __reduce__(self):
        return os.system, ("touch ran",)


def objects():
    stream = io.BytesIO()
    np.save(stream, np.array([Runs()] * 20, object), allow_pickle=True)
    return stream.getvalue()


def archives():
    yield "objects that run", npz(objects())
    yield "a pickle in place of an array", npz(pickle.dumps(Runs()))
    yield "a header nested sixty thousand deep", npz(long_header("(" * 60_000))
    yield "a header of eight megabytes", npz(long_header("(" + "1," * 4_000_000 + ")"))
    yield "a shape that is to be computed", npz(header("(9**9**9,)"))
    yield "a shape of four thousand digits", npz(header("(" + "9" * 4000 + ",)"))
    yield "no values along an axis without end", npz(header("(0, 99999999999999999999)"))
    yield "2^63 strings of no length", npz(header("(9223372036854775807,)", "'<U0'"))
    yield "a negative axis", npz(header("(-1, 5)", data=bytes(80)))
    yield "seventy axes", npz(header("(20," + "1," * 70 + ")", data=bytes(160)))
    yield "records", npz(header("(20,)", "[('x', '<f8'), ('y', '|O')]", bytes(320)))
    yield "100 MB of zeros", npz(header("(20, 625000)", data=bytes(100_000_000)))
    yield "names of a million letters", npz(id=header("(20,)", "'<U1000000'", bytes(80_000_000)))
    yield "code points that do not exist", npz(id=header("(20,)", "'<U2'", b"\xff" * 160))
    yield (
        "one long sequence among ten thousand",
        npz(
            **{
                "b.rows": header("(1000000, 1)", data=bytes(8_000_000)),
                "b.lengths": header("(10000,)", "'<i8'", struct.pack("<10000q", 990_001, *[1] * 9999)),
                "target": header("(10000,)", data=bytes(80_000)),
            }
        ),
    )
    yield (
        "lengths that wrap",
        npz(
            **{
                "b.rows": VALUES,
                "b.lengths": header("(20,)", "'<u8'", struct.pack("<20Q", 2**63, 2**63, 2, *[1] * 17)),
            }
        ),
    )
    yield "token ids of 2^62", npz(text=header("(20, 3, 5)", "'<i8'", np.full(300, 2**62).tobytes()))
    yield "a class of 2^40", npz(target=header("(20,)", "'<i8'", struct.pack("<20q", *[0, 2**40] * 10)))
    yield "infinite values", npz(header("(20, 3)", data=np.full(60, np.inf).tobytes()))
    yield "sixty thousand arrays", zipped({f"a{number}.npy": header("(0,)") for number in range(60_000)})
    yield "one array by sixty thousand names", one_member_many_names()
    yield "no archive", b"PK\x03\x04" + bytes(1000)
    yield "nothing", b""


def folders():
    yield "brackets a million deep", {"text.json": b"[" * 1_000_000}
    yield "a million digits", {"text.json": b"[" + b"9" * 1_000_000 + b"]"}
    yield "objects in objects", {"text.json": b'{"a":' * 900 + b"1" + b"}" * 900}
    yield "two million strings", {"text.json": b"[" + b'"a",' * 2_000_000 + b'"b"]'}
    yield "half a character", {"text.json": json.dumps(["\ud800"] * 20).encode()}
    yield "bytes that are no text", {"text.json": b'["\xff"]'}
    yield "objects that run", {"a.npy": objects()}
    yield "an array with a hole of 160 GB", {"a.npy": header("(20, 1000000000)")}


def tables():
    yield "a cell of 130,000 letters", b"text,target\n" + b"x" * 130_000 + b",0\n" + b"a,1\n" * 20_000
    yield "a number of 130,000 digits", b"a,target\n" + b"9" * 130_000 + b",0\n" + b"1,1\n" * 20_000
    yield "a quote without end", b'a,target\n"' + b"x" * 10_000_000
    yield "300,000 columns", b",".join(b"a.%d" % n for n in range(300_000)) + b",target\n" + b"1," * 300_000 + b"0\n"
    yield "a row of two million cells", b"a,target\n1,0\n" + b"," * 2_000_000
    yield "a column of five thousand digits", b"a." + b"9" * 5000 + b",target\n" + b"1,0\n" * 10
    yield "dots and digits", b"a" + b".1" * 60_000 + b"x,target\n" + b"1,0\n" * 10
    yield "two million empty lines", b"\n" * 2_000_000
    yield "numbers beyond int64", b"a.0,a.1,target\n" + b"99999999999999999999,1,0\n" * 10
    yield "half a character", b"a,target\n\xed\xa0\x80,0\n"
    yield "a name with a zero", b"a\0,target\n" + b"1,0\n" * 10


def parquet_files():
    pa, parquet = pytest.importorskip("pyarrow"), pytest.importorskip("pyarrow.parquet")

    def made(columns, **options):
        stream = io.BytesIO()
        parquet.write_table(pa.table(columns), stream, compression="zstd", **options)
        return stream.getvalue()

    numbers = pa.array(np.zeros(10_000_000))
    yield "one number ten million times", made({"a.0": numbers, "target": numbers}, row_group_size=10_000_000)
    for stored in (False, True):
        text = pa.DictionaryArray.from_arrays(np.zeros(200_000, np.int32), pa.array(["x" * 100_000]))
        columns = {"text": text, "target": np.zeros(200_000)}
        yield f"one long text, 200,000 times, {stored}", made(columns, store_schema=stored)
    steps = np.arange(0, 20_000_001, 1_000_000, dtype=np.int32)
    lists = pa.ListArray.from_arrays(steps, pa.array(np.zeros(20_000_000, np.float32)))
    yield "lists of twenty million zeros", made({"a": lists, "target": np.arange(20.0)})
    words = pa.ListArray.from_arrays(np.arange(0, 21, dtype=np.int32), pa.array(["x" * 1_000_000] * 20))
    yield "lists of texts", made({"a": words, "target": np.arange(20.0)})
    yield "twelve thousand columns", made({f"c{number}": [1.0] * 4 for number in range(12_000)})
    nested = pa.array([1.0] * 4)
    for _ in range(60):
        nested = pa.ListArray.from_arrays(np.arange(5, dtype=np.int32), nested)
    yield "lists sixty deep", made({"a": nested, "target": [0.0, 1.0, 2.0, 3.0]})
    yield "a footer that is none", b"PAR1" + b"\xff" * 1000 + struct.pack("<I", 1000) + b"PAR1"
    yield "a footer of 2 GB", b"PAR1" + bytes(10) + struct.pack("<I", 2**31 - 1) + b"PAR1"


def weights():
    def made(length, text, data=b""):
        return struct.pack("<Q", length) + text + data

    def of(**tensor):
        text = json.dumps({"weight": {"dtype": "F32", "shape": [2, 2], "data_offsets": [0, 16], **tensor}}).encode()
        return made(len(text), text, bytes(16))

    yield "a pickle", pickle.dumps(Runs())
    yield "a header of 2^63 bytes", made(2**63, b"{}")
    yield "a header of 100 MB that is not there", made(100_000_000, b"{}")
    yield "a header nested a million deep", made(1_000_000, b"[" * 1_000_000)
    yield "a tensor of 2^64 values", of(shape=[2**32, 2**32])
    yield "a tensor beyond the file", of(data_offsets=[0, 2**60])
    yield "a tensor that ends before it begins", of(data_offsets=[16, 0])
    yield "a type that is none", of(dtype="O")
    yield "another model", of()
    yield "nothing", b""


def results(record):
    """A finished seed's result, one thing of it changed."""

    def changed(**more):
        return json.dumps({**record, **more}).encode()

    yield "brackets a hundred thousand deep", b"[" * 100_000
    yield "objects a hundred thousand deep", b'{"a":' * 100_000
    yield "a million digits", json.dumps(record).encode().replace(b"1111", b"9" * 1_000_000, 1)
    yield "a metric beyond every number", json.dumps(record).encode().replace(b'"MAE": ', b'"MAE": 1e999, "x": ', 1)
    yield "no metric", changed(test={}, validation={})
    yield "metrics of null", changed(test=None)
    yield "metrics of text", changed(test=dict.fromkeys(record["test"], "0.5"))
    yield "a list of files", changed(files=[])
    yield "files of another size", changed(files={name: {"bytes": "1"} for name in record["files"]})
    yield "a status that is a list", changed(status=["finished"])
    yield "a seed that is true", changed(seed=True)
    yield "bytes that are no text", b"\xff" * 1000
    yield "ten megabytes of one text", changed(note="x" * 10_000_000, test={"x" * 10_000_000: 0})
    yield "a hundred thousand metrics of null", changed(test={f"m{number}": None for number in range(100_000)})


def written(folder, number, case, ending):
    path = folder / f"{number}{ending}"
    if isinstance(case, dict):
        path.mkdir()
        for name, data in {"target.npy": TARGET, **case}.items():
            (path / name).write_bytes(data)
            if name == "a.npy" and len(data) < 200:
                os.truncate(path / name, 160_000_000_000 + len(data))
    else:
        path.write_bytes(case)
    return path


READ = {"a class of 2^40", "numbers beyond int64", "a name with a zero"}
"""What is an ordinary dataset, though odd; it may be refused for what it lacks."""


@pytest.mark.parametrize(
    ("cases", "ending"), [(archives, ".npz"), (folders, ""), (tables, ".csv"), (parquet_files, ".parquet")]
)
def test_hostile_arrays_are_refused_in_one_line_within_two_seconds(tmp_path, cases, ending):
    (tmp_path / "here").mkdir()
    files = {name: written(tmp_path, number, case, ending) for number, (name, case) in enumerate(cases())}
    answers = read_in_child(ARRAYS, tmp_path / "here", files.values())
    for (name, path), (kind, said, resident) in zip(files.items(), answers, strict=True):
        assert kind in ("ValueError", *([None] if name in READ else [])), (name, kind, said)
        assert "\n" not in said and len(said) < 500, (name, said)
        assert "MemoryError" not in said and resident < RESIDENT, (name, resident)
        assert str(path) in said or said.startswith("dataset arrays") or kind is None, (name, said)
    assert os.listdir(tmp_path / "here") == []


def test_hostile_weights_are_refused_in_one_line(tmp_path):
    (tmp_path / "here").mkdir()
    files = {name: written(tmp_path, number, case, ".safetensors") for number, (name, case) in enumerate(weights())}
    answers = read_in_child(WEIGHTS, tmp_path / "here", files.values())
    for (name, path), (kind, said, resident) in zip(files.items(), answers, strict=True):
        assert kind == "ValueError" and str(path) in said and "\n" not in said, (name, kind, said)
        assert resident < RESIDENT
    assert os.listdir(tmp_path / "here") == []


def test_a_hostile_result_is_not_believed(tmp_path):
    tiny_train(tmp_path / "seed_1111", max_epochs=1)
    record = json.loads((tmp_path / "seed_1111/result.json").read_text())
    cases = dict(results(record))
    for name, case in cases.items():
        (tmp_path / name).mkdir()
        for path in (tmp_path / "seed_1111").iterdir():
            os.link(path, tmp_path / name / path.name)
        (tmp_path / name / "result.json").unlink()
        (tmp_path / name / "result.json").write_bytes(case)
    seeds = [tmp_path / "seed_1111", *(tmp_path / name for name in cases)]
    for path, (kind, said, resident) in zip(seeds, read_in_child(SEEDS, tmp_path, seeds), strict=True):
        assert kind is None and resident < RESIDENT, (path.name, kind, said)
        assert (said == "None") == (path.name in cases), (path.name, said)


VARIANT = {"status": "finished", "seeds": [], "variant": {}, "signature": "x", "overrides": [], "provenance": {}}


def test_a_hostile_result_of_a_variant_is_refused_in_one_line(tmp_path):
    variant = {"schema": SCHEMA, **VARIANT, "seed": 1111, "test": {}, "files": {}}
    cases = dict(results(variant))
    for key in VARIANT:
        for value in (5, None, "x", ["x"], [[]], {"x": 1}, True):
            cases[f"{key} is {value}"] = json.dumps({**variant, key: value}).encode()
    paths = [tmp_path / name for name in cases]
    for path, case in zip(paths, cases.values()):
        path.mkdir()
        (path / "result.json").write_bytes(case)
    for path, (kind, said, resident) in zip(paths, read_in_child(RUNS, tmp_path, paths), strict=True):
        assert kind in (None, "ValueError") and "\n" not in said and resident < RESIDENT, (path.name, kind, said)
