"""Records -> the table: sorted into sections and blocks, each row with its baseline, marked, corrected over all."""

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import PurePath
from typing import Any

from powmix.data.registry import TITLES as DATASETS
from powmix.metrics.columns import Metric, columns, convention, metric
from powmix.metrics.statistics import Comparison, compare, correct, summarise
from powmix.mixing.registry import TITLES as MIXERS
from powmix.models.registry import TITLES as MODELS
from powmix.report import folds, labels
from powmix.report.table import NO_BASELINE, Block, Cell, Row, Section, Table, fraction
from powmix.runs.records import Record


def build(
    records: Sequence[Record], main: str | None = None, sequential: Mapping[str, Mapping[str, Any]] | None = None
) -> Table:
    """Records -> table; `main` is the metric of the summaries (default: the runs' objective, on test).

    sequential: as in Table. The folds of a variant are one row.
    """
    records = folds.joined(records)
    keys = sorted({key for record in records for seed in record.seeds for key in seed.test})
    main_metric = metric(main or _default_main(records, keys))
    grouped: dict[tuple, dict[tuple, list[Record]]] = defaultdict(lambda: defaultdict(list))
    for record in records:
        grouped[(_order(DATASETS, record.dataset), _data(record), convention(record.seeds[0].test))][
            (_order(MODELS, record.model), record.protocol, record.task)
        ].append(record)
    sections = []
    for _, models in sorted(grouped.items()):
        measured = {key for found in models.values() for record in found for key in record.seeds[0].test}
        shown = columns(measured)
        own = main_metric
        if main_metric.key not in measured:
            own = metric(_default_main([one for found in models.values() for one in found], sorted(measured)))
        if own not in shown and own.key in measured:
            shown = (*shown, own)
        blocks = tuple(_block(models[key], shown, own) for key in sorted(models))
        sections.append(Section(_data_title(blocks[0], records), shown, blocks))
    return _corrected(Table(tuple(sections), main_metric, asked=main is not None, sequential=sequential or {}))


def _default_main(records: Sequence[Record], keys: Sequence[str]) -> str:
    objective = records[0].objective_metric if records else "MAE"
    if objective in keys:
        return objective
    return next((key for key in ("MAE", "Accuracy", "mAP") if key in keys), "MAE")


def _order(known: Mapping[str, str], name: str) -> tuple[int, str]:
    return (list(known).index(name) if name in known else len(known), name)


def _data(record: Record) -> tuple[float, str]:
    """What makes two runs' data the same: the fraction used (negative: the whole data first) and the file's digest."""
    dataset = record.provenance.get("dataset")
    digest = dataset.get("digest") if isinstance(dataset, Mapping) else None
    return -fraction(record), str(digest or "")


def _data_title(block: Block, records: Sequence[Record]) -> str:
    record = block.rows[0].record
    title = DATASETS.get(record.dataset, record.dataset)
    alike = [other for other in records if other.dataset == record.dataset and fraction(other) == fraction(record)]
    digests = {_data(other)[1] for other in alike}
    if len(digests) > 1:
        path = record.option("dataset.path")
        title += f" ({PurePath(str(path)).stem if path else 'data'} {_data(record)[1][:6]})".replace(" )", ")")
    return title if fraction(record) == 1.0 else f"{title}, {fraction(record):.0%} of the training data"


def _block(records: list[Record], columns: tuple[Metric, ...], main: Metric) -> Block:
    named = sorted(
        zip(labels.labels(records), records),
        key=lambda pair: (_order(MIXERS, pair[1].mixer), pair[1].ablation or "", labels.natural(pair[0])),
    )
    rows = [_row(label, record, records, columns, main) for label, record in named]
    first = records[0]
    title = MODELS.get(first.model, first.model)
    if first.protocol != "published":
        title += f", protocol {first.protocol}"
    if first.task != "regression":
        title += f", {first.task}"
    rows = _counted(_marked(rows, columns))
    return Block(title, first.dataset, first.model, tuple(rows), tuple(_block_notes(rows)))


def _counted(rows: Sequence[Row]) -> list[Row]:
    """Rows with those flagged whose seeds are not those of most."""
    sets = [frozenset(row.seeds) for row in rows]
    usual = max(sets, key=sets.count)
    return [replace(row, uneven=own != usual) for row, own in zip(rows, sets)]


def _block_notes(rows: Sequence[Row]) -> Iterator[str]:
    if uneven := [row for row in rows if row.uneven]:
        usual = next(row for row in rows if not row.uneven)
        told = ", ".join(f"{row.label} {len(row.seeds)}" for row in uneven)
        yield f"† not on the same seeds ({told}; the others {len(usual.seeds)}): scores are over each variant's own"
    if over := {len(row.record.folds) for row in rows if isinstance(row.record, folds.Folded)}:
        yield (
            f"mean over {' or '.join(map(str, sorted(over)))} folds and their seeds, paired by fold and seed; folds "
            "share training data, so intervals are narrower than they should be"
        )
    if any(NO_BASELINE in row.notes for row in rows):
        yield NO_BASELINE


def _row(label: str, record: Record, block: Sequence[Record], columns: Sequence[Metric], main: Metric) -> Row:
    baseline, notes = _baseline(record, block)
    cells = {}
    for m in columns:
        values = record.values(m.key)
        if values:
            against = compare(values, baseline.values(m.key), m.higher_is_better) if baseline else None
            cells[m.key] = Cell(summarise(list(values.values())), against)
    if record.status != "finished":
        notes = (*notes, f"{record.status}: {len(record.seeds)} seed(s) so far")
    if record.note:
        notes = (*notes, record.note)
    return Row(record, label, cells, main, baseline, notes)


def _baseline(record: Record, block: Sequence[Record]) -> tuple[Record | None, tuple[str, ...]]:
    """The variant without mixing trained most alike, and what a reader must know about it."""
    if record.mixer == "none":
        return None, ()
    candidates = [other for other in block if other.mixer == "none"]
    if not candidates:
        return None, (NO_BASELINE,)
    best = min(candidates, key=lambda other: (len(labels.differences(record, other)), -len(other.seeds)))
    differing = labels.differences(record, best)
    notes = [f"its baseline was trained with other settings: {', '.join(differing[:6])}"] if differing else []
    ours, theirs = set(folds.keys(record)), set(folds.keys(best))
    if not ours & theirs:
        notes.append("no seed in common with its baseline")
    elif ours != theirs:
        notes.append(f"compared on the {len(ours & theirs)} seed(s) that its baseline has too")
    return best, tuple(notes)


def _marked(rows: Sequence[Row], columns: Sequence[Metric]) -> list[Row]:
    """Rows with their best and worse-than-baseline cells flagged, at the printed precision."""
    best = {}
    for m in columns:
        means = [m.rounded(row.cells[m.key].summary.mean) for row in rows if m.key in row.cells]
        if len(set(means)) > 1:
            best[m.key] = max(means) if m.higher_is_better else min(means)
    marked = []
    for row in rows:
        cells = {
            m.key: replace(
                row.cells[m.key],
                best=m.rounded(row.cells[m.key].summary.mean) == best.get(m.key),
                worse=_is_worse(row.cells[m.key].comparison, m),
            )
            for m in columns
            if m.key in row.cells
        }
        marked.append(replace(row, cells=cells))
    return marked


def _is_worse(comparison: Comparison | None, m: Metric) -> bool:
    return comparison is not None and m.sign * m.rounded(comparison.difference) < 0


def _corrected(table: Table) -> Table:
    """The table with Holm's correction over all its comparisons."""
    where = [(row, key) for row in table.rows for key, cell in row.cells.items() if cell.comparison]
    corrected = correct([row.cells[key].comparison for row, key in where])
    found = {(id(row), key): comparison for (row, key), comparison in zip(where, corrected)}

    def update(row: Row) -> Row:
        cells = {k: replace(c, comparison=found.get((id(row), k), c.comparison)) for k, c in row.cells.items()}
        return replace(row, cells=cells)

    sections = tuple(
        replace(s, blocks=tuple(replace(b, rows=tuple(update(row) for row in b.rows)) for b in s.blocks))
        for s in table.sections
    )
    return replace(table, sections=sections, tests=sum(c is not None and c.p_t is not None for c in corrected))
