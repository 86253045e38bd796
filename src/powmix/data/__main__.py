"""powmix-data: check or convert a feature file, gather a task's original files, learn where datasets come from."""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from powmix.data.sources import MODALITIES, SOURCES, SPLITS, where_from
from powmix.mistakes import Parser, check_one_of

EXIT_ERROR = 2


def main(arguments: Sequence[str] | None = None) -> int:
    """The command line; a mistake or an unusable file is one line on stderr and exit code 2."""
    chosen = _parser().parse_args(arguments)
    try:
        chosen.run(chosen)
    except (ValueError, OSError) as error:
        print(f"powmix-data: {error}", file=sys.stderr)
        return EXIT_ERROR
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = Parser(prog="powmix-data", description=__doc__.split(": ", 1)[1])
    commands = parser.add_subparsers(required=True, metavar="check|convert|gather|extract|where")
    for name, run, text in (
        (
            "check",
            check,
            "sizes, dims, steps, lengths, padding sides, cleaned values, label range, hash, and whether every array "
            "of its store is as it was written; writes nothing",
        ),
        ("convert", convert, "make the memory-mapped store now instead of at the first run; mend a damaged one"),
    ):
        command = commands.add_parser(name, help=text, description=text)
        stored = ", or a folder of the cache" if run is check else ""
        command.add_argument("file", type=Path, help=f"an M-SENA feature file (.pkl){stored}")
        command.add_argument("--dataset", choices=SOURCES, default="mosi", help="whose label range it must keep")
        command.set_defaults(run=run)
    text = "make the files that dataset=NAME reads of the original ones (`where NAME` says which)"
    command = commands.add_parser("gather", help=text, description=text)
    command.add_argument("name", help="utd, digits or maec")
    command.add_argument("folder", type=Path, help="where the original files are")
    command.add_argument("out", type=Path, help="a folder: dataset.path")
    command.set_defaults(run=gather)
    text = "replace raw waveforms or images of an array file by the states of a frozen model of transformers"
    command = commands.add_parser("extract", help=text, description=text)
    command.add_argument("file", type=Path, help="an .npz file or a folder of arrays")
    command.add_argument("key", help="the modality: (N, T) or ragged waveforms, or (N, C, H, W) images of 0 to 255")
    command.add_argument("model", type=Path, help="a folder with config.json, weights and preprocessor_config.json")
    command.add_argument("out", type=Path, help="the .npz file to write")
    command.add_argument("--rate", type=int, default=16000, help="of the waveforms, in Hz (16000)")
    command.set_defaults(run=extract)
    command = commands.add_parser("where", help="where each dataset comes from")
    command.add_argument("name", nargs="?", help="one dataset alone")
    command.set_defaults(run=where)
    return parser


def check(chosen: argparse.Namespace) -> None:
    """Print what is in a file and what makes one doubt it, or raise what is wrong with it or with its store."""
    if chosen.file.expanduser().is_dir():
        _check_store(chosen.file.expanduser())
        return
    import hashlib

    from powmix.data import msena

    path = _existing(chosen)
    raw = msena.read(path)
    from powmix.data.store import check_labels, doubts, scan, store_folder, survey  # torch: a bad file need not wait

    facts, _ = survey(raw, scan(raw))
    check_labels(path, chosen.dataset, facts)
    with path.open("rb") as stream:
        digest = hashlib.file_digest(stream, "sha256").hexdigest()
    _print_facts(path, chosen.dataset, facts, digest)
    for doubt in doubts(facts):
        print(f"warning: {doubt}")
    if store_folder(digest).is_dir():
        _check_store(store_folder(digest))


def convert(chosen: argparse.Namespace) -> None:
    """Convert a file and say where its store lies; a store that is there is checked array by array."""
    from powmix.data.store import open_store

    start = time.perf_counter()
    store = open_store(_existing(chosen), chosen.dataset, whole=True)
    print(f"{store.path} -> {store.folder} ({time.perf_counter() - start:.1f} s)")


def gather(chosen: argparse.Namespace) -> None:
    """Write the files of a task and say what was written."""
    from powmix.data.gathering import gather as gathered

    for path in gathered(chosen.name, chosen.folder.expanduser(), chosen.out.expanduser()):
        print(f"{path} ({path.stat().st_size:,} bytes)")


def extract(chosen: argparse.Namespace) -> None:
    """Write the file and say what is in it now."""
    from powmix.data.extracting import extract as extracted

    path, model = str(chosen.file.expanduser()), chosen.model.expanduser()
    count, width = extracted(path, chosen.key, model, chosen.out.expanduser(), chosen.rate)
    print(f"{chosen.out}: {chosen.key} of {count} examples, {width} wide")


def where(chosen: argparse.Namespace) -> None:
    """Print each dataset's origin, file names, sizes and command."""
    from powmix.data.registry import DATASETS

    told = [name for name, row in DATASETS.items() if row.where or name in (*SOURCES, "synthetic")]
    if chosen.name is not None:
        check_one_of("dataset", chosen.name, told)
        told = [chosen.name]
    for name in told:
        _where(name)


def _where(name: str) -> None:
    from powmix.data.registry import DATASETS

    if name in SOURCES:
        source = SOURCES[name]
        print(f"{name}: {' / '.join(map(str, source.sizes))} clips, labels {source.label_range[0]:g} to "
              f"{source.label_range[1]:g}\n  {where_from(name)}")  # fmt: skip
    elif name == "synthetic":
        print("synthetic: made from a seed, nothing to fetch\n  powmix dataset=synthetic")
    else:
        row, path = DATASETS[name], " dataset.path=FOLDER" if DATASETS[name].files else ""
        files = f"\n  reads {', '.join(row.files)}" if row.files else ""
        print(f"{name}: {row.where}{files}\n  powmix dataset={name}{path} model=late_fusion")


def _existing(chosen: argparse.Namespace) -> Path:
    path = chosen.file.expanduser()
    if not path.is_file():
        raise ValueError(f"no file {str(chosen.file)!r}. {where_from(chosen.dataset)}")
    return path


def _check_store(folder: Path) -> None:
    """Raises ValueError that names every file of the store, and of the text states in it, that is not as written."""
    from powmix.data.cache import damage

    folders = [folder, *sorted(inside for inside in folder.glob("states-*") if inside.is_dir())]
    problems = [f"{inside.name}: {problem}" for inside in folders for problem in damage(inside)]
    if problems:
        raise ValueError(
            f"store {folder}: {'; '.join(problems)}. `powmix-data convert FILE` makes it again of the feature file"
        )
    print(f"store {folder}: every file is as it was written")


def _print_facts(path: Path, dataset: str, facts: dict[str, Any], digest: str) -> None:
    from rich.console import Console
    from rich.table import Table

    console = Console()
    console.print(f"{path}: a usable {SOURCES[dataset].title} file, {'aligned' if facts['aligned'] else 'unaligned'}")
    splits = Table("split", "clips", "negative", "neutral", "positive")
    for split in SPLITS:
        splits.add_row(split, str(facts["sizes"][split]), *map(str, facts["classes"][split]))
    modalities = Table(
        "modality", "width", "steps", "lengths least / mean / most", "padded", "replaced by 0", "lengths repaired"
    )
    for name in MODALITIES:
        least, mean, most = facts["lengths"][name]
        modalities.add_row(
            name,
            str(facts["dims"].get(name, "token ids")),
            str(facts["steps"][name]),
            f"{least} / {mean:.1f} / {most}",
            facts["side"][name],
            _counts(facts["cleaned"].get(name, {})),
            _counts(facts["repaired"][name]),
        )
    console.print(splits, modalities)
    low, high = facts["label_range"]
    console.print(f"labels {low:g} to {high:g}; constant prediction: test MAE {facts['constant_mae']:.3f}")
    console.print(f"sha256 {digest}", highlight=False, soft_wrap=True)


def _counts(counts: dict[str, int]) -> str:
    return ", ".join(f"{count} {kind}" for kind, count in counts.items() if count) or "none"


if __name__ == "__main__":
    sys.exit(main())
