"""`powmix-report PATH...`: the tables, figures and page of finished runs, without torch, in seconds."""

import argparse
import shlex
import sys
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from powmix.mistakes import POSITIVE, Parser, broken, choice, refuse

if TYPE_CHECKING:
    from powmix.report.claims import Checked
    from powmix.report.published import Published
    from powmix.report.table import Table
    from powmix.runs.collection import Collection

DEFAULT_OUT = Path("outputs/report")


def parser() -> Parser:
    made = Parser(
        prog="powmix-report",
        description="Tables, figures and one HTML page from finished runs or sweeps (unfinished ones too).",
        epilog="example: powmix-report outputs/sweeps/demo",
        allow_abbrev=False,
    )
    made.add_argument("paths", nargs="*", type=Path, metavar="PATH", help="run folders, sweep folders, or outputs/")
    made.add_argument(
        "--out", type=Path, metavar="DIR", help=f"where to write (default: the sweep's folder, else {DEFAULT_OUT})"
    )
    made.add_argument("--paper", action="store_true", help="the paper's tables, ours beside them")
    made.add_argument("--claims", action="store_true", help="the paper's claims, checked on these runs")
    made.add_argument(
        "--paper-file", type=Path, metavar="FILE", help="published numbers from another file than paper.yaml"
    )
    made.add_argument("--metric", help="metric of summaries and figures (default: the runs' objective, on test)")
    made.add_argument(
        "--rope",
        action="append",
        default=[],
        metavar="METRIC=R",
        help="verdicts: differences up to R do not matter, in the table's units (MAE=0.05, Acc-2=0.5); may be repeated",
    )
    made.add_argument(
        "--figures",
        default="all",
        metavar="NAMES",
        help="comma list of figures (3,training,...; 1 and table1 only by name), all or none",
    )
    return made


def main(arguments: Sequence[str] | None = None) -> int:
    options = parser().parse_args(arguments)
    try:
        _report(options, shlex.join(["powmix-report", *(sys.argv[1:] if arguments is None else arguments)]))
    except ValueError as error:
        print(f"powmix-report: {error}", file=sys.stderr)
        return 2
    return 0


def _report(options: argparse.Namespace, command: str) -> None:
    from powmix.report import claims, published
    from powmix.report.building import build
    from powmix.report.comparison import compare
    from powmix.report.figures import entries as listed
    from powmix.report.verdict import looks
    from powmix.runs import collection

    entries = listed.choose(options.figures.split(","))
    if not options.paths:
        _draw_free(entries, options.out or DEFAULT_OUT)
        return
    found = collection.read(options.paths)
    table = build(found.records, _metric(options.metric, found), looks(found.sweeps))
    table = replace(table, regions=_regions(options.rope, found))
    tuned = published.tuned(found.sweeps)
    known = None
    if options.paper or options.paper_file:
        known = published.Published(published.load(options.paper_file), tuned)
    checked = claims.check(table, published.Published(published.load(), tuned)) if options.claims else []
    out = options.out or _default_out(options.paths, found)
    print(compare(found, table, sys.stdout.isatty(), published=known, claims=checked))
    figures, skipped = _draw(table, entries, out) if table.rows else ([], [])
    _write(table, found, figures, known, checked, out, command)
    for entry in skipped:
        print(f"{entry.name}: not drawn, it needs {entry.needs}")
    print(f"\nWritten to {out}: table.csv, table.tex, table.md, statistics.csv, {len(figures)} figures, report.html")


def _draw_free(entries: Sequence, out: Path) -> None:
    """The figures that need no runs. ValueError where another is asked for, or none."""
    needing = [entry.name for entry in entries if not entry.free]
    if needing or not entries:
        raise ValueError("no PATH given: a run folder, a sweep folder, or outputs/; --figures 1,2,table1 need none")
    _draw(None, entries, out)
    print(f"Written to {out / 'figures'}: {', '.join(entry.name for entry in entries)}")


def _metric(name: str | None, found: "Collection") -> str | None:
    """The metric asked for, by its key or its label; ValueError names the nearest."""
    from powmix.metrics.columns import metric

    keys = sorted({key for record in found.records for seed in record.seeds for key in seed.test})
    if name is None or name in keys:
        return name
    named = {metric(key).label.lower(): key for key in keys} | {key.lower(): key for key in keys}
    if name.lower() in named:
        return named[name.lower()]
    raise ValueError("; ".join(broken({"metric": choice(*keys)}, {"metric": name})))


def _regions(given: Sequence[str], found: "Collection") -> dict[str, float]:
    """METRIC=R as given -> {key: R as a fraction}; ValueError for an unknown metric, or an R that is not above 0."""
    from powmix.metrics.columns import metric

    regions = {}
    for text in given:
        name, _, number = text.partition("=")
        value: Any = number
        with suppress(ValueError):
            value = float(number)
        refuse(broken({f"--rope {name}": POSITIVE}, {f"--rope {name}": value}))
        key = str(_metric(name, found))
        regions[key] = value / metric(key).scale
    return regions


def _default_out(paths: Sequence[Path], found: "Collection") -> Path:
    one_sweep = len(paths) == 1 and len(found.sweeps) == 1 and found.sweeps[0].resolve() == paths[0].resolve()
    return paths[0] if one_sweep else DEFAULT_OUT


def _draw(table: "Table | None", entries: Sequence, out: Path) -> tuple[list[tuple[str, str, str]], list]:
    from powmix.report.figures import style

    drawn, skipped = [], []
    for entry in entries:
        figure = entry.draw(table)
        if figure is None:
            skipped.append(entry)
            continue
        svg, *_ = style.save(figure, out if entry.name == "comparison" else out / "figures", entry.name)
        drawn.append((entry.name, entry.title, style.inline(svg.read_text("utf-8"), entry.title)))
    return drawn, skipped


def _write(
    table: "Table",
    found: "Collection",
    figures: list,
    known: "Published | None",
    claims: "Sequence[Checked]",
    out: Path,
    command: str,
) -> None:
    from powmix.report import formats, page
    from powmix.report.comparison import markdown, write
    from powmix.report.paper_tables import paper_tables

    title = found.sweeps[0].name if len(found.sweeps) == 1 and out == found.sweeps[0] else "powmix report"
    paper = [formats.latex_paper(one) for one in paper_tables(known, table)] if known else []
    write(out / "table.md", markdown(title, found, table, known, claims))
    write(out / "table.csv", formats.wide_csv(table))
    write(out / "statistics.csv", formats.statistics_csv(table))
    write(out / "table.tex", "\n".join([formats.latex(table, known), *paper]))
    write(out / "report.html", page.render(table, found, figures, out.resolve(), known, claims, title, command))


if __name__ == "__main__":
    sys.exit(main())
