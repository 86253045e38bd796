"""Published tables in their own layout, models down and datasets across, with ours and the difference below each row.

A last line says how many seeds the published gain over no mixing needs: a paired t-test with 80 % power at our own
standard deviation of the paired differences. Renderers (`terminal`, `formats`, `page`) only print what is decided here.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TypeGuard

from powmix.data.registry import TITLES as DATASETS
from powmix.metrics.columns import Metric, columns, metric
from powmix.metrics.statistics import MIN_INTERVAL, MOST_SEEDS, Comparison, seeds_needed
from powmix.mixing.registry import TITLES as MIXERS
from powmix.models.registry import TITLES as MODELS
from powmix.report.lines import MISSING, Text, text_of
from powmix.report.published import Published, PublishedRow, PublishedTable
from powmix.report.table import Row, Table

SWITCHES = {"Aniso.": "anisotropic", "Reweight": "reweight", "M.Share": "mask_sharing", "D.Mix": "dynamic"}
DAGGER = "†"
LABELS = {"ours": "ours", "difference": "ours − published", "seeds": "seeds needed"}
MAIN = ("Non0_acc_2", "Mult_acc_2", "MAE")
"""The metrics that sentences are about: the two that the paper's figures draw."""

MARKS = "* or bold: best of its model; ! or red: worse than no mixing."
QUOTED = f"{DAGGER} quoted by the publication from M-SENA."
NOTE = "Seeds needed: to show the published gain over no mixing, at our spread (paired t-test at 5 %, power 80 %)."

Place = tuple[str, str]
"""dataset, metric"""


@dataclass(frozen=True)
class Group:
    """The columns of one dataset."""

    dataset: str
    columns: tuple[Metric, ...]

    @property
    def title(self) -> str:
        return DATASETS.get(self.dataset, self.dataset)


@dataclass(frozen=True)
class PaperLine:
    """kind: published | ours | difference | seeds. heads: what stands before the numbers."""

    kind: str
    heads: tuple[str, ...]
    cells: Mapping[Place, Text]

    def texts(self, groups: Sequence[Group]) -> list[Text]:
        """The cells of these groups in order; nothing published and nothing measured is a dash."""
        return [self.cells.get((group.dataset, m.key), MISSING) for group in groups for m in group.columns]


@dataclass(frozen=True)
class PaperTable:
    """One table to print. blocks: lines that belong together, such as those of one model. own: our rows alone."""

    title: str
    source: str
    heads: tuple[str, ...]
    groups: tuple[Group, ...]
    blocks: tuple[tuple[PaperLine, ...], ...]
    note: str
    own: bool = False


def paper_tables(published: Published, table: Table) -> list[PaperTable]:
    """Every published table with ours beside it, and where there are rows of ours, these alone in the same layout."""
    found = []
    for one in published.tables:
        if one.shown_in is None:
            above = [row for other in published.tables if other.shown_in == one.name for row in other.rows]
            if any(row.mixer != "none" for row in one.rows):
                found += _ours_alone(one, above, published, table)
            found.append(_beside_ours(one, above, published, table))
    return found


def needs(published: Published, table: Table) -> list[str]:
    """For each published gain of a row that we have, how many seeds would show it at our own spread."""
    found = []
    for one in published.tables:
        reference = {row.variant: row for row in one.rows if row.mixer == "none"}
        for known in one.rows:
            base, ours = reference.get((*known.variant[:2], "none")), _ours(known, published, table)
            if base is not None and ours is not None and known is not base:
                found.append(_sentence(known, base, ours))
    return found


def _sentence(known: PublishedRow, base: PublishedRow, ours: Row) -> str:
    parts = []
    for m in (metric(key) for key in MAIN if key in known.values and key in base.values):
        gain = m.show_difference(known.values[m.key] - base.values[m.key])
        cell = ours.cells.get(m.key)
        c = cell.comparison if cell else None
        if not _has_spread(c):
            parts.append(f"{m.label} {gain}: our spread is unknown (paired seeds of ours: {c.n if c else 0})")
            continue
        seeds = _seeds(known, base, m, c)
        needed = "no gain is published" if seeds == MISSING.mean else f"needs about {seeds} seeds (we have {c.n})"
        parts.append(f"{m.label} {gain}: {needed}")
    return f"{known.title}, {DATASETS.get(known.dataset, known.dataset)}, {known.label}: {'; '.join(parts)}"


def _has_spread(c: Comparison | None) -> TypeGuard[Comparison]:
    """Whether there are seeds enough for a standard deviation to mean something, and they differ."""
    return c is not None and c.n >= MIN_INTERVAL and bool(c.std)


def _seeds(known: PublishedRow, base: PublishedRow, m: Metric, c: Comparison) -> str:
    gain = known.values[m.key] - base.values[m.key]
    if gain == 0:
        return MISSING.mean
    seeds = seeds_needed(gain, c.std or 0.0)
    return f">{MOST_SEEDS}" if math.isinf(seeds) else str(seeds)


def _beside_ours(one: PublishedTable, above: Sequence[PublishedRow], published: Published, table: Table) -> PaperTable:
    """The whole table. above: the rows it quotes; ours stand below those of which it has no row of its own."""
    own = {row.variant for row in one.rows}
    with_ours = {id(row): _ours(row, published, table) for row in [*above, *one.rows]}
    with_ours |= {id(row): None for row in above if row.variant in own}
    heads = _head_names(one)
    quoted = tuple(line for same in _same(above) for line in _lines(same, one.rows, with_ours, heads, DAGGER))
    blocks: dict[str, list[PaperLine]] = {}
    mixed = any(row.mixer != "none" for row in one.rows)
    for same in _same(one.rows):
        blocks.setdefault(same[0].model if mixed else "", []).extend(_lines(same, one.rows, with_ours, heads))
    shown = tuple(block for block in (quoted, *map(tuple, blocks.values())) if block)
    note = f"{MARKS} {QUOTED} " if above else f"{MARKS} "
    return PaperTable(one.title, one.source, heads, _groups([*above, *one.rows]), shown, note + NOTE)


def _ours_alone(
    one: PublishedTable, above: Sequence[PublishedRow], published: Published, table: Table
) -> list[PaperTable]:
    """Our rows in the table's layout, on any data, below the rows it quotes; nothing where we have none of them."""
    heads = _head_names(one)
    blocks: dict[str, list[PaperLine]] = {}
    groups: dict[str, Group] = {group.dataset: group for group in _groups([*above, *one.rows])}
    found: dict[str, Group] = {}
    ablated = False
    for dataset in dict.fromkeys(row.record.dataset for row in table.rows):
        for known in (same[0] for same in _same(one.rows)):
            row = _ours(replace(known, dataset=dataset), published, table)
            if row is not None:
                ablated |= known.ablation is not None
                found[dataset] = groups.get(dataset) or Group(dataset, columns(row.record.seeds[0].test))
                cells = {(dataset, m.key): text_of(row, m) for m in found[dataset].columns}
                blocks.setdefault(known.model, []).append(PaperLine("ours", _heads(known, len(heads), ""), cells))
    if not found or (len(heads) > 1 and not ablated):
        return []
    quoted = [line for same in _same(above) for line in _lines(same, (), {}, heads, DAGGER)]
    quoted = [line for line in quoted if found.keys() & {dataset for dataset, _ in line.cells}]
    order = [model for model in dict.fromkeys(row.model for row in one.rows) if model in blocks]
    shown = tuple(block for block in (tuple(quoted), *(_joined(blocks[model]) for model in order)) if block)
    note = f"{MARKS} Mean over seeds." + (f" {QUOTED}" if quoted else "")
    return [PaperTable(f"{one.title}: ours", one.source, heads, tuple(found.values()), shown, note, own=True)]


def _joined(lines: Sequence[PaperLine]) -> tuple[PaperLine, ...]:
    """Lines of one variant on several datasets as one."""
    cells: dict[tuple[str, ...], dict[Place, Text]] = {}
    for line in lines:
        cells.setdefault(line.heads, {}).update(line.cells)
    return tuple(PaperLine("ours", heads, joined) for heads, joined in cells.items())


def _head_names(one: PublishedTable) -> tuple[str, ...]:
    return tuple(SWITCHES) if any(row.ablation for row in one.rows) else ("Model",)


def _same(rows: Sequence[PublishedRow]) -> list[list[PublishedRow]]:
    """Rows of one variant on the datasets that have it."""
    found: dict[tuple, list[PublishedRow]] = {}
    for row in rows:
        found.setdefault((row.model, row.mixer, row.ablation), []).append(row)
    return list(found.values())


def _lines(
    same: Sequence[PublishedRow],
    table: Sequence[PublishedRow],
    with_ours: Mapping[int, Row | None],
    heads: Sequence[str],
    mark: str = "",
) -> list[PaperLine]:
    """The published line of a variant, and below it ours, the difference and the seeds needed, where there are any."""
    printed: dict[Place, Text] = {}
    ours: dict[Place, Text] = {}
    gaps: dict[Place, Text] = {}
    seeds: dict[Place, Text] = {}
    for known in same:
        row = with_ours.get(id(known))
        base = None if mark else _baseline(known, table)
        for key, value in known.values.items():
            m, place = metric(key), (known.dataset, key)
            printed[place] = Text(known.text[key], "", *(() if mark else _emphasis(known, m, table)))
            cell = row.cells.get(key) if row else None
            if row is None or cell is None:
                continue
            mean, std = known.show(m, cell.summary.mean), cell.summary.std
            ours[place] = replace(text_of(row, m), mean=mean, std="" if std is None else known.show(m, std))
            gaps[place] = Text(known.show_difference(m, cell.summary.mean - value))
            if base is not None and _has_spread(cell.comparison):
                seeds[place] = Text(_seeds(known, base, m, cell.comparison))
    rest = [""] * (len(heads) - 1)
    kinds = {"ours": ours, "difference": gaps, "seeds": seeds}
    below = [PaperLine(kind, (LABELS[kind], *rest), cells) for kind, cells in kinds.items() if cells]
    return [PaperLine("published", _heads(same[0], len(heads), mark), printed), *below]


def _heads(known: PublishedRow, n_heads: int, mark: str) -> tuple[str, ...]:
    """Table 3 names a row by its switches, the others by model and mixer."""
    if n_heads > 1:
        has = {name: known.settings.get(key, True) not in (False, "uniform") for name, key in SWITCHES.items()}
        has["M.Share"] &= has["D.Mix"]  # without a mask there is none to share
        return tuple("✓" if on else "" for on in has.values())
    model = MODELS.get(known.model, known.model)
    return (f"+ {MIXERS.get(known.mixer, known.mixer)}" if known.mixer != "none" else f"{model}{mark}",)


def _baseline(known: PublishedRow, table: Sequence[PublishedRow]) -> PublishedRow | None:
    """The table's row without mixing of the same model and data; None for itself."""
    if known.mixer == "none":
        return None
    return next((row for row in table if row.variant == (*known.variant[:2], "none")), None)


def _emphasis(known: PublishedRow, m: Metric, table: Sequence[PublishedRow]) -> tuple[bool, bool]:
    """(best of its model, worse than no mixing), by the table's caption, from the digits."""
    alike = [
        row.values[m.key] * m.sign for row in table if row.variant[:2] == known.variant[:2] and m.key in row.values
    ]
    value, base = known.values[m.key] * m.sign, _baseline(known, table)
    best = len(set(alike)) > 1 and value == max(alike)
    return best, base is not None and value < base.values[m.key] * m.sign


def _ours(known: PublishedRow, published: Published, table: Table) -> Row | None:
    """The row of ours that a published one belongs to, under the protocol that is comparable with publications."""
    return published.owner(known, [row for row in table.rows if row.record.protocol == "published"])


def _groups(rows: Sequence[PublishedRow]) -> tuple[Group, ...]:
    """The columns of every dataset, in the publication's order."""
    found: dict[str, dict[str, Metric]] = {}
    for row in rows:
        found.setdefault(row.dataset, {}).update({key: metric(key) for key in row.values})
    return tuple(Group(dataset, tuple(metrics.values())) for dataset, metrics in found.items())
