"""What a multirun ends with: its variants compared, in the terminal and in its own folder."""

from collections.abc import Sequence
from pathlib import Path

from powmix.report import analyses, atlas, formats, terminal, variance
from powmix.report.building import build
from powmix.report.claims import Checked
from powmix.report.paper_tables import needs, paper_tables
from powmix.report.published import Published
from powmix.report.table import Table
from powmix.report.verdict import SEQUENTIAL, looks, summaries
from powmix.runs import collection
from powmix.runs.collection import Collection, Failure
from powmix.runs.files import replacing


def write_comparison(sweep_folder: Path, color: bool = False, width: int | None = None) -> str:
    """A sweep's folder -> table.md, table.csv, comparison.png, comparison.svg in it, and the text to print.

    Unfinished and failed jobs are listed with their reasons; ValueError where the folder holds no job at all.
    """
    sweep_folder = Path(sweep_folder)
    found = collection.read([sweep_folder])
    table = build(found.records, sequential=looks(found.sweeps))
    text = compare(found, table, color, width)
    write(sweep_folder / "table.md", markdown(sweep_folder.name, found, table))
    write(sweep_folder / "table.csv", formats.wide_csv(table))
    if table.rows:
        from powmix.report.figures import effects, style

        style.save(effects.draw(table), sweep_folder, "comparison")
    return text


def compare(
    found: Collection,
    table: Table,
    color: bool = False,
    width: int | None = None,
    published: Published | None = None,
    claims: Sequence[Checked] = (),
) -> str:
    """The table, a sentence per mixer, what is published and claimed, and what failed, as text for a terminal."""
    parts = [terminal.render(table, published, color, width)] if table.rows else ["No seed has finished.\n"]
    parts += [_bullets(found_out(table)), _bullets(table.notes)]
    if published:
        parts += [terminal.render_paper(one, color, width) for one in paper_tables(published, table)]
        parts.append(_bullets(needs(published, table)))
    if claims:
        parts.append(terminal.render_claims(claims, color, width))
    parts.append(_failures(found.failures))
    return "\n".join(part for part in parts if part)


def markdown(
    title: str,
    found: Collection,
    table: Table,
    published: Published | None = None,
    claims: Sequence[Checked] = (),
) -> str:
    """The same as a Markdown page: sentences, scores, differences, failures."""
    sentences = _bullets(found_out(table))
    failures = _bullets([failure.sentence for failure in found.failures])
    body = formats.markdown(table, published) if table.rows else "No seed has finished.\n"
    heading = f"\n## Not (wholly) in the table\n\n{failures}" if failures else ""
    parts = [f"# {title}\n\n{sentences}\n{body}{heading}"]
    parts.append(atlas.markdown(table))
    if published:
        parts += [formats.markdown_paper(one) for one in paper_tables(published, table)]
        parts.append(_bullets(needs(published, table)))
    if claims:
        parts.append(formats.markdown_claims(claims))
    return "\n".join(part for part in parts if part)


def found_out(table: Table) -> list[str]:
    """What the runs say, in sentences: of every mixer, of every analysis, of the sources of variance."""
    told = [SEQUENTIAL] if table.sequential else []
    return [*told, *summaries(table), *analyses.sentences(table), *variance.sentences(table), *atlas.sentences(table)]


def describe(run_folder: Path, color: bool = False, width: int | None = None) -> str:
    """One run's folder -> its table (mean ± std over seeds) as text, and what did not finish."""
    found = collection.read([Path(run_folder)])
    table = build(found.records)
    parts = [terminal.render(table, color=color, width=width)] if table.rows else ["No seed has finished.\n"]
    parts.append(_bullets([record.note for record in found.records if record.note]))
    return "\n".join([*filter(None, parts), _failures(found.failures)]).rstrip("\n") + "\n"


def write(path: Path, text: str) -> None:
    """Write, then rename: a reader never sees half a file."""
    with replacing(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


def _bullets(sentences: Sequence[str]) -> str:
    return "".join(f"- {sentence}\n" for sentence in sentences)


def _failures(failures: Sequence[Failure]) -> str:
    if not failures:
        return ""
    return f"Not (wholly) in the table ({len(failures)}):\n" + _bullets([failure.sentence for failure in failures])
