"""The tables of benchmarks/README.md: which figures they hold, taking them, and writing them between their markers.

python -m benchmarks.table                      writes the tables anew from benchmarks/figures.json
python -m benchmarks.table --list               the rows by key, with their commands
python -m benchmarks.table --take tfn_aligned   takes a row (or several) anew, then writes the tables
python -m benchmarks.table --all                ... every row, one after another (three quarters of an hour)

A row is a benchmark's command and the lines of JSON that it printed, in figures.json as they were. A row that has not
been taken says so. `--clock wall` takes rows on an idle machine by the wall clock.
"""

from __future__ import annotations

import argparse
import json
import re
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from powmix.runs.files import read_json, write_json

HERE = Path(__file__).resolve().parent
FIGURES, PAGE = HERE / "figures.json", HERE / "README.md"
Line = Mapping[str, Any]
Taken = Mapping[str, Any]
"""By key: `command` and `lines`."""


class Row(NamedTuple):
    """A row. command: after `python -m benchmarks.`. least: the ratio that is wanted; most: what ours may take."""

    work: str
    command: str
    least: float | None = None
    most: float | None = None


def epoch(model: str, work: str, *options: str, least: float | None = None) -> Row:
    return Row(work, " ".join((f"epoch --model {model}", *options)), least)


ALIGNED, UNALIGNED = "--setting aligned", "--setting unaligned"
BUCKET = "--override trainer.bucket=true"
SLICE = "--batches 8"

WORK = {
    "mult_aligned": epoch("mult", "MulT aligned", ALIGNED, SLICE, least=3),
    "mult_unaligned": epoch("mult", "MulT unaligned", UNALIGNED, SLICE, "--repeats 2 --warmup 0", least=3),
    "mult_sound": epoch(
        "mult", "MulT aligned, published over sound", ALIGNED, SLICE, "--protocol sound --against published", least=2
    ),
    "mult_memory": epoch("mult", "MulT aligned, peak memory of a slice of an epoch", ALIGNED, SLICE, "--memory"),
    "tfn_aligned": epoch("tfn", "TFN aligned", ALIGNED, "--batches 16", least=2.3),
    "tfn_unaligned": epoch("tfn", "TFN unaligned", UNALIGNED, "--batches 16", least=2.3),
    "lf_dnn_aligned": epoch("lf_dnn", "LF-DNN aligned", ALIGNED, "--repeats 5", least=2.3),
    "lf_dnn_unaligned": epoch("lf_dnn", "LF-DNN unaligned", UNALIGNED, "--repeats 5", least=2.3),
    "self_mm": epoch("self_mm", "Self-MM unaligned, 4-layer BERT", UNALIGNED, "--batches 16", least=2.5),
    "self_mm_bucket": epoch(
        "self_mm", "Self-MM unaligned, 4-layer BERT, `trainer.bucket=true`", UNALIGNED, "--batches 32", BUCKET
    ),
    "misa": epoch("misa", "MISA unaligned, 4-layer BERT", UNALIGNED, SLICE, least=2.5),
    "misa_bucket": epoch(
        "misa", "MISA unaligned, 4-layer BERT, `trainer.bucket=true`", UNALIGNED, "--batches 16 --repeats 2", BUCKET
    ),
    "mag_bert": epoch("mag_bert", "MAG-BERT aligned, 4-layer BERT", ALIGNED, SLICE),
    "sweep": Row("20 trials of p_mix, LF-DNN, in one process against 20", "sweep --trials 20 --repeats 1", least=5),
    "sweeper": Row("a trial of a search beside its training", "sweeper --trials 30", most=200),
}
MIXING = {f"mixing_{rows}": Row("", f"mixing --rows {rows} --repeats 5") for rows in (32, 128, 256, 512, 2048)}
FLOORS = {
    f"floor_{side}_{model}": Row(title, f"profile --rows 0 --model {model} --side {side} --batches {batches}")
    for side, model, title, batches in (
        ("reference", "mult", "MulT, reference", 8),
        ("ours", "mult", "MulT", 8),
        ("ours", "tfn", "TFN", 16),
        ("ours", "lf_dnn", "LF-DNN", 10),
    )
}
ROWS = {**WORK, **MIXING, **FLOORS}


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--take", nargs="+", metavar="KEY", choices=tuple(ROWS), default=[])
    parser.add_argument("--all", action="store_true")
    parser.add_argument("--list", action="store_true")
    parser.add_argument("--clock", choices=("cpu", "wall"), default="cpu")
    given = parser.parse_args(arguments)
    if given.list:
        print("\n".join(f"{key:20s} python -m benchmarks.{row.command}" for key, row in ROWS.items()))
        return
    for key in ROWS if given.all else given.take:
        print(f"{key}: {ROWS[key].command}", flush=True)
        taken = take(ROWS[key], given.clock)
        write_json(FIGURES, {**figures(), key: taken})
    PAGE.write_text(page(PAGE.read_text("utf-8"), figures()), encoding="utf-8")


def figures() -> dict[str, Any]:
    """What has been taken, by key; rows that are no longer asked for are left out."""
    known = read_json(FIGURES) or {}
    return {key: known[key] for key in ROWS if key in known}


def take(row: Row, clock: str) -> dict[str, Any]:
    """Runs a row's command. RuntimeError, with what it said, where it fails or prints no figure."""
    module, *options = row.command.split()
    clocks = [] if module == "sweeper" else ["--clock", clock]
    command = [sys.executable, "-m", f"benchmarks.{module}", *options, *clocks]
    done = subprocess.run(command, cwd=HERE.parent, capture_output=True, text=True, check=False)
    lines = list(lines_of(done.stdout.splitlines()))
    if done.returncode or not lines:
        raise RuntimeError(f"python -m benchmarks.{row.command} failed:\n{done.stdout}\n{done.stderr}")
    return {"command": " ".join(["benchmarks." + module, *options, *clocks]), "lines": lines}


def lines_of(output: Sequence[str]) -> Iterator[dict[str, Any]]:
    """The figures among lines of text."""
    for text in output:
        if text.startswith('{"name"'):
            yield json.loads(text)


def page(text: str, taken: Taken) -> str:
    """A page with every table written anew between `<!-- figures: NAME -->` and `<!-- end -->`."""
    for name, table in TABLES.items():
        marked = re.compile(f"(<!-- figures: {name} -->\n).*?(<!-- end -->)", re.DOTALL)
        assert len(marked.findall(text)) == 1, f"one pair of markers for {name}"
        written = "\n".join(table(taken))
        text = marked.sub(lambda found, written=written: f"{found[1]}{written}\n{found[2]}", text)
    return text


def work_table(taken: Taken) -> Iterator[str]:
    yield "| work (key) | reference / ours | ours | reference | pairs | wanted | commit, load |"
    yield "|---|---|---|---|---|---|---|"
    for key, row in WORK.items():
        if key not in taken:
            yield f"| {row.work} (`{key}`) | not taken | | | | {wanted(row)} | |"
        for line in taken.get(key, {}).get("lines", ()):
            name = line["name"].partition("/")[2] if len(taken[key]["lines"]) > 1 else ""
            work = f"{row.work}: {name}" if name else row.work
            cells = (
                f"{work} (`{key}`)",
                whole(line["ratio"], "") if line["ratio"] else "",
                whole(line["ours"], line["unit"]),
                whole(line["reference"], line["unit"]) if line["reference"] else "",
                str(line["repeats"]),
                wanted(row, line),
                f"{line['commit']}, {line['load']}",
            )
            yield f"| {' | '.join(cells)} |"


def wanted(row: Row, line: Line | None = None) -> str:
    """The bar of a row, and whether a line reaches it."""
    if row.least is None and row.most is None:
        return ""
    if row.least is not None:
        bar, reached = f">= {row.least:g}", line and line["ratio"]["median"] >= row.least
    else:
        bar, reached = f"<= {row.most:g}", line and line["ours"]["median"] <= row.most
    return bar if line is None else f"{bar}: {'reached' if reached else 'missed'}"


def whole(found: Mapping[str, float], unit: str) -> str:
    """A median with its smallest and largest value."""
    scale, name = (1e-9, "GB") if unit.endswith("bytes") else (1.0, SHORT.get(unit.rpartition(" per ")[0] or unit, ""))
    low, middle, high = (f"{found[key] * scale:.3g}" for key in ("min", "median", "max"))
    spread = f" ({low} to {high})" if low != high else ""
    return f"{middle}{spread}{' ' * bool(name)}{name}"


SHORT = {
    f"{clock} {unit}": short for clock in ("cpu", "wall") for unit, short in (("seconds", "s"), ("milliseconds", "ms"))
}


def mixing_table(taken: Taken) -> Iterator[str]:
    found = {key: taken[key]["lines"] for key in MIXING if key in taken}
    if not found:
        yield "Not taken."
        return
    sizes = sorted({int(line["name"].rpartition("B=")[2]) for lines in found.values() for line in lines})
    steps = {size: [] for size in sizes}
    for lines in found.values():
        for line, size in zip(lines, sizes, strict=True):
            steps[size].append(line["reference"]["median"])
    heads = [f"B = {size} (step {min(steps[size]):.0f} to {max(steps[size]):.0f})" for size in sizes]
    yield f"| n_O | {' | '.join(heads)} | commit, load |"
    yield "|---" * (len(heads) + 2) + "|"
    for key, lines in found.items():
        cells = [f"{whole(line['ours'], '')}; {line['notes']['share']:.2%}" for line in lines]
        last = lines[-1]
        yield f"| {key.removeprefix('mixing_')} | {' | '.join(cells)} | {last['commit']}, {last['load']} |"


def floor_table(taken: Taken) -> Iterator[str]:
    if not any(key in taken for key in FLOORS):
        yield "Not taken."
        return
    yield "| seconds of an epoch, aligned, one thread | floor | measured | GFLOP of products | GFLOP/s | commit, load |"
    yield "|---|---|---|---|---|---|"
    for key, row in FLOORS.items():
        for line in taken.get(key, {}).get("lines", ()):
            notes = line["notes"]
            cells = (
                row.work,
                f"{notes['floor']:.3g}",
                whole(line["ours"], ""),
                f"{notes['flops'] / 1e9:.0f}",
                f"{notes['gflops_per_second']:.0f}",
                f"{line['commit']}, {line['load']}",
            )
            yield f"| {' | '.join(cells)} |"


def circumstances(taken: Taken) -> Iterator[str]:
    """When and where the figures were taken, in a sentence."""
    lines = [line for entry in taken.values() for line in entry["lines"]]
    if not lines:
        yield "No figure has been taken."
        return
    dates = sorted({line["date"] for line in lines})
    machines = sorted(
        {f"{m['cores']} cores of {m['processor']}, torch {m['torch']}" for m in (x["machine"] for x in lines)}
    )
    threads = sorted({str(line["threads"]) for line in lines})
    when = dates[0] if len(dates) == 1 else f"{dates[0]} to {dates[-1]}"
    yield f"Taken {when} on {'; '.join(machines)}; {' or '.join(threads)} thread."


TABLES: dict[str, Callable[[Taken], Iterator[str]]] = {
    "circumstances": circumstances,
    "work": work_table,
    "mixing": mixing_table,
    "floors": floor_table,
}
"""By the name in their markers."""


if __name__ == "__main__":
    main()
