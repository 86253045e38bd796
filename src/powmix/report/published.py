"""Published numbers to stand beside ours, read from one data file (`paper.yaml`) that names their source."""

from collections.abc import Mapping
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from typing import Any

import yaml

from powmix.metrics.columns import COLUMNS, DATASETS, MIXERS, MODELS, Metric, metric

UNITS = ("fraction", "hundredths", "printed")


@dataclass(frozen=True)
class PublishedRow:
    """One published row; `values` are fractions as on our disk, `text` is what the publication prints."""

    source: str
    title: str
    dataset: str
    model: str
    mixer: str
    ablation: str | None
    values: Mapping[str, float]
    text: Mapping[str, str]
    unit: str

    @property
    def key(self) -> tuple[str, str, str, str | None]:
        return self.dataset, self.model, self.mixer, self.ablation

    def printed(self, key: str, m: Metric) -> str:
        """The value in our columns' units; the publication's own digits where its unit is ours."""
        return self.text[key] if self.unit == "printed" else m.show(self.values[key])


@dataclass(frozen=True)
class PublishedTable:
    """One table of a publication; `missing` says why it has no rows here."""

    name: str
    title: str
    source: str
    citation: str
    url: str
    rows: tuple[PublishedRow, ...]
    missing: str | None = None


def load(path: Path | None = None) -> list[PublishedTable]:
    """The tables of paper.yaml (or of `path`).

    ValueError: an unknown unit, metric, dataset, model or mixer, or an empty table that does not say why.
    """
    text = path.read_text(encoding="utf-8") if path else files(__package__).joinpath("paper.yaml").read_text("utf-8")
    try:
        # Numbers are read as text, so that 84.90 stays 84.90.
        content = yaml.load(text, Loader=yaml.BaseLoader)
    except yaml.YAMLError as error:
        raise ValueError(f"{path or 'paper.yaml'} is not valid YAML: {error}") from error
    return [_table(name, table, content["sources"]) for name, table in content["tables"].items()]


def by_variant(tables: list[PublishedTable]) -> dict[tuple[str, str, str, str | None], list[PublishedRow]]:
    found: dict[tuple[str, str, str, str | None], list[PublishedRow]] = {}
    for table in tables:
        for row in table.rows:
            found.setdefault(row.key, []).append(row)
    return found


def missing(tables: list[PublishedTable]) -> list[str]:
    """One sentence for each table whose numbers are not at hand."""
    return [f"{table.title} is not in paper.yaml: {table.missing}" for table in tables if table.missing]


def markdown(table: PublishedTable) -> str:
    """A published table as the publication prints it: its rows, its digits."""
    parts = [f"### {table.title}", "", f"{table.citation} {table.url}", ""]
    for dataset in dict.fromkeys(row.dataset for row in table.rows):
        rows = [row for row in table.rows if row.dataset == dataset]
        columns = [m for m in _columns(rows) if any(m.key in row.text for row in rows)]
        parts.append(
            f"| {DATASETS.get(dataset, dataset)} | " + " | ".join(f"{m.label} {m.arrow}" for m in columns) + " |"
        )
        parts.append("|:---|" + "---:|" * len(columns))
        for row in rows:
            parts.append(f"| {_name(row)} | " + " | ".join(row.text.get(m.key, "—") for m in columns) + " |")
        parts.append("")
    return "\n".join(parts + ([f"Missing: {table.missing}", ""] if table.missing else []))


def _columns(rows: list[PublishedRow]) -> list[Metric]:
    known = {m.key: m for columns in COLUMNS.values() for m in columns}
    order = list(COLUMNS["sims"] if "Mult_acc_3" in rows[0].text else COLUMNS["mosi"])
    return order + [metric(key) for key in rows[0].text if key not in known]


def _name(row: PublishedRow) -> str:
    model = MODELS.get(row.model, row.model)
    mixer = "" if row.mixer == "none" else f" + {MIXERS.get(row.mixer, row.mixer)}"
    return model + mixer + (f", {row.ablation}" if row.ablation else "")


def _table(name: str, table: dict[str, Any], sources: dict[str, dict]) -> PublishedTable:
    source, unit = table["source"], table.get("unit", "printed")
    if unit not in UNITS:
        raise ValueError(f"paper.yaml, {name}: unit got {unit!r}, allowed {', '.join(UNITS)}")
    rows = tuple(_row(name, table, row, source, unit) for row in table.get("rows") or ())
    if not rows and not table.get("missing"):
        raise ValueError(f"paper.yaml, {name}: no rows, and `missing` does not say why")
    citation, url = sources[source]["citation"], sources[source]["url"]
    return PublishedTable(name, table["title"], source, citation, url, rows, table.get("missing"))


def _row(name: str, table: dict[str, Any], row: dict[str, Any], source: str, unit: str) -> PublishedRow:
    text = dict(row["metrics"])
    for field, known in (("dataset", DATASETS), ("model", MODELS), ("mixer", MIXERS)):
        if row.get(field, "none") not in known:
            raise ValueError(f"paper.yaml, {name}: {field} got {row.get(field)!r}, allowed {', '.join(known)}")
    return PublishedRow(
        source=source,
        title=table["title"],
        dataset=row["dataset"],
        model=row["model"],
        mixer=row.get("mixer", "none"),
        ablation=row.get("ablation"),
        values={key: _fraction(name, key, value, unit) for key, value in text.items()},
        text=text,
        unit=unit,
    )


def _fraction(name: str, key: str, value: str, unit: str) -> float:
    try:
        number = float(value)
    except ValueError:
        raise ValueError(f"paper.yaml, {name}: {key} got {value!r}, expected a number") from None
    return number / {"fraction": 1.0, "hundredths": 100.0, "printed": metric(key).scale}[unit]
