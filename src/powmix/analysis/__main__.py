"""`powmix-analyze NAME PATH...`: measure finished runs beyond their test metrics, write it, print a table."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from powmix.analysis.catalogue import ANALYSES, REPETITIONS, SWEEPS, choose
from powmix.mistakes import Parser

if TYPE_CHECKING:
    from powmix.runs.records import Record


def parser() -> Parser:
    made = Parser(
        prog="powmix-analyze",
        description="Analyses of finished runs, written to <run folder>/analysis/NAME.json; powmix-report draws them.",
        epilog="\n".join(
            [
                "names:",
                *(f"  {name:<11} {one.title} ({one.figure})" for name, one in ANALYSES.items()),
                *(f"  {name:<11} {sentence.partition(': ')[2]}" for name, sentence in SWEEPS.items()),
                "",
                "example: powmix-analyze noise,dominance outputs/sweeps/demo",
            ]
        ),
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    made.add_argument("names", metavar="NAME", help="an analysis, several separated by commas, or all")
    made.add_argument("paths", nargs="*", type=Path, metavar="PATH", help="run folders, sweep folders, or outputs/")
    made.add_argument(
        "--repetitions", type=int, default=REPETITIONS, metavar="N", help="of each random damage (default: %(default)s)"
    )
    made.add_argument(
        "--device", default="auto", help="auto (the run's own where it is here), cpu, cuda or cuda:k (default: auto)"
    )
    made.add_argument("--dataset-path", type=Path, metavar="FILE", help="the feature file, where it has moved")
    made.add_plugins()
    made.add_argument("--force", action="store_true", help="measure again what is already measured")
    return made


def main(arguments: Sequence[str] | None = None) -> int:
    command = parser()
    options = command.parse_args(arguments)
    try:
        with command.saying_warnings():
            return _analyse(options)
    except ValueError as error:
        print(f"powmix-analyze: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("powmix-analyze: interrupted; the same command continues after the last whole seed", file=sys.stderr)
        return 130


def _analyse(options: argparse.Namespace) -> int:
    """Every run under the paths; one that fails stops no other, but the exit status tells."""
    names = choose(options.names.split(","))
    if not options.paths:
        raise ValueError("no PATH given: a run folder, a sweep folder, or outputs/")
    from powmix import plugins

    plugins.load(options.plugins)
    records = _finished(options.paths)
    from powmix.analysis.overview import table
    from powmix.analysis.progress import Progress
    from powmix.analysis.running import run

    results: dict[str, list[tuple[Record, list[dict[str, Any]]]]] = {name: [] for name in names}
    failed = False
    for record in records:
        before = set(plugins.loaded())
        with Progress(record.name) as progress:
            try:
                found = run(
                    names,
                    record.folder,
                    repetitions=options.repetitions,
                    device=options.device,
                    force=options.force,
                    dataset_path=options.dataset_path,
                    on_row=progress.on_row,
                )
            except ValueError as error:
                failed = True
                print(f"powmix-analyze: {error}", file=sys.stderr)
                continue
        for plugin in plugins.loaded():
            if plugin not in before:
                print(f"powmix-analyze: plugin {plugin.path}", file=sys.stderr)
        for name in names:
            results[name].append((record, found[name]))
    for name in names:
        if results[name]:
            print(table(name, results[name]))
    return 2 if failed else 0


def _finished(paths: Sequence[Path]) -> list[Record]:
    """The finished runs under the paths; the others are named on stderr, and where there is no other, in the error."""
    from powmix.analysis.running import finished_record
    from powmix.runs import collection

    found = collection.read(paths)
    records, problems = [], [f"{one.folder}: {one.status}: {one.reason}" for one in found.failures]
    for record in found.records:
        try:
            records.append(finished_record(record.folder))
        except ValueError as error:
            problems = [one for one in problems if not one.startswith(f"{record.folder}:")] + [str(error)]
    if not records:
        raise ValueError("; ".join(problems))
    for problem in problems:
        print(f"powmix-analyze: left out {problem}", file=sys.stderr)
    return records


if __name__ == "__main__":
    sys.exit(main())
