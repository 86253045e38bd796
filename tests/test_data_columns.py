"""Data in columns: Hugging Face datasets, Parquet and CSV become the same modalities as arrays do."""

import sys

import numpy as np
import pytest

from powmix.data import from_arrays, load
from powmix.data.array_files import read
from powmix.data.columnar import grouped
from powmix.data.registry import defaults, mistakes, task_of
from powmix.runs.identity import source

N = 40
RNG = np.random.default_rng(0)
VECTORS = RNG.normal(size=(N, 3)).astype(np.float32)
STEPS = [RNG.normal(size=(n, 2)).astype(np.float32) for n in RNG.integers(1, 5, N)]
CLASSES = np.arange(N) % 2
TEXTS = [f"clip {row}" for row in range(N)]


@pytest.fixture
def datasets():
    return pytest.importorskip("datasets")


def columns(**more):
    """What a dataset of Hugging Face is made of: vectors, ragged sequences, texts and a target."""
    lists = {"motion": VECTORS.tolist(), "sound": [one.tolist() for one in STEPS], "text": TEXTS}
    return {**lists, "target": CLASSES.tolist(), **more}


def of(path, **options):
    return {**defaults("arrays"), "path": str(path), **options}


def same(first, second):
    for part in ("train", "valid", "test"):
        one, other = getattr(first, part), getattr(second, part)
        assert one.ids == other.ids and one.raw_text == other.raw_text and (one.target == other.target).all()
        assert one.features.keys() == other.features.keys()
        assert all((one.features[key] == other.features[key]).all() for key in one.features)
        assert all((one.lengths[key] == other.lengths[key]).all() for key in one.lengths)


# --- in memory --------------------------------------------------------------------------------------------------------


def test_arrays_in_memory_are_split_like_those_of_a_file(tmp_path):
    arrays = {"motion": VECTORS, "target": CLASSES}
    np.savez(tmp_path / "x.npz", **arrays)
    same(from_arrays(arrays, test=0.2), load(of(tmp_path / "x.npz", test=0.2), ("*",)))
    with pytest.raises(ValueError, match="did you mean folds"):
        from_arrays(arrays, foldss=5)
    with pytest.raises(ValueError, match=r"expected arrays by name, a datasets.Dataset or powmix.Splits, got list"):
        from_arrays([1, 2, 3])


def test_a_dataset_in_memory_becomes_the_same_modalities_as_arrays(datasets):
    arrays = {"motion": VECTORS, "sound": STEPS, "text": TEXTS, "target": CLASSES}
    splits = from_arrays(datasets.Dataset.from_dict(columns()))
    same(splits, from_arrays(arrays))
    assert splits.kinds == {"motion": "vector", "sound": "sequence"}


def test_a_selection_of_a_dataset_is_read_as_it_was_selected(datasets):
    rows = list(range(N))[::-3]
    data = datasets.Dataset.from_dict(columns(id=TEXTS)).select(rows)
    splits = from_arrays(data)
    named = {name for part in (splits.train, splits.valid, splits.test) for name in part.ids}
    assert named == {TEXTS[row] for row in rows}


def test_what_a_registered_dataset_gives_may_be_one_of_hugging_face(datasets, monkeypatch):
    from powmix.data import registry

    monkeypatch.setitem(registry.DATASETS, "mine", registry.Row("mine", lambda: datasets.Dataset.from_dict(columns())))
    same(load(defaults("mine"), ("*",)), from_arrays(datasets.Dataset.from_dict(columns())))


# --- folders of save_to_disk ------------------------------------------------------------------------------------------


def test_a_saved_dataset_is_read_from_its_folder(datasets, tmp_path):
    features = datasets.Features(
        {
            "motion": datasets.Sequence(datasets.Value("float32"), length=3),
            "grid": datasets.Array2D((4, 5), "float32"),
            "target": datasets.ClassLabel(names=["low", "high"]),
        }
    )
    grid = RNG.normal(size=(N, 4, 5)).astype(np.float32)
    data = {"motion": VECTORS.tolist(), "grid": list(grid), "target": CLASSES.tolist()}
    datasets.Dataset.from_dict(data, features=features).save_to_disk(tmp_path / "saved")
    dataset = of(tmp_path / "saved")
    assert mistakes(dataset) == [] and task_of(dataset) == "classification"
    splits = load(dataset, ("*",))
    assert splits.kinds == {"motion": "vector", "grid": "sequence"} and splits.classes == ("low", "high")
    same(splits, from_arrays({"motion": VECTORS, "grid": grid, "target": CLASSES}))


def test_the_splits_of_a_saved_dict_stand(datasets, tmp_path):
    whole = datasets.Dataset.from_dict(columns(id=TEXTS))
    parts = {"train": range(30), "validation": range(30, 34), "test": range(34, N)}
    datasets.DatasetDict({name: whole.select(rows) for name, rows in parts.items()}).save_to_disk(tmp_path / "saved")
    splits = load(of(tmp_path / "saved"), ("*",))
    assert [splits.train.ids, splits.valid.ids, splits.test.ids] == [[TEXTS[row] for row in r] for r in parts.values()]
    strange = datasets.DatasetDict({"train": whole.select(range(20)), "unlabelled": whole.select(range(20, N))})
    with pytest.raises(ValueError, match="split: expected train, valid, test or 0, 1, 2, got unlabelled"):
        from_arrays(strange)
    with pytest.raises(ValueError, match="`split` is a column, and the dataset is in splits already"):
        from_arrays(datasets.DatasetDict({"train": whole.add_column("split", ["train"] * N)}))


def test_other_data_in_a_saved_dataset_are_another_run(datasets, tmp_path):
    for name, shift in (("one", 0), ("two", 1)):
        data = {"motion": (VECTORS + shift).tolist(), "target": CLASSES.tolist()}
        datasets.Dataset.from_dict(data).save_to_disk(tmp_path / name)
    assert source({"path": str(tmp_path / "one")}) != source({"path": str(tmp_path / "two")})


def test_other_data_in_a_saved_dict_are_another_run(datasets, tmp_path):
    for name, shift in (("one", 0), ("two", 1)):
        data = datasets.Dataset.from_dict({"motion": (VECTORS + shift).tolist(), "target": CLASSES.tolist()})
        datasets.DatasetDict({"train": data, "test": data}).save_to_disk(tmp_path / name)
    assert source({"path": str(tmp_path / "one")}) != source({"path": str(tmp_path / "two")})


@pytest.mark.parametrize(
    ("more", "message"),
    [
        ({"motion": [None, *VECTORS.tolist()[1:]]}, "motion: 1 of 40 values are missing"),
        ({"motion": [[1.0] * (row % 3 + 1) for row in range(N)]}, r"motion: expected arrays \(steps, D\)"),
        ({"motion": [[[1.0], [1.0, 2.0]]] * N}, "motion: expected lists of numbers of one length"),
        ({"motion": [{"path": "a.png", "bytes": b""}] * N}, "images and audio must be made arrays first"),
    ],
)
def test_columns_that_are_no_arrays_are_refused_by_name(datasets, more, message):
    with pytest.raises(ValueError, match=message):
        from_arrays(datasets.Dataset.from_dict(columns(**more)))


def test_a_column_of_another_type_and_unknown_classes_are_named(datasets, caplog):
    from datetime import date

    from_arrays(datasets.Dataset.from_dict(columns(day=[date(2026, 1, 1)] * N)))
    assert "day (date32[day])" in caplog.text
    features = datasets.Features({"motion": datasets.List(datasets.Value("float32")), "target": datasets.ClassLabel(2)})
    data = datasets.Dataset.from_dict({"motion": VECTORS.tolist(), "target": [-1] * N}, features=features)
    with pytest.raises(ValueError, match=r"target: 40 of 40 classes are not known"):
        from_arrays(data)


def test_without_the_library_one_line_says_what_to_install(tmp_path, monkeypatch):
    (tmp_path / "dataset_info.json").write_text("{}")
    (tmp_path / "x.parquet").write_bytes(b"")
    for name in ("datasets", "pyarrow", "pyarrow.parquet"):
        monkeypatch.setitem(sys.modules, name, None)
    for path in (tmp_path, tmp_path / "x.parquet"):
        with pytest.raises(ValueError, match=r"pip install 'powmix\[data\]'"):
            load(of(path), ("*",))


def test_a_damaged_folder_or_table_is_one_line(datasets, tmp_path):
    (tmp_path / "dataset_info.json").write_text("{")
    (tmp_path / "x.parquet").write_bytes(b"PAR1")
    with pytest.raises(ValueError, match="expected a folder of datasets, got"):
        load(of(tmp_path), ("*",))
    with pytest.raises(ValueError, match="expected a Parquet file, got"):
        load(of(tmp_path / "x.parquet"), ("*",))


# --- tables -----------------------------------------------------------------------------------------------------------


@pytest.mark.filterwarnings("error:The given NumPy array is not writable")
def test_a_parquet_file_has_columns_of_lists_or_of_numbers(tmp_path):
    pa, parquet = pytest.importorskip("pyarrow"), pytest.importorskip("pyarrow.parquet")
    numbered = {f"motion_{place}": VECTORS[:, place] for place in range(3)}
    table = pa.table({**numbered, "sound": [one.tolist() for one in STEPS], "text": TEXTS, "target": CLASSES})
    parquet.write_table(table, tmp_path / "x.parquet")
    same(load(of(tmp_path / "x.parquet"), ("*",)), from_arrays({**columns(), "sound": STEPS, "motion": VECTORS}))
    assert task_of(of(tmp_path / "x.parquet")) == "classification"


def test_a_csv_file_has_a_column_for_each_feature(tmp_path):
    header = ["id", "motion.0", "motion.1", "motion.2", "text", "group", "target"]
    rows = [[f"{row:03}", *map(repr, VECTORS[row].tolist()), TEXTS[row], row // 4, row / 8] for row in range(N)]
    (tmp_path / "x.csv").write_text("\n".join(",".join(map(str, row)) for row in [header, *rows]))
    splits = load(of(tmp_path / "x.csv"), ("*",))
    names = [f"{row:03}" for row in range(N)]
    arrays = {"motion": VECTORS, "text": TEXTS, "target": np.arange(N) / 8, "id": names}
    same(splits, from_arrays({**arrays, "group": np.arange(N) // 4}))
    assert splits.task == task_of(of(tmp_path / "x.csv")) == "regression"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "no `target`"),
        ("a.0,a.1,target\n" + "1,2,0\n" * 5 + "1,,1\n" * 5, "a.1: expected numbers in every row"),
        ("a.0,target\n1,2\n3\n", "expected 2 columns of different names in every row, row 2 has 1"),
        ("a,a\n1,2\n", "one name stands there twice"),
        ("a.0,target\n" + "1,0\n" * 5 + "oops,1\n" * 5, "no modality among a.0, target"),
    ],
)
def test_a_table_that_is_none_is_refused(tmp_path, text, message):
    (tmp_path / "x.csv").write_text(text)
    with pytest.raises(ValueError, match=message):
        load(of(tmp_path / "x.csv"), ("*",))


def test_numbered_columns_are_one_modality_only_where_none_is_missing():
    ones = np.ones(3)
    found = grouped({"a.0": ones, "a.1": 2 * ones, "b_1": ones, "b_2": ones, "c": ones, "c.0": ones})
    assert found["a"].tolist() == [[1, 2]] * 3
    assert found.keys() == {"a", "b_1", "b_2", "c", "c.0"}


def test_a_table_without_a_target_says_so(tmp_path):
    (tmp_path / "x.csv").write_text("a.0,a.1,tagret\n" + "1,2,3\n" * 5)
    assert task_of(of(tmp_path / "x.csv")) is None and read(str(tmp_path / "x.csv"))["a"].shape == (5, 2)
    with pytest.raises(ValueError, match=r"no `target` among .*did you mean tagret"):
        load(of(tmp_path / "x.csv"), ("*",))
