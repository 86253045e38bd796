"""Tables as files: CSV (wide), CSV of all statistics (long), Markdown and LaTeX (booktabs)."""

import csv
from collections.abc import Iterator, Sequence
from io import StringIO
from typing import Any

from powmix.metrics.columns import Metric
from powmix.metrics.statistics import ALPHA, MIN_VERDICT
from powmix.report import lines as printed
from powmix.report.claims import CLAIM_COLUMNS, CLAIMS, Checked, claim_cells
from powmix.report.folds import Folded, parts
from powmix.report.lines import Line, Text
from powmix.report.paper_tables import PaperTable
from powmix.report.published import Published
from powmix.report.table import Block, Row, Section, Table
from powmix.report.verdict import show_interval

ARROWS = {"↑": r"$\uparrow$", "↓": r"$\downarrow$"}
LATEX_HEAD = "% \\usepackage{booktabs,tabularx,graphicx,amssymb}\n"
LATEX_ROWS = 40
"""Of a page."""
IDENTITY = ("dataset", "model", "protocol", "task", "mixer", "ablation", "label", "status", "n", "folds", "seeds")


def wide_csv(table: Table) -> str:
    """One row per variant; for each metric its mean, std and difference to the baseline, unrounded fractions."""
    keys = list(dict.fromkeys(m.key for section in table.sections for m in section.columns))
    rows = [
        {**_identity(row), **{f"{k}_{name}": value for k in keys for name, value in _spread(row, k).items()}}
        for row in table.rows
    ]
    return _csv([{**row, **_source(found)} for row, found in zip(rows, table.rows)])


def statistics_csv(table: Table) -> str:
    """One row per variant and metric: spread, intervals, tests, probability of improvement, and why one is absent."""
    rows = []
    for row in table.rows:
        for key, cell in row.cells.items():
            low, high = cell.summary.ci or ("", "")
            spread = {**_spread(row, key), "bootstrap_low": low, "bootstrap_high": high}
            rows.append({**_identity(row), "metric": key, **spread, **_comparison(row, key), **_source(row)})
    return _csv(rows)


def markdown(table: Table, published: Published | None = None) -> str:
    """Scores and, below them, differences to the baseline in every metric."""
    written = [line for section in table.sections for line in markdown_section(section, published)]
    written.append("Mean ± standard deviation over seeds (ddof 1). **Best** of its model; ▼ worse than no mixing.")
    written += [f"- {note}" for note in table.notes]
    return "\n".join(written) + "\n"


def markdown_section(section: Section, published: Published | None = None) -> list[str]:
    """One dataset's lines."""
    written = [f"## {section.title}", ""]
    for block in section.blocks:
        written += [f"### {block.title}", "", *_markdown_scores(section, block, published), ""]
        if block.compared:
            written += ["Difference to no mixing, paired by seed, [95% CI]:", ""]
            written += [*_markdown_differences(section, block), ""]
    return written


def latex(table: Table, published: Published | None = None) -> str:
    """Tables across both columns of a two-column article, one per dataset, of many rows several.

    Best in bold, worse than the baseline in italics, significance by + and -, so that it prints in grey. The preamble
    needs booktabs, tabularx and graphicx, and amssymb for the published Table 3.
    """
    return LATEX_HEAD + "\n".join(latex_section(section, table, published) for section in table.sections)


def markdown_paper(table: PaperTable) -> str:
    """A published table with ours beside it, all datasets in one row."""
    columns = [f"{group.title} {m.label} {m.arrow}" for group in table.groups for m in group.columns]
    written = [f"## {table.title}", "", _markdown_row([*table.heads, *columns])]
    written.append("|" + ":---|" * len(table.heads) + "---:|" * len(columns))
    for line in (line for block in table.blocks for line in block):
        heads = line.heads if line.kind == "published" or table.own else (f"*{line.heads[0]}*", *line.heads[1:])
        written.append(_markdown_row([*heads, *map(_markdown_cell, line.texts(table.groups))]))
    return "\n".join([*written, "", table.note]) + "\n"


def markdown_claims(claims: Sequence[Checked]) -> str:
    """The paper's claims with what our runs say to each."""
    rows = [_markdown_row(list(claim_cells(one))) for one in claims]
    return "\n".join([f"## {CLAIMS}", "", _markdown_row(list(CLAIM_COLUMNS)), "|:---" * 6 + "|", *rows]) + "\n"


def latex_paper(table: PaperTable) -> str:
    """A published table in the paper's layout: one group of columns per dataset."""
    n_columns = sum(len(group.columns) for group in table.groups)
    lead = " & ".join("" for _ in table.heads)
    groups = " & ".join(
        rf"\multicolumn{{{len(group.columns)}}}{{c}}{{{escape_latex(group.title)}}}" for group in table.groups
    )
    columns = [f"{escape_latex(m.label)} {ARROWS[m.arrow]}" for group in table.groups for m in group.columns]
    body = " \\midrule\n".join(
        "\n".join(_latex_paper_line(line.heads, line.texts(table.groups)) for line in block) for block in table.blocks
    )
    head = rf"{lead} & {groups} \\" + "\n" + " & ".join([*map(escape_latex, table.heads), *columns])
    places = "l" * len(table.heads) + "c" * n_columns
    note = table.note.replace("* or bold", "Bold").replace("! or red", "italic")
    shrunk = r"\resizebox{\ifdim\width>\linewidth\linewidth\else\width\fi}{!}{%"
    content = [shrunk, *_tabular("tabular", places, head, body), "}"]
    return _latex_table(escape_latex(f"{table.title}. {note}"), "\n".join(content))


def _latex_paper_line(heads: tuple[str, ...], texts: list[Text]) -> str:
    return " & ".join([*map(escape_latex, heads), *map(_latex_cell, texts)]) + r" \\"


def escape_latex(text: str) -> str:
    special = {
        "\\": r"\textbackslash{}",
        "~": r"\textasciitilde{}",
        "^": r"\textasciicircum{}",
        "−": "$-$",
        "±": r"$\pm$",
    }
    special |= {"✓": r"$\checkmark$", "†": r"$^\dagger$"}
    special |= {"—": "--", "Δ": r"$\Delta$", "↑": r"$\uparrow$", "↓": r"$\downarrow$", "<": "$<$", ">": "$>$"}
    special |= {character: "\\" + character for character in "&%$#_{}"}
    return "".join(special.get(character, character) for character in text)


def _identity(row: Row) -> dict[str, Any]:
    record = row.record
    found = {name: getattr(record, name, None) for name in IDENTITY}
    over = len(parts(row.record)) if isinstance(row.record, Folded) else ""
    seeds = " ".join("/".join(map(str, key)) if isinstance(key, tuple) else str(key) for key in row.seeds)
    return {**found, "label": row.label, "n": len(row.seeds), "folds": over, "seeds": seeds}


def _source(row: Row) -> dict[str, Any]:
    record = row.record
    return {
        "signature": " ".join(one.signature for one in parts(record)),
        "git": record.provenance.get("git") or "",
        "command": record.command,
        "folder": " ".join(str(one.folder) for one in parts(record)),
        "notes": "; ".join(row.notes),
    }


def _spread(row: Row, key: str) -> dict[str, Any]:
    cell = row.cells.get(key)
    c = cell.comparison if cell else None
    low, high = c.ci if c and c.ci else ("", "")
    return {
        "mean": cell.summary.mean if cell else "",
        "std": cell.summary.std if cell and cell.summary.std is not None else "",
        "difference": c.difference if c else "",
        "difference_low": low,
        "difference_high": high,
    }


def _comparison(row: Row, key: str) -> dict[str, Any]:
    c = row.cells[key].comparison
    names = ("p_t", "p_t_holm", "p_wilcoxon", "p_wilcoxon_holm", "wins", "probability", "reason")
    found = {name: getattr(c, name, None) for name in names}
    low, high = c.bootstrap if c and c.bootstrap else (None, None)
    found |= {"pairs": c.n if c else None, "difference_bootstrap_low": low, "difference_bootstrap_high": high}
    return {name: "" if value is None else value for name, value in found.items()}


def _csv(rows: list[dict[str, Any]]) -> str:
    file = StringIO()
    writer = csv.DictWriter(file, list(rows[0]) if rows else list(IDENTITY), lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return file.getvalue()


def _markdown_row(cells: list[str]) -> str:
    return "| " + " | ".join(cell.replace("|", "\\|").replace("\n", " ") for cell in cells) + " |"


def _markdown_head(section: Section) -> list[str]:
    head = _markdown_row(["Variant", "n", *[f"{m.label} {m.arrow}" for m in section.columns]])
    return [head, "|:---|---:|" + "---:|" * len(section.columns)]


def _markdown_scores(section: Section, block: Block, published: Published | None) -> list[str]:
    def row(line: Line) -> str:
        label = line.label if line.kind == "row" else f"*{line.label}*"
        return _markdown_row([label, line.seeds, *map(_markdown_cell, line.cells)])

    return _markdown_head(section) + [row(line) for line in printed.lines(section, block, published)]


def _markdown_cell(text: Text) -> str:
    return f"**{text.plain}**" if text.best else f"{text.plain} ▼" if text.worse else text.plain


def _markdown_differences(section: Section, block: Block) -> list[str]:
    rows = []
    for row in block.rows:
        if row.baseline:
            pairs = max((c.comparison.n for c in row.cells.values() if c.comparison), default=0)
            rows.append(_markdown_row([row.label, str(pairs), *[difference(row, m) for m in section.columns]]))
    return _markdown_head(section) + rows


def difference(row: Row, m: Metric) -> str:
    """`-0.012 [-0.020, -0.004]`, the interval left out where there are too few seeds."""
    cell = row.cells.get(m.key)
    c = cell.comparison if cell else None
    if c is None:
        return "—"
    return m.show_difference(c.difference) + (f" {show_interval(c, m)}" if c.ci else " (too few seeds)")


def latex_section(section: Section, table: Table, published: Published | None = None) -> str:
    """One dataset's tables: as many as pages hold."""
    head = " & ".join(["Model", "$n$", *[f"{escape_latex(m.label)} {ARROWS[m.arrow]}" for m in section.columns]])
    marks = any(_significant(row, m, table) for block in section.blocks for row in block.rows for m in section.columns)
    seeds = (
        ", $n$ seeds"
        if not any(row.uneven for block in section.blocks for row in block.rows)
        else (", $n$ seeds ($^\\dagger$: others than most)")
    )
    caption = (
        rf"{escape_latex(section.title)}: mean $\pm$ standard deviation{seeds}. Best \textbf{{bold}}, worse than no "
    )
    caption += r"mixing \textit{italic}"
    if marks:
        caption += "; $^+$, $^-$: better, worse by a paired $t$-test (5\\%, Holm)"
    blocks = [[*_latex_block(section, block, table, published)] for block in section.blocks]
    pages: list[list[list[str]]] = [[]]
    for part in (block[i : i + LATEX_ROWS] for block in blocks for i in range(0, len(block), LATEX_ROWS)):
        if pages[-1] and sum(map(len, pages[-1])) + len(part) > LATEX_ROWS:
            pages.append([])
        pages[-1].append(part)
    columns = f"@{{}}Xr{'c' * len(section.columns)}@{{}}"
    made = []
    for i, page in enumerate(pages):
        body = " \\midrule\n".join("\n".join(block) for block in page)
        more = " (continued)" * (i > 0)
        made.append(_latex_table(f"{caption}{more}.", "\n".join(_tabular("tabularx", columns, head, body))))
    return "\n".join(made)


def _tabular(kind: str, columns: str, head: str, body: str) -> list[str]:
    width = r"{\linewidth}" if kind == "tabularx" else ""
    rules = [r"\toprule", rf"{head} \\ \midrule", rf"{body} \bottomrule"]
    return [rf"\begin{{{kind}}}{width}{{{columns}}}", *rules, rf"\end{{{kind}}}"]


def _latex_table(caption: str, content: str) -> str:
    lead = [r"\begin{table*}[t]", r"\centering", r"\footnotesize", r"\setlength{\tabcolsep}{3pt}"]
    return "\n".join([*lead, rf"\caption{{{caption}}}", content, r"\end{table*}", ""])


def _significant(row: Row, m: Metric, table: Table) -> str:
    """`+` or `-` where the paired t-test says so after Holm's correction, on seeds enough for a verdict."""
    cell = row.cells.get(m.key)
    c = cell.comparison if cell else None
    if c is None or c.n < MIN_VERDICT or row.record.signature in table.sequential:
        return ""
    if c.p_t_holm is None or c.p_t_holm >= ALPHA:
        return ""
    return "+" if m.sign * c.difference > 0 else "-"


def _latex_block(section: Section, block: Block, table: Table, published: Published | None) -> Iterator[str]:
    for line in printed.lines(section, block, published):
        marks = [_significant(line.row, m, table) if line.row else "" for m in section.columns]
        cells = " & ".join(_latex_cell(text, mark) for text, mark in zip(line.cells, marks))
        yield rf"{_latex_label(block, line)} & {escape_latex(line.seeds)} & {cells} \\"


def _latex_label(block: Block, line: Line) -> str:
    """The paper's: the model's name for its baseline, `+ mixer` below it."""
    if line.row is None:
        return rf"\quad\footnotesize {escape_latex(line.label)}"
    if line.row.is_baseline:
        return escape_latex(block.title + line.label.removeprefix("no mixing"))
    return rf"\quad + {escape_latex(line.label)}"


def _latex_cell(text: Text, mark: str = "") -> str:
    mean = escape_latex(text.mean)
    if text.best or text.worse:
        mean = rf"\text{'bf' if text.best else 'it'}{{{mean}}}"
    std = rf"\,{{\scriptsize$\pm${text.std}}}" if text.std else ""
    return mean + std + (f"$^{mark}$" if mark else "")
