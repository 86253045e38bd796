"""The runs behind the numbers, in HTML: command, seeds, provenance, folder, and how often the mixing law fell back."""

import os
from collections.abc import Sequence
from html import escape
from pathlib import Path

from powmix.metrics.columns import columns
from powmix.report.folds import named, parts
from powmix.report.table import Row
from powmix.runs.records import Record
from powmix.runs.seed_records import SeedResult

FALLBACKS = {
    "mixed_rate": "mixed batches",
    "mean_k": "mean K",
    "label_spread": "label spread",
    "attention_rate": "eq. (5) undefined",
    "dropped_rate": "attention dropped",
}
RATES = ("mixed_rate", "attention_rate", "dropped_rate")


def anchor(record: Record) -> str:
    return f"run-{record.signature}"


def run_card(row: Row, page: Path) -> str:
    """One variant as a closed fold: open it by any of its numbers. page: the folder that the page will lie in."""
    record = row.record
    folders = [os.path.relpath(one.folder, page) for one in parts(record)]
    facts = {
        "command": f"<code>{escape(record.command or 'not recorded')}</code>",
        "seeds": escape(", ".join(map(named, row.seeds))),
        "git": f"<code>{escape(str(record.provenance.get('git') or 'not recorded'))}</code>{_dirty(record)}",
        "folder": ", ".join(f'<a href="{escape(one)}"><code>{escape(one)}</code></a>' for one in folders),
        "signature": ", ".join(f"<code>{escape(one.signature)}</code>" for one in parts(record)),
        "baseline": _baseline(row),
        **{name: escape(_plain(value)) for name, value in record.provenance.items() if name not in ("git", "dirty")},
    }
    listed = "".join(f"<dt>{escape(name)}</dt><dd>{value}</dd>" for name, value in facts.items() if value)
    status = "" if record.status == "finished" else f' <span class="badge running">{escape(record.status)}</span>'
    return (
        f'<details class="run" id="{anchor(record)}"><summary><b>{escape(row.place)}</b> '
        f"<span>{escape(row.label)}</span>{status}"
        f'<span class="soft">{len(row.seeds)} seed{"s" * (len(row.seeds) != 1)}</span></summary>'
        f"<dl>{listed}</dl>{''.join(map(_seeds, parts(record), folders))}</details>"
    )


def fallback_table(rows: Sequence[Row]) -> str:
    """Mixing statistics averaged over seeds: how often eq. (5) was 0/0 and how often a_m had to be dropped."""
    body = []
    for row in rows:
        means = {key: _mean(row.record.seeds, key) for key in FALLBACKS}
        if row.is_baseline or all(mean is None for mean in means.values()):
            continue
        link = anchor(row.record)
        cells = "".join(_rate(key, mean, link) for key, mean in means.items())
        name = escape(f"{row.place}: {row.label}")
        body.append(f'<tr><td><a href="#{link}">{name}</a></td>{cells}</tr>')
    head = "<th>Variant</th>" + "".join(f"<th>{name}</th>" for name in FALLBACKS.values())
    explained = (
        "Where every modality's mean activation is at most 0, eq. (5) is 0/0 and attention is uniform; where every "
        "chosen example of a row has attention 0, attention is dropped for that row."
    )
    table = (
        f'<div class="card scroll"><table class="sortable"><thead><tr>{head}</tr></thead><tbody>{"".join(body)}'
        "</tbody></table></div>"
    )
    shown = table if body else "<p>No mixing statistics among these runs.</p>"
    return f'<h2 id="fallbacks">Mixing and its fallbacks</h2><p class="soft">{explained}</p>{shown}'


def _mean(seeds: Sequence[SeedResult], key: str) -> float | None:
    values = [float(seed.mixing[key]) for seed in seeds if seed.mixing.get(key) is not None]
    return sum(values) / len(values) if values else None


def _rate(key: str, mean: float | None, link: str) -> str:
    if mean is None:
        return "<td>—</td>"
    text = f"{mean:.2%}" if key in RATES else f"{mean:.2f}"
    return f'<td data-value="{mean!r}"><a href="#{link}">{text}</a></td>'


def _seeds(record: Record, folder: str) -> str:
    shown = columns(record.seeds[0].test)
    head = "<th>Seed</th><th>best epoch</th><th>epochs</th><th>seconds</th>" + "".join(
        f"<th>{escape(m.label)} {m.arrow}</th>" for m in shown
    )
    rows = []
    for seed in record.seeds:
        scores = "".join(f"<td>{m.show(seed.test[m.key])}</td>" if m.key in seed.test else "<td>—</td>" for m in shown)
        seconds = f"{seed.seconds:.1f}" if seed.seconds is not None else "—"
        link = f'<a href="{escape(folder)}/{escape(seed.folder.name)}">{seed.seed}</a>'
        rows.append(
            f'<tr id="{anchor(record)}-{seed.seed}"><td>{link}</td><td>{_or_dash(seed.best_epoch)}</td>'
            f"<td>{_or_dash(seed.epochs)}</td><td>{seconds}</td>{scores}</tr>"
        )
    table = f'<table class="sortable"><thead><tr>{head}</tr></thead><tbody>{"".join(rows)}</tbody></table>'
    return f'<div class="scroll">{table}</div>'


def _or_dash(value: int | None) -> str:
    return "—" if value is None else str(value)


def _dirty(record: Record) -> str:
    return " (with uncommitted changes)" if record.provenance.get("dirty") else ""


def _baseline(row: Row) -> str:
    if row.baseline is None:
        return ""
    return f'<a href="#{anchor(row.baseline)}">{escape(row.baseline.name)}</a>'


def _plain(value: object) -> str:
    if isinstance(value, dict):
        return ", ".join(f"{key} {_plain(inner)}" for key, inner in value.items())
    if isinstance(value, list):
        return " / ".join(map(str, value))
    return str(value)
