"""report.html: one page that opens offline, with sortable tables, inline figures and the runs behind every number."""

import json
import os
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from datetime import datetime
from html import escape
from importlib.resources import files
from pathlib import Path

from powmix.metrics.columns import Metric
from powmix.metrics.statistics import ALPHA, MIN_INTERVAL, MIN_T, MIN_WILCOXON, Comparison
from powmix.report import analyses, atlas, formats, variance
from powmix.report import lines as printed
from powmix.report.claims import CLAIM_COLUMNS, CLAIMS, Checked, claim_cells
from powmix.report.folds import named
from powmix.report.lines import Line, Text
from powmix.report.paper_tables import PaperTable, needs, paper_tables
from powmix.report.published import Published
from powmix.report.run_cards import anchor, fallback_table, run_card
from powmix.report.table import NO_BASELINE, Block, Row, Section, Table
from powmix.report.verdict import SEQUENTIAL, show_interval, verdicts
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
        _statistics(table),
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


def fragment(section: Section, block: Block, published: Published | None = None) -> str:
    """One block as an HTML table whose every number links to the run behind it."""
    head = "".join(f"<th>{escape(m.label)} {m.arrow}</th>" for m in section.columns)
    rows = "\n".join(_line(line, section.columns) for line in printed.lines(section, block, published))
    return _table(f"<th>Variant</th><th>n</th>{head}", rows)


def _table(head: str, rows: str) -> str:
    return (
        f'<div class="card scroll"><table class="sortable"><thead><tr>{head}</tr></thead>\n'
        f"<tbody>\n{rows}\n</tbody></table></div>"
    )


def _line(line: Line, columns: Sequence[Metric]) -> str:
    if line.row is None:
        cells = "".join(
            f'<td><a href="#source-{escape(line.source)}">{escape(text.mean)}</a></td>' for text in line.cells
        )
        return f'<tr class="{line.kind}" data-with="above"><td>{escape(line.label)}</td><td></td>{cells}</tr>'
    link = anchor(line.row.record)
    cells = "".join(_cell(text, link, line.row, m) for text, m in zip(line.cells, columns))
    return f'<tr><td><a href="#{link}">{escape(line.label)}</a></td><td>{line.seeds}</td>{cells}</tr>'


def _cell(text: Text, link: str, row: Row, m: Metric) -> str:
    if m.key not in row.cells:
        return "<td>—</td>"
    style = ' class="best"' if text.best else ' class="worse"' if text.worse else ""
    std = f"<small>± {text.std}</small>" if text.std else ""
    value = row.cells[m.key].summary.mean
    seeds = "; ".join(f"{named(key)}: {m.show(one)}" for key, one in row.record.values(m.key).items())
    return f'<td{style} data-value="{value!r}" title="{seeds}"><a href="#{link}">{text.mean}{std}</a></td>'


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
        f"<h3>{escape(block.title)}</h3>{fragment(section, block, published)}{_by_seed(block)}"
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


def _by_seed(block: Block) -> str:
    """Every seed's value of the main metric, a column per seed."""
    m = block.rows[0].main
    seeds = sorted(
        {key for row in block.rows for key in row.seeds}, key=lambda key: key if isinstance(key, tuple) else (-1, key)
    )
    rows = []
    for row in block.rows:
        values = row.record.values(m.key)
        cells = "".join(
            f'<td data-value="{values[key]!r}">{m.show(values[key])}</td>' if key in values else "<td>—</td>"
            for key in seeds
        )
        rows.append(f'<tr><td><a href="#{anchor(row.record)}">{escape(row.label)}</a></td>{cells}</tr>')
    head = "<th>Variant</th>" + "".join(f"<th>{named(key)}</th>" for key in seeds)
    table = _table(head, "\n".join(rows))
    return f"<details><summary>Seed by seed: test {escape(m.label)} {m.arrow}</summary>{table}</details>"


def _notes(table: Table) -> str:
    legend = "Bold: best of its model. Red: worse than no mixing. Click a heading to sort, a number for its runs."
    return f"<p class='soft'>{legend}</p>" + _list(table.notes)


def _list(items: Iterable[str]) -> str:
    shown = "".join(f"<li>{escape(item)}</li>" for item in items)
    return f'<ul class="plain soft">{shown}</ul>' if shown else ""


def _statistics(table: Table) -> str:
    """Every comparison with its interval and tests, Holm-corrected over the page; the main metric unfolded."""
    explained = (
        "Variant minus no mixing, paired by seed. Bold where Student's interval leaves out 0. p-values are corrected "
        f"by Holm's method over this page's {table.tests} comparisons (level {ALPHA}). Intervals need {MIN_INTERVAL} "
        f"paired seeds, the t-test {MIN_T}, Wilcoxon {MIN_WILCOXON}; below that the page says “too few”."
    )
    main = _comparisons(table, lambda row, m: m is row.main)
    others = _comparisons(table, lambda row, m: m is not row.main)
    shown = main or "<p>Nothing to compare.</p>"
    folded = f"<details><summary>The other metrics</summary>{others}</details>" if others else ""
    if table.sequential:
        explained += f" {SEQUENTIAL}"
    return f'<h2 id="statistics">Against no mixing</h2><p class="soft">{explained}</p>{shown}{folded}'


def _comparisons(table: Table, wanted: Callable[[Row, Metric], bool]) -> str:
    names = ("Δ", "95% CI (t)", "95% CI (bootstrap)", "better on", "P(improve)", "p (t)", "p (Wilcoxon)")
    head = "<th>Variant</th><th>Metric</th>" + "".join(f"<th>{name}</th>" for name in names)
    rows = [
        _comparison(row, c, m, f"{section.title}, {block.title}: ")
        for section in table.sections
        for block in section.blocks
        for row in block.rows
        for m in section.columns
        if wanted(row, m) and m.key in row.cells and (c := row.cells[m.key].comparison)
    ]
    return _table(head, "\n".join(rows)) if rows else ""


def _comparison(row: Row, c: Comparison, m: Metric, place: str) -> str:
    too_few = f"too few (n={c.n})"
    p_t = f"{c.p_t_holm:.3g}" if c.p_t_holm is not None else too_few if c.n < MIN_T else "—"
    p_w = f"{c.p_wilcoxon_holm:.3g}" if c.p_wilcoxon_holm is not None else too_few
    bootstrap = (
        f"[{m.show_difference(c.bootstrap[0])}, {m.show_difference(c.bootstrap[1])}]" if c.bootstrap else too_few
    )
    low, high = sorted(m.sign * bound for bound in c.ci) if c.ci else (0, 0)
    style = ' class="sure"' if low > 0 else ' class="wrong"' if high < 0 else ""
    link = anchor(row.record)
    gap = f'<a href="#{link}">{m.show_difference(c.difference)}</a>'
    return (
        f'<tr><td><a href="#{link}">{escape(place + row.label)}</a></td><td>{escape(m.label)} {m.arrow}</td>'
        f'<td{style} data-value="{c.difference!r}">{gap}</td><td>{show_interval(c, m) if c.ci else too_few}</td>'
        f"<td>{bootstrap}</td><td>{c.wins:g} of {c.n}</td><td>{c.probability:.2f}</td><td>{p_t}</td><td>{p_w}</td></tr>"
    )


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
    return f'<h2 id="claims">{CLAIMS}</h2>{_table(head, rows)}'


def paper_fragment(table: PaperTable) -> str:
    """A published table as HTML, one group of columns per dataset."""
    groups = "".join(f'<th colspan="{len(group.columns)}">{escape(group.title)}</th>' for group in table.groups)
    names = [*map(escape, table.heads)]
    names += [f"{escape(m.label)} {m.arrow}" for group in table.groups for m in group.columns]
    head = f'<tr><th colspan="{len(table.heads)}"></th>{groups}</tr><tr>{"".join(f"<th>{n}</th>" for n in names)}</tr>'
    rows = []
    for line in (line for block in table.blocks for line in block):
        heads = "".join(f"<td>{escape(head)}</td>" for head in line.heads)
        cells = "".join(_paper_cell(text) for text in line.texts(table.groups))
        rows.append(f'<tr class="{line.kind if table.own is False else ""}">{heads}{cells}</tr>')
    body = "\n".join(rows)
    return (
        f'<h3>{escape(table.title)}</h3><p class="soft">{escape(table.note)}</p><div class="card scroll"><table>'
        f"<thead>{head}</thead><tbody>\n{body}\n</tbody></table></div>"
    )


def _paper_cell(text: Text) -> str:
    style = ' class="best"' if text.best else ' class="worse"' if text.worse else ""
    std = f"<small>± {text.std}</small>" if text.std else ""
    return f"<td{style}>{escape(text.mean)}{std}</td>"


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
    return f'<h2 id="failures">Not (wholly) in the tables</h2>{_table(head, rows)}'
