"""Published numbers to stand beside ours, read from one data file (`paper.yaml`) that names their source."""

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from importlib.resources import files
from pathlib import Path
from typing import Any

import yaml

from powmix.data.registry import TITLES as DATASETS
from powmix.metrics.columns import Metric, metric
from powmix.mistakes import broken, choice, refuse
from powmix.mixing.registry import TITLES as MIXERS
from powmix.models.registry import TITLES as MODELS
from powmix.report.table import Row, fraction
from powmix.runs.records import Record

UNITS = ("fraction", "hundredths", "printed")
TUNED = "tuned.json"
Variant = tuple[str, str, str]
"""dataset, model, mixer"""


@dataclass(frozen=True)
class PublishedRow:
    """One published row; `values` are fractions as on our disk, `text` is what the publication prints.

    settings: the mixing settings that the publication states; our row has them, or is another variant.
    """

    table: str
    source: str
    title: str
    dataset: str
    model: str
    mixer: str
    ablation: str | None
    values: Mapping[str, float]
    text: Mapping[str, str]
    unit: str
    settings: Mapping[str, Any] = field(default_factory=dict)

    @property
    def variant(self) -> Variant:
        return self.dataset, self.model, self.mixer

    @property
    def label(self) -> str:
        """`MulT`, `MulT + PowMix`, `MulT + PowMix, isotropic`."""
        mixer = "" if self.mixer == "none" else f" + {MIXERS.get(self.mixer, self.mixer)}"
        return MODELS.get(self.model, self.model) + mixer + (f", {self.ablation}" if self.ablation else "")

    def show(self, m: Metric, value: float) -> str:
        """A value of ours in the publication's unit."""
        return f"{100 * value:.2f}" if self.unit == "hundredths" else m.show(value)

    def show_difference(self, m: Metric, value: float) -> str:
        """A difference in the publication's unit, with a true minus."""
        return f"{100 * value:+.2f}".replace("-", "−") if self.unit == "hundredths" else m.show_difference(value)

    def printed(self, m: Metric) -> str:
        """The published value in our columns' units; its own digits where its unit is ours."""
        return self.text[m.key] if self.unit == "printed" else m.show(self.values[m.key])


@dataclass(frozen=True)
class PublishedTable:
    """One table of a publication; `shown_in` names the table whose first rows it makes up."""

    name: str
    title: str
    source: str
    citation: str
    url: str
    rows: tuple[PublishedRow, ...]
    shown_in: str | None = None


@dataclass(frozen=True)
class Published:
    """The published tables, and the values of p_mix and n_O that a search has found for rows of ours."""

    tables: tuple[PublishedTable, ...] = ()
    tuned: Mapping[Variant, Mapping[str, Any]] = field(default_factory=dict)

    def beside(self, rows: Sequence[Row]) -> Iterator[tuple[PublishedRow, Row | None]]:
        """What is published of these rows' variants, with the row of ours that it belongs to.

        A published row belongs to the row that has its mixing settings; to none where no row or more than one has.
        """
        ours = {(*_variant(row.record), row.record.ablation) for row in rows if _whole(row.record)}
        for table in self.tables:
            for known in table.rows:
                if (*known.variant, known.ablation) in ours:
                    yield known, self.owner(known, rows)

    def owner(self, known: PublishedRow, rows: Sequence[Row]) -> Row | None:
        """The one row among these that has the published row's variant and mixing settings."""
        settings = {**known.settings, **self.tuned.get(known.variant, {})}
        found = [
            row
            for row in rows
            if (*_variant(row.record), row.record.ablation) == (*known.variant, known.ablation) and _whole(row.record)
            if _has(row.record.mixing_options(), settings)
        ]
        return found[0] if len(found) == 1 else None


def load(path: Path | None = None) -> tuple[PublishedTable, ...]:
    """The tables of paper.yaml (or of `path`). ValueError: an unknown unit, metric, dataset, model or mixer."""
    text, name = (path.read_text("utf-8"), str(path)) if path else (_own("paper.yaml"), "paper.yaml")
    try:
        # Numbers of tables are read as text, so that 84.90 stays 84.90.
        content, typed = yaml.load(text, Loader=yaml.BaseLoader), yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise ValueError(f"{name} is not valid YAML: {error}") from error
    settings, ablations = typed.get("settings", {}), typed.get("ablations", {})
    return tuple(
        _table(name, table, content["sources"], settings, ablations) for name, table in content["tables"].items()
    )


def statements(part: str) -> dict[str, Any]:
    """paper.yaml's `figures` or `claims`."""
    return _stated()[part]


@cache
def _stated() -> dict[str, Any]:
    """paper.yaml with typed values: read once, for every claim asks for it (a second each time)."""
    return yaml.safe_load(_own("paper.yaml"))


def tuned(sweeps: Sequence[Path]) -> dict[Variant, dict[str, Any]]:
    """What searches have found for the sweeps' rows: `tuned.json` of powmix-table2, beside the sweeps' folders."""
    found = {}
    for folder in dict.fromkeys(sweep.parent for sweep in sweeps):
        if (folder / TUNED).is_file():
            for row in json.loads((folder / TUNED).read_text("utf-8"))["rows"]:
                found[(row["dataset"], row["model"], row["mixer"])] = {key: row[key] for key in ("p_mix", "n_out")}
    return found


def _own(name: str) -> str:
    return files(__package__).joinpath(name).read_text("utf-8")


def _variant(record: Record) -> Variant:
    return record.dataset, record.model, record.mixer


def _whole(record: Record) -> bool:
    """On the task and the training data that publications use."""
    return fraction(record) == 1.0 and record.task == "regression"


def _has(options: Mapping[str, Any], settings: Mapping[str, Any]) -> bool:
    return all(key in options and options[key] == value for key, value in settings.items())


def _table(
    name: str, table: dict[str, Any], sources: dict[str, dict], settings: dict[str, dict], ablations: dict[str, dict]
) -> PublishedTable:
    refuse(broken({"unit": choice(*UNITS)}, {"unit": table.get("unit", "printed")}, f"paper.yaml, {name}: "))
    rows = tuple(_row(name, table, row, settings, ablations) for row in table.get("rows") or ())
    source = sources[table["source"]]
    return PublishedTable(
        name, table["title"], table["source"], source["citation"], source["url"], rows, table.get("shown_in")
    )


def _row(name: str, table: dict, row: dict, settings: dict[str, dict], ablations: dict[str, dict]) -> PublishedRow:
    known = {"dataset": choice(*DATASETS), "model": choice(*MODELS), "mixer": choice(*MIXERS)}
    mixer, ablation, unit = row.get("mixer", "none"), row.get("ablation"), table.get("unit", "printed")
    refuse(broken(known, {**row, "mixer": mixer}, f"paper.yaml, {name}: "))
    return PublishedRow(
        table=name,
        source=table["source"],
        title=table["title"],
        dataset=row["dataset"],
        model=row["model"],
        mixer=mixer,
        ablation=ablation,
        values={key: _fraction(name, key, value, unit) for key, value in row["metrics"].items()},
        text=dict(row["metrics"]),
        unit=unit,
        settings={**settings.get(mixer, {}), **ablations.get(ablation or "", {})},
    )


def _fraction(name: str, key: str, value: str, unit: str) -> float:
    try:
        number = float(value)
    except ValueError:
        raise ValueError(f"paper.yaml, {name}: {key} must be a number, got {value!r}") from None
    return number / {"fraction": 1.0, "hundredths": 100.0, "printed": metric(key).scale}[unit]
