"""report.html: one page that opens offline, with sortable tables, inline figures and the runs behind every number."""

import os
from collections.abc import Callable, Iterable, Sequence
from html import escape
from importlib.resources import files
from pathlib import Path

from powmix.metrics.columns import Metric
from powmix.metrics.statistics import ALPHA, MIN_INTERVAL, MIN_T, MIN_WILCOXON, Comparison
from powmix.report import analyses
from powmix.report import lines as printed
from powmix.report.claims import CLAIM_COLUMNS, CLAIMS, Checked, claim_cells
from powmix.report.lines import Line, Text
from powmix.report.paper_tables import PaperTable, needs, paper_tables
from powmix.report.published import Published
from powmix.report.run_cards import anchor, fallback_table, run_card
from powmix.report.table import Block, Row, Section, Table
from powmix.report.verdict import show_interval, verdicts
from powmix.runs.collection import Collection, Failure

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
) -> str:
    """The page's text; `figures` are (name, title, svg), `folder` is where the page will lie (for links to runs)."""
    parts = [
        _header(title, table, found),
        "<main>",
        _verdicts(table),
        *[_section(section, published=published) for section in table.sections],
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
    return f'<td{style} data-value="{value!r}"><a href="#{link}">{text.mean}{std}</a></td>'


def _header(title: str, table: Table, found: Collection) -> str:
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
    copies = f"; {found.duplicates} duplicate folder(s) left out" if found.duplicates else ""
    return (
        f'<header><div><h1>{escape(title)}</h1><p class="soft">Test metrics, mean ± standard deviation over seeds '
        f'(ddof 1){copies}.</p><div class="facts">{shown}</div></div></header><nav><div>{nav}</div></nav>'
    )


def _verdicts(table: Table) -> str:
    items = [_verdict(*one) for one in verdicts(table)]
    shown, rest = "".join(items[:SHOWN]), "".join(items[SHOWN:])
    listed = f'<div class="card"><ul class="verdicts">{shown}</ul></div>' if items else ""
    asked = _list(analyses.sentences(table))
    more = (
        f"<details><summary>{len(items) - SHOWN} more</summary><div class='card'><ul class='verdicts'>{rest}</ul></div>"
    )
    return (
        '<h2 id="results">Does mixing help?</h2>'
        + (listed or "<p>Nothing to compare: no mixer among these runs.</p>")
        + (f"{more}</details>" if rest else "")
        + (f"<h3>In the analyses</h3>{asked}" if asked else "")
    )


def _verdict(row: Row, kind: str, sentence: str) -> str:
    name = f'<a href="#{anchor(row.record)}">{escape(row.label)}</a>'
    rest = escape(sentence.removeprefix(row.label))
    return f'<li><span class="badge {kind}">{kind}</span><span>{name}{rest}</span></li>'


def _section(section: Section, published: Published | None) -> str:
    blocks = (f"<h3>{escape(block.title)}</h3>{fragment(section, block, published)}" for block in section.blocks)
    return f"<h2>{escape(section.title)}</h2>" + "\n".join(blocks)


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
    return f'<h2 id="statistics">Against no mixing</h2><p class="soft">{explained}</p>{shown}{folded}'


def _comparisons(table: Table, wanted: Callable[[Row, Metric], bool]) -> str:
    names = ("Δ", "95% CI (t)", "95% CI (bootstrap)", "better on", "P(improve)", "p (t)", "p (Wilcoxon)")
    head = "<th>Variant</th><th>Metric</th>" + "".join(f"<th>{name}</th>" for name in names)
    rows = [
        _comparison(row, row.cells[m.key].comparison, m, f"{section.title}, {block.title}: ")
        for section in table.sections
        for block in section.blocks
        for row in block.rows
        for m in section.columns
        if wanted(row, m) and m.key in row.cells and row.cells[m.key].comparison
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
    cards = "\n".join(run_card(row, os.path.relpath(row.record.folder, folder)) for row in table.rows)
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
