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
NUMBERED = re.compile(r"(.+)[._](\d{1,9})")
MOST_COLUMNS = 10_000
"""Of a table: each costs some 100 KB while it is read. Longer vectors come in lists or in arrays."""
MOST_BYTES, MOST_TIMES, UNSUSPICIOUS = 2**36, 100, 2**26
"""Bytes that a file may unpack to; how many times its own size, beyond so many: no features are that repetitive."""
BYTES_OF = {"BOOLEAN": 1, "INT32": 4, "INT64": 8, "INT96": 12, "FLOAT": 4, "DOUBLE": 8}
STRING = 64
"""Bytes that Python takes for a short string."""
NUMBER = 64
"""The longest cell of a CSV file that may be a number."""
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
    return grouped(_of_parquet(path, wanted))


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


def _of_parquet(path: Path, wanted: Callable[[str], bool]) -> dict[str, Any]:
    """The columns of a Parquet file; a value that is repeated a billion times is some bytes there."""
    library = _imported("pyarrow.parquet", path)
    stored = path.stat().st_size
    try:
        with library.ParquetFile(path, pre_buffer=False) as file:
            names = [name for name in file.schema_arrow.names if wanted(name)]
            _check_columns(path, len(names))
            names = list(_of_table(str(path), file.schema_arrow.empty_table(), names))  # the types are told first
            strings = [name for name in names if _is_string(f"{path}: {name}", file.schema_arrow.field(name).type)]
            check_size(path, _parquet_size(file.metadata), stored)
        table = library.read_table(path, columns=names, read_dictionary=strings, use_threads=False, pre_buffer=False)
    except (OSError, sys.modules["pyarrow"].ArrowException) as error:
        raise ValueError(f"{path}: expected a Parquet file, got {_line(error)}") from None
    check_size(path, sum(_text_size(table.column(name)) for name in strings), stored)
    return _of_table(str(path), table, names)


def check_size(path: Path, unpacked: int, stored: int) -> None:
    """Raises ValueError, before anything is unpacked, for more bytes than `stored` bytes of features may unpack to."""
    most = min(MOST_BYTES, max(UNSUSPICIOUS, MOST_TIMES * stored))
    if unpacked > most:
        raise ValueError(f"{path}: expected at most {most} bytes of arrays, got {unpacked}; store them uncompressed")


def _parquet_size(metadata: Any) -> int:
    """Bytes that the values of all columns take in memory, but for the text in strings."""
    chunks = [
        metadata.row_group(group).column(place)
        for group in range(metadata.num_row_groups)
        for place in range(metadata.num_columns)
    ]
    return sum(chunk.num_values * BYTES_OF.get(chunk.physical_type, STRING) for chunk in chunks)


def _text_size(column: Any) -> int:
    """Bytes of all strings of a column, each as often as it stands there."""
    import pyarrow.compute as compute

    sizes = [compute.binary_length(one.dictionary).take(one.indices) for one in column.chunks]
    return sum(compute.sum(size).as_py() or 0 for size in sizes)


def _is_string(where: str, kind: Any) -> bool:
    """Whether a column is of strings, each kept once (as a dictionary) or not."""
    import pyarrow as pa

    if isinstance(kind, pa.BaseExtensionType) and not pa.types.is_nested(kind.storage_type):
        raise ValueError(f"{where}: expected numbers, strings or lists, got {kind}")
    kind = kind.value_type if pa.types.is_dictionary(kind) else kind
    return pa.types.is_string(kind) or pa.types.is_large_string(kind)


def _check_columns(path: Path, count: int) -> None:
    if count > MOST_COLUMNS:
        raise ValueError(f"{path}: expected at most {MOST_COLUMNS} columns, got {count}")


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
    if (lengths_N == lengths_N[:1]).all():
        return inner.reshape(len(lengths_N), int(lengths_N[0]) if len(lengths_N) else 0, *inner.shape[1:])
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
    _check_columns(path, len(header))
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
    if max(map(len, column), default=0) <= NUMBER:
        for made, kind in ((int, np.int64), (float, np.float64)):
            try:
                return np.fromiter(map(made, column), kind, len(column))
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
