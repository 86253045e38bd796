"""A feature file from a stranger is read without executing anything of it."""

import os
import pickle

import numpy as np
import pytest
from feature_files import content, write

from powmix.data import msena, unpickler
from powmix.data.pickled_arrays import Numbers, UnreadArray
from powmix.data.unpickler import FeatureFileError


class Calls:
    """Pickles as a call of `function` with `arguments`."""

    def __init__(self, function, *arguments, state=None):
        self.reduced = (function, arguments) if state is None else (function, arguments, state)

    def __reduce__(self):
        return self.reduced


@pytest.fixture(params=[2**20, 8], ids=["in memory", "left in the file"])
def unread(request, monkeypatch):
    """From how many bytes on an array is left in the file."""
    monkeypatch.setattr(unpickler, "UNREAD", request.param)
    return request.param


@pytest.mark.parametrize("protocol", [2, 3, 4, 5])
def test_arrays_and_plain_values_come_back_as_they_were(tmp_path, protocol, unread):
    value = {
        "floats": np.arange(60, dtype=np.float64).reshape(20, 3),
        "fortran": np.asfortranarray(np.arange(90, dtype=np.float32).reshape(30, 3)),
        "big_endian": np.arange(100, dtype=">i4"),
        "booleans": np.array([True, False]),
        "half": np.ones(2, np.float16),
        "strings": np.array(["a", "schön"]),
        "objects": np.array(["a", "a much longer one"], dtype=object),
        "scalars": [np.float32(0.5), np.int64(7), np.str_("s"), np.bool_(True)],
        "plain": ("x", 1, 2.5, None, True, b"bytes", [1, [2]], {"k": 3}),
    }
    read = unpickler.read(write(tmp_path / "f.pkl", value, protocol))
    assert read.keys() == value.keys()
    for key, got in read.items():
        if isinstance(got, Numbers):
            np.testing.assert_array_equal(np.asarray(got), value[key])
            assert (got.dtype, got.shape, got.ndim, len(got)) == (value[key].dtype, *shape_of(value[key]))
    assert isinstance(read["floats"], UnreadArray) == (unread == 8 and protocol > 2)
    assert read["plain"] == value["plain"]
    assert read["scalars"] == [0.5, 7, "s", True]
    assert np.asarray(read["big_endian"]).tolist() == list(range(100))


def shape_of(array):
    return array.shape, array.ndim, len(array)


def test_rows_of_an_array_that_is_left_in_the_file_are_read_alone(tmp_path, monkeypatch):
    monkeypatch.setattr(unpickler, "UNREAD", 8)
    array = np.arange(60, dtype=np.float64).reshape(5, 4, 3)
    read = unpickler.read(write(tmp_path / "f.pkl", {"audio": array}))["audio"]
    for rows in (slice(0, 2), slice(2, 5), slice(4, 9), slice(None)):
        np.testing.assert_array_equal(read[rows], array[rows])


def test_a_file_that_became_shorter_is_no_array_any_more(tmp_path, monkeypatch):
    monkeypatch.setattr(unpickler, "UNREAD", 8)
    path = write(tmp_path / "f.pkl", {"audio": np.ones((5, 20))})
    read = unpickler.read(path)["audio"]
    path.write_bytes(path.read_bytes()[:-40])
    with pytest.raises(FeatureFileError, match="changed while it was read"):
        read[3:]
    path.unlink()
    with pytest.raises(FeatureFileError, match="cannot be read any more"):
        read[:1]


@pytest.mark.parametrize("shape", [(3,), (257,), (2, 2, 2)])
def test_an_array_that_is_left_in_the_file_has_as_many_bytes_as_its_shape_says(tmp_path, monkeypatch, shape):
    monkeypatch.setattr(unpickler, "UNREAD", 8)
    with pytest.raises(FeatureFileError, match="got 1024 bytes"):
        unpickler.read(write(tmp_path / "f.pkl", {"audio": array_with(shape, np.dtype("f4"), bytes(1024))}))


def test_files_of_numpy_1_and_of_numpy_2_are_read_alike(tmp_path, unread):
    new = pickle.dumps(content(), protocol=2)
    assert b"numpy._core" in new
    for name, data in (("new", new), ("old", new.replace(b"numpy._core", b"numpy.core"))):
        (tmp_path / name).write_bytes(data)
    new, old = (msena.read(tmp_path / name) for name in ("new", "old"))
    np.testing.assert_array_equal(new["train"].features["audio"], old["train"].features["audio"])


def hostile():
    ran = "powmix_was_run"
    yield "os.system", Calls(os.system, f"touch {ran}")
    yield "builtins.eval", Calls(eval, f"open('{ran}', 'w')")
    yield "builtins.exec", [[Calls(exec, f"open('{ran}', 'w')")]]
    yield "builtins.getattr", Calls(getattr, "text", "upper")
    yield "numpy.fromfile", Calls(np.fromfile, "/dev/zero")
    yield "numpy.load", Calls(np.load, "x")
    yield "memmap", Calls(np.memmap, ran, "u1", "w+")
    yield "numpy.ndarray", Calls(np.ndarray, (2,), "O")
    yield "collections.OrderedDict", Calls(__import__("collections").OrderedDict)
    yield "set", {1, 2}


@pytest.mark.parametrize("name, value", [pytest.param(*case, id=case[0]) for case in hostile()])
def test_code_and_foreign_types_are_refused_before_they_act(tmp_path, monkeypatch, name, value):
    monkeypatch.chdir(tmp_path)
    whole = content()
    whole["train"]["vision"] = value
    path = write(tmp_path / "evil.pkl", whole)
    with pytest.raises(FeatureFileError) as error:
        unpickler.read(path)
    assert str(error.value).startswith(f"{path}: train/vision: expected ")
    assert name in str(error.value).replace("numpy._core.multiarray", "numpy").replace("posix", "os")
    assert os.listdir(tmp_path) == ["evil.pkl"]


def array_with(shape=(1,), dtype="f4", data=b"\0\0\0\0", fortran=False):
    return Calls(np.empty((0,)).__reduce__()[0], np.ndarray, (0,), b"b", state=(1, shape, dtype, fortran, data))


@pytest.mark.parametrize(
    "array, reason",
    [
        (array_with(dtype=np.dtype("O"), data=b"\0" * 8), "object array of strings only"),
        (array_with(dtype=np.dtype("O"), data=[1]), "object array of strings only"),
        (array_with(dtype=np.dtype("V8"), data=b"\0" * 8), "dtype"),
        (array_with(dtype=np.dtype("f4,O"), data=[(1.0, "x")]), "dtype"),
        (
            array_with(dtype=Calls(np.dtype, "O8", state=(3, "|", None, None, None, -1, -1, 0)), data=b"\0" * 8),
            "strings",
        ),
        (array_with(dtype=Calls(np.dtype, "f4", state=(3, "<", ("f4", (2,)), None, None, 4, 4, 0))), "simple dtype"),
        (array_with(dtype=np.dtype("f4"), shape=(-1,)), "shape"),
        (array_with(dtype=np.dtype("f4"), shape=(10**12,)), "got 1 values"),
        (array_with(dtype=np.dtype("f4"), shape=("x",)), "shape"),
        (Calls(np.empty(0).__reduce__()[0], np.matrix, (0,), b"b"), "numpy.matrix"),
        (Calls(np.empty(0).__reduce__()[0], np.ndarray, (0,), b"b"), "got an array without data"),
        (array_with(dtype=Calls(np.dtype, "f4", state=(1,))), "simple dtype"),
    ],
)
def test_arrays_that_would_trick_numpy_are_refused(tmp_path, array, reason, monkeypatch):
    monkeypatch.setattr(unpickler, "UNREAD", 8)
    with pytest.raises(FeatureFileError, match=reason):
        unpickler.read(write(tmp_path / "f.pkl", {"audio": array}))


def test_a_stand_in_cannot_be_changed_from_within_a_pickle(tmp_path):
    change = b"\x80\x02cnumpy\ndtype\n}(X\x05\x00\x00\x00_makeK\x01ub."
    (tmp_path / "f.pkl").write_bytes(change)
    with pytest.raises(FeatureFileError, match="a new state for what is neither array nor dtype"):
        unpickler.read(tmp_path / "f.pkl")
    assert unpickler.read(write(tmp_path / "g.pkl", np.ones(2))).tolist() == [1, 1]


def test_nesting_without_end_is_refused(tmp_path):
    loop: list = []
    loop += [loop] * 50
    deep: list = []
    for _ in range(5000):
        deep = [deep]
    for value in (loop, deep):
        (tmp_path / "f.pkl").write_bytes(
            pickle.dumps(value) if value is loop else b"\x80\x02" + b"]" * 5000 + b"a" * 4999 + b"."
        )
        with pytest.raises(FeatureFileError, match="nesting"):
            unpickler.read(tmp_path / "f.pkl")


@pytest.mark.parametrize("kept", [0.0, 0.3, 0.6, 0.999])
def test_a_truncated_file_is_refused_with_the_key_where_it_ends(tmp_path, kept, unread):
    data = pickle.dumps(content(), protocol=4)
    (tmp_path / "short.pkl").write_bytes(data[: int(kept * len(data))])
    with pytest.raises(FeatureFileError, match="truncated") as error:
        unpickler.read(tmp_path / "short.pkl")
    assert str(tmp_path / "short.pkl") in str(error.value)
    assert kept < 0.5 or any(key in str(error.value) for key in ("train/", "valid/", "test/"))


def test_random_damage_gives_a_value_or_a_feature_file_error(tmp_path, unread):
    rng, data = np.random.default_rng(0), np.frombuffer(pickle.dumps(content(), protocol=4), np.uint8)
    refused = 0
    for _ in range(300):
        damaged = data.copy()
        damaged[rng.integers(0, len(data), 3)] = rng.integers(0, 256, 3)
        (tmp_path / "f.pkl").write_bytes(damaged.tobytes())
        try:
            msena.read(tmp_path / "f.pkl")
        except FeatureFileError:
            refused += 1
    assert refused > 20
