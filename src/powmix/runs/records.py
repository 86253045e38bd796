"""One finished (or half finished) variant as its folder tells it: `result.json`, `config.yaml`, `seed_*/`."""

import csv
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

SCHEMA = 1


@dataclass(frozen=True)
class SeedResult:
    """One run: one training with one seed. Metrics are unrounded fractions."""

    seed: int
    test: Mapping[str, float]
    validation: Mapping[str, float]
    mixing: Mapping[str, float]
    best_epoch: int | None
    epochs: int | None
    seconds: float | None
    folder: Path

    def history(self) -> dict[str, list[float]]:
        """Columns of history.csv (empty where the file is absent); an unreadable cell is NaN."""
        return _read_columns(self.folder / "history.csv")

    def targets(self) -> list[float]:
        """The test labels that predictions.csv carries (empty where the file is absent)."""
        return _read_columns(self.folder / "predictions.csv").get("target", [])


@dataclass(frozen=True)
class Record:
    """One variant: a run without its seed."""

    folder: Path
    signature: str
    status: str
    error: str | None
    dataset: str
    model: str
    mixer: str
    ablation: str | None
    protocol: str
    task: str
    overrides: tuple[str, ...]
    command: str
    objective_metric: str
    seeds: tuple[SeedResult, ...]
    provenance: Mapping[str, Any] = field(default_factory=dict)

    @property
    def name(self) -> str:
        parts = [self.dataset, self.model, self.mixer] + ([self.ablation] if self.ablation else [])
        return "/".join(parts)

    @cached_property
    def config(self) -> dict[str, Any]:
        """config.yaml as nested plain values; empty where it is absent or unreadable."""
        import yaml

        try:
            loaded = yaml.safe_load((self.folder / "config.yaml").read_text(encoding="utf-8"))
        except (OSError, yaml.YAMLError, UnicodeDecodeError):
            return {}
        return loaded if isinstance(loaded, dict) else {}

    def option(self, path: str, default: Any = None) -> Any:
        """A value of config.yaml by its dotted name (`mixer.n_out`)."""
        node: Any = self.config
        for part in path.split("."):
            if not isinstance(node, Mapping) or part not in node:
                return default
            node = node[part]
        return node

    def mixing_options(self) -> dict[str, Any]:
        """The mixer section with the ablation's values on top, as training saw it."""
        ablation = self.config.get("ablation")
        values = {k: v for k, v in ablation.items() if k != "name"} if isinstance(ablation, Mapping) else {}
        mixer = self.config.get("mixer")
        return {**(mixer if isinstance(mixer, Mapping) else {}), **values}

    def values(self, key: str, split: str = "test") -> dict[int, float]:
        """{seed: value} of one metric, seeds without a finite value left out."""
        found = {s.seed: getattr(s, split).get(key) for s in self.seeds}
        return {seed: float(value) for seed, value in found.items() if _is_finite(value)}

    def analysis(self, name: str) -> list[dict[str, Any]]:
        """Rows of analysis/<name>.json (`figures/robustness.py` documents them); empty where absent or broken."""
        try:
            return read_analysis(self.folder / "analysis" / f"{name}.json")
        except ValueError:
            return []


def read_record(folder: Path) -> Record:
    """A run folder -> Record; ValueError says what is missing or broken."""
    path = folder / "result.json"
    if not path.is_file():
        raise ValueError("no result.json: it was interrupted before its first seed finished")
    content = read_json(path)
    if not isinstance(content, dict) or not isinstance(content.get("variant"), dict):
        raise ValueError("result.json has no `variant`")
    if content.get("schema") != SCHEMA:
        raise ValueError(f"result.json has schema {content.get('schema')!r}, this report reads {SCHEMA}")
    variant = content["variant"]
    return Record(
        folder=folder,
        signature=str(content.get("signature") or folder.name),
        status=str(content.get("status", "finished")),
        error=content.get("error"),
        dataset=str(variant.get("dataset", "?")),
        model=str(variant.get("model", "?")),
        mixer=str(variant.get("mixer") or "none"),
        ablation=variant.get("ablation") or None,
        protocol=str(variant.get("protocol", "published")),
        task=str(variant.get("task", "regression")),
        overrides=tuple(content.get("overrides") or ()),
        command=str(content.get("command") or ""),
        objective_metric=str(content.get("objective_metric") or "MAE"),
        seeds=_read_seeds(folder, content.get("seeds") or []),
        provenance=content.get("provenance") or {},
    )


def read_json(path: Path) -> Any:
    """JSON of a file; ValueError names the file where it is truncated or unreadable."""
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise ValueError(f"{path.name} cannot be read: {error.strerror}") from error
    except ValueError as error:
        raise ValueError(f"{path.name} is not valid JSON: {error}") from error


def read_analysis(path: Path) -> list[dict[str, Any]]:
    """The rows an analysis left; ValueError where the file is broken or absent."""
    content = read_json(path)
    rows = content.get("rows") if isinstance(content, dict) else None
    if not isinstance(rows, list) or not all(isinstance(row, dict) and "seed" in row for row in rows):
        raise ValueError(f"{path.name}: expected an object with a list `rows`, each with its `seed`")
    return rows


def _read_seeds(folder: Path, entries: list[dict]) -> tuple[SeedResult, ...]:
    """Seeds that the variant's result lists, and those finished since it was last written."""
    found = {int(entry["seed"]): entry for entry in entries if isinstance(entry, dict) and "seed" in entry}
    for path in sorted(folder.glob("seed_*/result.json")):
        try:
            entry = read_json(path)
        except ValueError:
            continue
        if isinstance(entry, dict) and "seed" in entry and "test" in entry:
            found.setdefault(int(entry["seed"]), entry)
    return tuple(_seed(folder, found[seed]) for seed in sorted(found) if found[seed].get("test"))


def _seed(folder: Path, entry: Mapping[str, Any]) -> SeedResult:
    return SeedResult(
        seed=int(entry["seed"]),
        test=entry["test"],
        validation=entry.get("validation") or {},
        mixing=entry.get("mixing") or {},
        best_epoch=entry.get("best_epoch"),
        epochs=entry.get("epochs"),
        seconds=entry.get("seconds"),
        folder=folder / str(entry.get("folder") or f"seed_{entry['seed']}"),
    )


def _read_columns(path: Path) -> dict[str, list[float]]:
    if not path.is_file():
        return {}
    with path.open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    return {key: [_number(row.get(key)) for row in rows] for key in (rows[0] if rows else {}) if key and key != "id"}


def _number(text: str | None) -> float:
    try:
        return float(text) if text is not None else float("nan")
    except ValueError:
        return float("nan")


def _is_finite(value: Any) -> bool:
    return isinstance(value, int | float) and value - value == 0
