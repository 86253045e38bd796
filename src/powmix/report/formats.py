"""Tables as files: CSV (wide), CSV of all statistics (long), Markdown and LaTeX (booktabs)."""

import csv
from collections.abc import Sequence
from io import StringIO
from typing import Any

from powmix.metrics.columns import Metric
from powmix.report import lines as printed
from powmix.report.claims import CLAIM_COLUMNS, CLAIMS, Checked, claim_cells
from powmix.report.lines import Line, Text
from powmix.report.paper_tables import PaperTable
from powmix.report.published import Published
from powmix.report.table import Block, Row, Section, Table
from powmix.report.verdict import show_interval

ARROWS = {"↑": r"$\uparrow$", "↓": r"$\downarrow$"}
IDENTITY = ("dataset", "model", "protocol", "task", "mixer", "ablation", "label", "status", "n", "seeds")


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
    parts = []
    for section in table.sections:
        parts += [f"## {section.title}", ""]
        for block in section.blocks:
            parts += [f"### {block.title}", "", *_markdown_scores(section, block, published), ""]
            if block.compared:
                parts += ["Difference to no mixing, paired by seed, [95% CI]:", ""]
                parts += [*_markdown_differences(section, block), ""]
    parts.append("Mean ± standard deviation over seeds (ddof 1). **Best** of its model; ▼ worse than no mixing.")
    parts += [f"- {note}" for note in table.notes]
    return "\n".join(parts) + "\n"


def latex(table: Table, published: Published | None = None) -> str:
    """booktabs tables, one per dataset: best in bold, worse than the baseline in red, arrows in the head.

    The preamble needs booktabs and xcolor, and amssymb for the published Table 3.
    """
    head = "% \\usepackage{booktabs,xcolor,amssymb}\n"
    return head + "\n".join(_latex_section(section, published) for section in table.sections)


def markdown_paper(table: PaperTable) -> str:
    """A published table with ours beside it, all datasets in one row."""
    columns = [f"{group.title} {m.label} {m.arrow}" for group in table.groups for m in group.columns]
    parts = [f"## {table.title}", "", _markdown_row([*table.heads, *columns])]
    parts.append("|" + ":---|" * len(table.heads) + "---:|" * len(columns))
    for line in (line for block in table.blocks for line in block):
        heads = line.heads if line.kind == "published" or table.own else (f"*{line.heads[0]}*", *line.heads[1:])
        parts.append(_markdown_row([*heads, *map(_markdown_cell, line.texts(table.groups))]))
    return "\n".join([*parts, "", table.note]) + "\n"


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
    return _latex_table(f"{table.title}. {table.note}", "l" * len(table.heads) + "c" * n_columns, head, body)


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
    return {**found, "label": row.label, "n": len(row.seeds), "seeds": " ".join(map(str, row.seeds))}


def _source(row: Row) -> dict[str, Any]:
    record = row.record
    return {
        "signature": record.signature,
        "git": record.provenance.get("git") or "",
        "command": record.command,
        "folder": str(record.folder),
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


def _latex_section(section: Section, published: Published | None) -> str:
    head = " & ".join(["Model", "$n$", *[f"{escape_latex(m.label)} {ARROWS[m.arrow]}" for m in section.columns]])
    body = " \\midrule\n".join(_latex_block(section, block, published) for block in section.blocks)
    caption = f"{section.title}: mean and standard deviation over n seeds. Best in bold, worse than no mixing in red."
    return _latex_table(caption, f"lr{'c' * len(section.columns)}", head, body)


def _latex_table(caption: str, columns: str, head: str, body: str) -> str:
    return "\n".join(
        [
            r"\begin{table}[t]",
            r"\centering",
            rf"\caption{{{escape_latex(caption)}}}",
            rf"\begin{{tabular}}{{{columns}}}",
            r"\toprule",
            rf"{head} \\ \midrule",
            rf"{body} \bottomrule",
            r"\end{tabular}",
            r"\end{table}",
            "",
        ]
    )


def _latex_block(section: Section, block: Block, published: Published | None) -> str:
    rows = []
    for line in printed.lines(section, block, published):
        cells = " & ".join(_latex_cell(text) for text in line.cells)
        rows.append(rf"{_latex_label(block, line)} & {line.seeds} & {cells} \\")
    return "\n".join(rows)


def _latex_label(block: Block, line: Line) -> str:
    """The paper's: the model's name for its baseline, `+ mixer` below it."""
    if line.row is None:
        return rf"\quad\footnotesize {escape_latex(line.label)}"
    if line.row.is_baseline:
        return escape_latex(block.title + line.label.removeprefix("no mixing"))
    return rf"\quad + {escape_latex(line.label)}"


def _latex_cell(text: Text) -> str:
    mean = escape_latex(text.mean)
    if text.best:
        mean = rf"\textbf{{{mean}}}"
    std = rf" {{\scriptsize $\pm$ {text.std}}}" if text.std else ""
    return rf"\textcolor{{red}}{{{mean}{std}}}" if text.worse else mean + std
