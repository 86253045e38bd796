"""The page's tables as HTML: scores, seed by seed, comparisons, the paper's. Every number links to its run."""

from collections.abc import Callable, Sequence
from html import escape

from powmix.metrics.columns import Metric
from powmix.metrics.statistics import ALPHA, MIN_INTERVAL, MIN_T, MIN_WILCOXON, Comparison
from powmix.report import lines as printed
from powmix.report.folds import named
from powmix.report.lines import Line, Text
from powmix.report.paper_tables import PaperTable
from powmix.report.published import Published
from powmix.report.run_cards import anchor
from powmix.report.table import Block, Row, Section, Table
from powmix.report.verdict import SEQUENTIAL, show_interval


def fragment(section: Section, block: Block, published: Published | None = None) -> str:
    """One block as an HTML table whose every number links to the run behind it."""
    head = "".join(f"<th>{escape(m.label)} {m.arrow}</th>" for m in section.columns)
    rows = "\n".join(_line(line, section.columns) for line in printed.lines(section, block, published))
    return html_table(f"<th>Variant</th><th>n</th>{head}", rows)


def html_table(head: str, rows: str) -> str:
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


def by_seed(block: Block) -> str:
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
    table = html_table(head, "\n".join(rows))
    return f"<details><summary>Seed by seed: test {escape(m.label)} {m.arrow}</summary>{table}</details>"


def statistics(table: Table) -> str:
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
    return html_table(head, "\n".join(rows)) if rows else ""


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
