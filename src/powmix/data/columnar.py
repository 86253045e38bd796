"""Data in columns -> the arrays form (assembling.py): Hugging Face `datasets`, Parquet and CSV files.

A column of numbers is a value for each example; of lists of one length, vectors; of lists of such lists, sequences; of
strings, names or raw text. Columns NAME.0, NAME.1, ... (or NAME_0, ...) are the features of one vector.
Shape suffixes: N examples, D features.
"""

from __future__ import annotations

import csv
import logging
import re
import sys
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

OF_DATASETS = ("dataset_dict.json", "dataset_info.json")
"""A folder that `save_to_disk` of Hugging Face datasets wrote has one of these files."""
TABLES = (".csv", ".tsv", ".parquet")
INSTALL = "pip install 'powmix[data]'"
NUMBERED = re.compile(r"(.+)[._](\d+)")
AS_WRITTEN = ("id", "group", "split", "text", "raw_text")
"""Columns of a CSV file that stay strings where they look like numbers."""

log = logging.getLogger("powmix")


def is_columnar(path: Path) -> bool:
    """Whether a path is a table, or a folder of Hugging Face datasets."""
    return path.suffix.lower() in TABLES or any((path / name).is_file() for name in OF_DATASETS)


def is_dataset(data: Any) -> bool:
    """Whether something in memory is a `datasets.Dataset` or `DatasetDict`, without importing the library."""
    library = sys.modules.get("datasets")
    return library is not None and isinstance(data, library.Dataset | library.DatasetDict)


def read_columns(path: Path, only: str | None = None) -> dict[str, Any]:
    """The arrays of a table or of a folder of datasets. only: one key, where no other is asked for.

    ValueError, in one line, for what cannot be read, and where the library that reads it is not installed.
    """

    def wanted(name: str) -> bool:
        return only is None or name == only or _prefix(name) == only

    if path.is_dir():
        library = _imported("datasets", path)
        try:
            data = library.load_from_disk(str(path))
        except Exception as error:
            raise ValueError(f"{path}: expected a folder of datasets, got {_line(error)}") from None
        return arrays_of(data, str(path), wanted)
    if path.suffix.lower() != ".parquet":
        return grouped(_of_csv(path, wanted))
    library = _imported("pyarrow.parquet", path)
    try:
        names = [name for name in library.read_schema(path).names if wanted(name)]
        table = library.read_table(path, columns=names)
    except (OSError, sys.modules["pyarrow"].ArrowException) as error:
        raise ValueError(f"{path}: expected a Parquet file, got {_line(error)}") from None
    return grouped(_of_table(str(path), table, names))


def arrays_of(data: Any, where: str = "dataset", wanted: Callable[[str], bool] = lambda name: True) -> dict[str, Any]:
    """The arrays of a `datasets.Dataset`; of a DatasetDict those of all its splits, with `split` as it calls them.

    A ClassLabel `target` brings its names. wanted: which columns. ValueError for images and audio, which are files of
    their own there, and for values that are missing.
    """
    parts = data if isinstance(data, Mapping) else {None: data}
    if not parts:
        raise ValueError(f"{where}: expected datasets by split, got none")
    of_parts, classes = [], {}
    for split, part in parts.items():
        at = f"{where}[{split}]" if split else where
        if split and "split" in part.column_names:
            raise ValueError(f"{at}: `split` is a column, and the dataset is in splits already: drop one of them")
        names = [name for name in part.column_names if wanted(name)]
        table = part.select_columns(names).with_format("arrow")[:]
        found = grouped(_of_table(at, table, names))
        if split and wanted("split"):
            found["split"] = [split] * part.num_rows
        of_parts.append(found)
        if "target" in names and hasattr(part.features["target"], "names"):
            classes = {"classes": list(part.features["target"].names)}
            if unknown := int((found["target"] < 0).sum()):
                raise ValueError(f"{at}: target: {unknown} of {part.num_rows} classes are not known (-1): drop them")
    keys = list(dict.fromkeys(key for found in of_parts for key in found))
    for key in keys:
        if absent := [split for split, found in zip(parts, of_parts) if key not in found]:
            raise ValueError(f"{where}: {key} is not in the splits {', '.join(map(str, absent))}")
    return {key: _joined([found[key] for found in of_parts]) for key in keys} | (classes if wanted("classes") else {})


def grouped(columns: Mapping[str, Any]) -> dict[str, Any]:
    """Numbered columns (N,) of numbers as one array (N, D) under their common name; the others as they are.

    ValueError where some of them have no numbers.
    """
    groups: dict[str, dict[int, str]] = {}
    for name, value in columns.items():
        if (
            (prefix := _prefix(name))
            and isinstance(value, np.ndarray)
            and value.ndim == 1
            and value.dtype.kind in "biuf"
        ):
            groups.setdefault(prefix, {})[int(name[len(prefix) + 1 :])] = name
    if wrong := [name for name, value in columns.items() if _prefix(name) in groups and isinstance(value, list)]:
        raise ValueError(f"{', '.join(wrong)}: expected numbers in every row, as in the columns beside it")
    whole = {
        prefix: [names[place] for place in range(len(names))]
        for prefix, names in groups.items()
        if names.keys() == set(range(len(names))) and prefix not in columns
    }
    members = {name for names in whole.values() for name in names}
    return {name: value for name, value in columns.items() if name not in members} | {
        prefix: np.stack([columns[name] for name in names], axis=1) for prefix, names in whole.items()
    }


# --- one column -------------------------------------------------------------------------------------------------------


def _prefix(name: str) -> str | None:
    numbered = NUMBERED.fullmatch(name)
    return numbered[1] if numbered else None


def _of_table(where: str, table: Any, names: Iterable[str]) -> dict[str, Any]:
    """Columns of an Arrow table; one of another type than numbers, strings and lists is named and left out."""
    found = {name: _plain(f"{where}: {name}", table.column(name).combine_chunks()) for name in names}
    if unused := [f"{name} ({table.schema.field(name).type})" for name, value in found.items() if value is None]:
        log.warning("%s: not used, since they are neither numbers, strings nor lists: %s", where, ", ".join(unused))
    return {name: value for name, value in found.items() if value is not None}


def _plain(where: str, array: Any) -> Any:
    """An Arrow array as numbers (N, ...), or a list of N arrays or strings; None for other types."""
    import pyarrow as pa
    import pyarrow.compute as compute

    if isinstance(array, pa.ChunkedArray):
        array = pa.concat_arrays(array.chunks) if array.num_chunks else pa.array([], array.type)
    if isinstance(array, pa.ExtensionArray):
        array = array.storage
    if pa.types.is_dictionary(array.type):
        array = array.dictionary_decode()
    kind = array.type
    if pa.types.is_struct(kind) or pa.types.is_binary(kind) or pa.types.is_large_binary(kind):
        raise ValueError(f"{where}: expected numbers, strings or lists; images and audio must be made arrays first "
                         f"(`map`), or the column dropped; got {kind}")  # fmt: skip
    if array.null_count:
        raise ValueError(f"{where}: {array.null_count} of {len(array)} values are missing")
    if pa.types.is_string(kind) or pa.types.is_large_string(kind):
        return array.to_pylist()
    if pa.types.is_boolean(kind) or pa.types.is_integer(kind) or pa.types.is_floating(kind):
        return array.to_numpy(zero_copy_only=False)
    if not (pa.types.is_list(kind) or pa.types.is_large_list(kind) or pa.types.is_fixed_size_list(kind)):
        return None
    inner = _plain(where, array.flatten())
    if not isinstance(inner, np.ndarray):
        raise ValueError(f"{where}: expected lists of numbers of one length, got {kind} with other content")
    lengths_N = compute.list_value_length(array).to_numpy(zero_copy_only=False)
    if len(lengths_N) and (lengths_N == lengths_N[0]).all():
        return inner.reshape(len(lengths_N), int(lengths_N[0]), *inner.shape[1:])
    return np.split(inner, lengths_N.cumsum()[:-1])


def _joined(values: list[Any]) -> Any:
    """One key of several splits, one after another; arrays of other shapes become a list of one for each example."""
    if all(isinstance(value, np.ndarray) for value in values) and len({value.shape[1:] for value in values}) == 1:
        return np.concatenate(values)
    return [one for value in values for one in value]


def _of_csv(path: Path, wanted: Callable[[str], bool]) -> dict[str, Any]:
    """The columns of a table with one line of names: whole numbers, else numbers, else strings."""
    try:
        with path.open(newline="", encoding="utf-8-sig") as stream:
            lines = csv.reader(stream, delimiter="\t" if path.suffix.lower() == ".tsv" else ",")
            header, rows = next(lines, []), [row for row in lines if row]
    except (OSError, UnicodeDecodeError, csv.Error, ValueError) as error:
        raise ValueError(f"{path}: expected a table with a line of names, got {_line(error)}") from None
    wrong = next((number for number, row in enumerate(rows, 1) if len(row) != len(header)), None)
    if wrong or len(set(header)) < len(header):
        problem = f"row {wrong} has {len(rows[wrong - 1])}" if wrong else "one name stands there twice"
        raise ValueError(f"{path}: expected {len(header)} columns of different names in every row, {problem}")
    return {
        name: list(column) if name in AS_WRITTEN else _typed(column)
        for name, column in zip(header, zip(*rows))
        if wanted(name)
    }


def _typed(column: tuple[str, ...]) -> Any:
    for kind in (np.int64, np.float64):
        try:
            return np.array(column).astype(kind)
        except (ValueError, OverflowError):
            continue
    return list(column)


def _imported(name: str, path: Path) -> Any:
    from importlib import import_module

    try:
        return import_module(name)
    except ImportError:
        raise ValueError(f"{path}: is read by {name.partition('.')[0]}: {INSTALL}") from None


def _line(error: Exception) -> str:
    return f"{type(error).__name__}: {' '.join(str(error).split())[:160]}"
