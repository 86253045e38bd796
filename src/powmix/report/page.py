"""report.html: one page that opens offline, with sortable tables, inline figures and the runs behind every number."""

import json
import os
from collections.abc import Iterable, Sequence
from dataclasses import replace
from datetime import datetime
from html import escape
from importlib.resources import files
from pathlib import Path

from powmix.report import analyses, atlas, formats, variance
from powmix.report.claims import CLAIM_COLUMNS, CLAIMS, Checked, claim_cells
from powmix.report.page_tables import by_seed, fragment, html_table, paper_fragment, statistics
from powmix.report.paper_tables import needs, paper_tables
from powmix.report.published import Published
from powmix.report.run_cards import anchor, fallback_table, run_card
from powmix.report.table import NO_BASELINE, Row, Section, Table
from powmix.report.verdict import SEQUENTIAL, verdicts
from powmix.runs.collection import Collection, Failure
from powmix.runs.files import read_json

WIDE = 450  # points above which a figure takes a row of its own
SHOWN = 12  # sentences before the rest is folded


def render(
    table: Table,
    found: Collection,
    figures: Sequence[tuple[str, str, str]],
    folder: Path,
    published: Published | None = None,
    claims: Sequence[Checked] = (),
    title: str = "powmix report",
    command: str = "",
) -> str:
    """The page's text; `figures` are (name, title, svg), `folder` is where the page will lie (for links to runs).

    command: what it is made by; date, sweeps' own commands and it stand on top.
    """
    parts = [
        _header(title, table, found, command),
        "<main>",
        _verdicts(table),
        *[_section(section, table, published) for section in table.sections],
        _notes(table),
        statistics(table),
        fallback_table(table.rows),
        _published(published, table) if published else "",
        _claims(claims),
        _figures(figures),
        _runs(table, folder),
        _failures(found.failures, folder),
        "<footer>powmix-report: made from the runs' own files, without training anything again.</footer></main>",
    ]
    css, js = (files(__package__).joinpath(name).read_text("utf-8") for name in ("page.css", "page.js"))
    head = f'<meta charset="utf-8"><meta name="viewport" content="width=device-width"><title>{escape(title)}</title>'
    body = "\n".join(part for part in parts if part)
    return (
        f'<!DOCTYPE html>\n<html lang="en"><head>{head}<link rel="icon" href="data:,"><style>\n{css}</style></head>'
        f"<body>\n{body}\n<script>\n{js}</script></body></html>\n"
    )


def _header(title: str, table: Table, found: Collection, command: str) -> str:
    seeds = sum(len(row.seeds) for row in table.rows)
    facts = {
        "variants": len(table.rows),
        "runs (variant × seed)": seeds,
        "datasets": len({row.record.dataset for row in table.rows}),
        "not in the table": len(found.failures),
    }
    shown = "".join(f"<div><b>{value}</b><span>{name}</span></div>" for name, value in facts.items())
    links = {"results": "Results", "statistics": "Statistics", "fallbacks": "Fallbacks", "figures": "Figures"}
    links |= {"runs": "Runs"} | ({"failures": "Failures"} if found.failures else {})
    nav = "".join(f'<a href="#{key}">{name}</a>' for key, name in links.items())
    nav += '<button id="theme" title="dark or light">◐</button>'
    copies = f"; {found.duplicates} duplicate folder(s) left out" if found.duplicates else ""
    return (
        f'<header><div><h1>{escape(title)}</h1><p class="soft">Test metrics, mean ± standard deviation over seeds '
        f'(ddof 1){copies}.</p>{_origin(table, found, command)}<div class="facts">{shown}</div></div></header>'
        f"<nav><div>{nav}</div></nav>"
    )


def _origin(table: Table, found: Collection, command: str) -> str:
    """When and by which commands the page and its runs were made."""
    days = sorted({str(row.record.provenance.get("created") or "")[:10] for row in table.rows} - {""})
    told = [f"<dt>made</dt><dd>{datetime.now():%Y-%m-%d %H:%M}</dd>"]
    told += [f"<dt>by</dt><dd><code>{escape(command)}</code></dd>"] if command else []
    told += [f"<dt>runs of</dt><dd>{' to '.join(dict.fromkeys((days[0], days[-1])))}</dd>"] if days else []
    for folder in found.sweeps:
        if own := (read_json(folder / "sweep.json") or {}).get("command"):
            told.append(f"<dt>sweep {escape(folder.name)}</dt><dd><code>{escape(own)}</code></dd>")
    return f'<dl class="soft">{"".join(told)}</dl>'


def _verdicts(table: Table) -> str:
    items = [_verdict(*one) for one in verdicts(table) if NO_BASELINE not in one[0].notes]
    shown, rest = "".join(items[:SHOWN]), "".join(items[SHOWN:])
    listed = f'<div class="card"><ul class="verdicts">{shown}</ul></div>' if items else ""
    asked = _list([*analyses.sentences(table), *variance.sentences(table), *atlas.sentences(table)])
    more = (
        f"<details><summary>{len(items) - SHOWN} more</summary><div class='card'><ul class='verdicts'>{rest}</ul></div>"
    )
    return (
        '<h2 id="results">Does mixing help?</h2>'
        + (f'<p class="soft">{escape(SEQUENTIAL)}</p>' if table.sequential else "")
        + (listed or "<p>Nothing to compare: no mixer among these runs.</p>")
        + (f"{more}</details>" if rest else "")
        + (f"<h3>In the analyses</h3>{asked}" if asked else "")
    )


def _verdict(row: Row, kind: str, sentence: str) -> str:
    name = f'<a href="#{anchor(row.record)}">{escape(row.label)}</a>'
    rest = escape(sentence.removeprefix(row.label))
    return f'<li><span class="badge {kind}">{kind}</span><span>{name}{rest}</span></li>'


def _section(section: Section, table: Table, published: Published | None) -> str:
    blocks = (
        f"<h3>{escape(block.title)}</h3>{fragment(section, block, published)}{by_seed(block)}"
        for block in section.blocks
    )
    return f"<h2>{escape(section.title)}</h2>{_copies(section, table, published)}" + "\n".join(blocks)


def _copies(section: Section, table: Table, published: Published | None) -> str:
    """Buttons that copy the section's table, and what they copy."""
    texts = {
        "LaTeX": formats.LATEX_HEAD + formats.latex_section(section, table, published),
        "Markdown": "\n".join(formats.markdown_section(section, published)),
        "CSV": formats.wide_csv(replace(table, sections=(section,))),
    }
    buttons = "".join(f'<button data-copy="{name}">{name}</button>' for name in texts)
    held = json.dumps(texts, ensure_ascii=False).replace("<", "\\u003c")
    return f'<p class="copy soft">Copy as {buttons}<script type="application/json">{held}</script></p>'


def _notes(table: Table) -> str:
    legend = "Bold: best of its model. Red: worse than no mixing. Click a heading to sort, a number for its runs."
    return f"<p class='soft'>{legend}</p>" + _list(table.notes)


def _list(items: Iterable[str]) -> str:
    shown = "".join(f"<li>{escape(item)}</li>" for item in items)
    return f'<ul class="plain soft">{shown}</ul>' if shown else ""


def _published(published: Published, table: Table) -> str:
    """The publications, their tables with ours beside them, and the seeds that their gains need."""
    sources = {one.source: (escape(one.citation), escape(one.url)) for one in published.tables}
    items = "".join(
        f'<li id="source-{escape(source)}">{citation} <a href="{url}">{url}</a></li>'
        for source, (citation, url) in sources.items()
    )
    caution = "<p class='soft'>Published numbers belong to the publication's own features, split and seeds.</p>"
    shown = "\n".join(map(paper_fragment, paper_tables(published, table)))
    return f'<h2 id="published">Published numbers</h2>{caution}<ul class="plain">{items}</ul>{shown}' + _list(
        needs(published, table)
    )


def _claims(claims: Sequence[Checked]) -> str:
    if not claims:
        return ""
    head = "".join(f"<th>{escape(name)}</th>" for name in CLAIM_COLUMNS)
    cell = '<td style="white-space:normal;text-align:left">'
    rows = "\n".join(
        "<tr>" + "".join(f"{cell}{escape(text)}</td>" for text in claim_cells(one)) + "</tr>" for one in claims
    )
    return f'<h2 id="claims">{CLAIMS}</h2>{html_table(head, rows)}'


def _figures(figures: Sequence[tuple[str, str, str]]) -> str:
    shown = "\n".join(
        f'<figure class="card{" wide" if _width(svg) > WIDE else ""}" id="{escape(name)}">'
        f"<figcaption>{escape(title)}</figcaption>{svg}</figure>"
        for name, title, svg in figures
    )
    listed = f'<div class="figures">{shown}</div>' if shown else "<p>None were asked for.</p>"
    return f'<h2 id="figures">Figures</h2>{listed}'


def _width(svg: str) -> float:
    return float(svg.partition('viewBox="0 0 ')[2].partition(" ")[0])


def _runs(table: Table, folder: Path) -> str:
    cards = "\n".join(run_card(row, folder) for row in table.rows)
    return f'<h2 id="runs">Runs</h2>{cards}'


def _failures(failures: Sequence[Failure], folder: Path) -> str:
    if not failures:
        return ""
    rows = "\n".join(
        f'<tr><td>{escape(failure.name)}</td><td><span class="badge {escape(failure.status)}">{escape(failure.status)}'
        f'</span></td><td style="white-space:normal;text-align:left">{escape(failure.reason)}</td>'
        f'<td><a href="{escape(os.path.relpath(failure.folder, folder))}">folder</a></td></tr>'
        for failure in failures
    )
    head = "<th>Run</th><th>Status</th><th style='text-align:left'>Why</th><th>Where</th>"
    return f'<h2 id="failures">Not (wholly) in the tables</h2>{html_table(head, rows)}'
