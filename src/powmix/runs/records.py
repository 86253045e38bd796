"""What runs and sweeps leave as records, written and read here and nowhere else.

seed_*/result.json: one seed. result.json: a variant, all its seeds, with config.yaml beside it. job.json: one job of a
sweep. sweep.json: a sweep and its jobs. analysis/NAME.json: what an analysis measured.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import yaml

from powmix.metrics.registry import declare
from powmix.runs.files import SeedFolder, file_sha256, read_columns, read_json, replacing, write_json
from powmix.runs.identity import SCHEMA, short_name

log = logging.getLogger("powmix")

FINISHED = "finished"
SAFE = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
"""YAML's safe loader, libyaml's where it is there: a seventh of the time."""
SEED_KEYS = ("seed", "best_epoch", "epochs", "seconds", "validation", "test", "mixing", "folder")


# --- one seed ---------------------------------------------------------------------------------------------------------


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
        return read_columns(SeedFolder(self.folder).history)

    def targets(self) -> list[float]:
        """The test labels that predictions.csv carries, of classes their numbers; empty for multilabel or no file."""
        return read_columns(SeedFolder(self.folder).predictions).get("target", [])


def write_seed(folder: SeedFolder, status: str, record: Mapping[str, Any], **more: Any) -> None:
    """A seed's result.json; of a finished one with size and SHA-256 of every file it leaves."""
    files = {}
    if status == FINISHED:
        files = {p.name: {"bytes": p.stat().st_size, "sha256": file_sha256(p)} for p in folder.outcome}
    write_json(folder.result, {"schema": SCHEMA, "status": status, **record, "files": files, **more})


def finished_seed(folder: Path, seed: int) -> dict[str, Any] | None:
    """The record of a seed that was trained to its end in `folder`, else None.

    A result that is damaged, or whose files are, is told in a warning and not believed.
    """
    place = SeedFolder(folder)
    content = read_json(place.result)
    if content is None or content.get("status") != FINISHED or content.get("seed") != seed:
        return None
    if found := damage(place, content):
        log.warning("seed %d: %s: it is trained again", seed, found)
        return None
    return {key: content[key] for key in SEED_KEYS}


def all_seeds(folder: Path, own: Sequence[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    """The records of every finished seed in a variant's folder, by number; `own` are at hand already.

    None is taken that is damaged, or that was measured in other metrics than `own` (of plugins that are not there now).
    """
    found = {record["seed"]: record for record in own}
    for place in map(SeedFolder, folder.glob("seed_*")):
        content = read_json(place.result)
        if content is None or content.get("status") != FINISHED or damage(place, content):
            continue
        if content["test"].keys() == own[0]["test"].keys():
            found.setdefault(content["seed"], {key: content[key] for key in SEED_KEYS})
    return [record for _, record in sorted(found.items())]


def damage(folder: SeedFolder, content: Mapping[str, Any]) -> str | None:
    """What is wrong with a finished seed on disk, in words, or None.

    Small files are hashed; weights are compared by size only, and hashed by who loads them (`check_weights`).
    """
    if not _is_seed(content) or content.get("schema") != SCHEMA or not isinstance(content.get("files"), Mapping):
        return f"{folder.result} is not a result that powmix wrote"
    for path in folder.outcome:
        known = content["files"].get(path.name)
        if not path.is_file():
            return f"{path} is missing"
        if not isinstance(known, Mapping) or path.stat().st_size != known.get("bytes"):
            return f"{path} is not as long as it was written"
        if path != folder.weights and file_sha256(path) != known.get("sha256"):
            return f"{path} has changed since it was written"
    return None


def check_weights(folder: SeedFolder) -> None:
    """ValueError where a finished seed's weights are missing or are not those that were written."""
    if not folder.weights.is_file():
        raise ValueError(f"{folder.weights} is missing: the run's command trains the seed again")
    known = (read_json(folder.result) or {}).get("files", {}).get(folder.weights.name, {})
    if file_sha256(folder.weights) != known.get("sha256"):
        raise ValueError(f"{folder.weights} has changed since it was written: train the seed again")


def _is_seed(entry: Mapping[str, Any]) -> bool:
    """Whether a seed's entry has the types that training gives it, and no metric is missing."""
    return (
        set(SEED_KEYS) <= entry.keys()
        and all(type(entry[key]) is int for key in ("seed", "best_epoch", "epochs"))
        and is_finite(entry["seconds"])
        and _are_numbers(entry["validation"])
        and _are_numbers(entry["test"])
        and entry["validation"].keys() == entry["test"].keys()
        and isinstance(entry["mixing"], Mapping)
    )


def _are_numbers(metrics: Any) -> bool:
    return isinstance(metrics, Mapping) and bool(metrics) and all(map(is_finite, metrics.values()))


def is_finite(value: Any) -> bool:
    """A number that is neither NaN nor infinite."""
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


# --- a variant --------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Record:
    """One variant as its folder tells it: a run without its seed."""

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
    note: str | None = None

    @property
    def name(self) -> str:
        return short_name({key: getattr(self, key) for key in ("dataset", "model", "mixer", "ablation")})

    @cached_property
    def config(self) -> dict[str, Any]:
        """config.yaml as nested plain values, less its schema; empty where it is absent or unreadable."""
        return {key: value for key, value in (read_config(self.folder) or {}).items() if key != "schema"}

    def option(self, path: str, default: Any = None) -> Any:
        """A value of config.yaml by its dotted name (`mixer.n_out`)."""
        node: Any = self.config
        for part in path.split("."):
            if not isinstance(node, Mapping) or part not in node:
                return default
            node = node[part]
        return node

    def mixing_options(self) -> dict[str, Any]:
        """The mixer section."""
        mixer = self.config.get("mixer")
        return dict(mixer) if isinstance(mixer, Mapping) else {}

    def values(self, key: str, split: str = "test") -> dict[Any, float]:
        """{seed: value} of one metric, seeds without a finite value left out."""
        found = {s.seed: getattr(s, split).get(key) for s in self.seeds}
        return {seed: float(value) for seed, value in found.items() if is_finite(value)}

    def analysis(self, name: str) -> list[dict[str, Any]]:
        """Rows of analysis/<name>.json (`figures/robustness.py` documents them); empty where absent or broken."""
        try:
            return read_analysis(self.folder / "analysis" / f"{name}.json")
        except ValueError:
            return []


def write_config(folder: Path, config: Mapping[str, Any]) -> None:
    """config.yaml, the first thing that a run writes: the composed configuration, and the schema it is of."""
    with replacing(folder / "config.yaml") as path:
        path.write_text(yaml.safe_dump({"schema": SCHEMA, **config}, sort_keys=False), encoding="utf-8")


def read_config(folder: Path) -> dict[str, Any] | None:
    """config.yaml as nested plain values; None where it is absent or unreadable."""
    try:
        loaded = yaml.load((folder / "config.yaml").read_text(encoding="utf-8"), SAFE)
    except (OSError, yaml.YAMLError, UnicodeDecodeError, RecursionError):
        return None
    return loaded if isinstance(loaded, dict) else None


def sweeps_of(before: Mapping[str, Any], now: str | None) -> list[str]:
    """Every sweep that a run has been part of, the present one last. before: its result so far."""
    known = [*before.get("sweeps", []), before.get("sweep"), now]
    return list(dict.fromkeys(name for name in known if name))


def finished_variant(folder: Path, seeds: Sequence[int], **told: Any) -> dict[str, Any] | None:
    """A variant's result where it is finished for exactly these seeds and none of them is damaged, else None.

    told: what this command says of the run (`sweep`, `command`, ...); where that is new, it is written down.
    """
    result = read_json(folder / "result.json") or {}
    if result.get("schema") != SCHEMA or result.get("status") != FINISHED:
        return None
    if [one.get("seed") for one in result.get("seeds", ())] != list(seeds):
        return None
    if any(finished_seed(folder / f"seed_{seed}", seed) is None for seed in seeds):
        return None
    told = told | {"sweeps": sweeps_of(result, told.get("sweep"))}
    if any(result.get(key) != value for key, value in told.items()):
        result |= told
        write_variant(folder, result)
    return result


def write_variant(folder: Path, result: Mapping[str, Any]) -> None:
    """A variant's result.json."""
    write_json(folder / "result.json", {"schema": SCHEMA, **result})


def refuse_other_schema(folder: Path) -> None:
    """ValueError where a folder holds a run or a sweep of another schema: it is left alone, never half read."""
    known = {path: read_json(path) for name in ("result.json", "sweep.json") for path in [folder / name]}
    known[folder / "config.yaml"] = read_config(folder)
    for path, content in known.items():
        if content is not None and content.get("schema") != SCHEMA:
            raise ValueError(
                f"{path} was written by another version of powmix (schema {content.get('schema', 1)}, this is "
                f"{SCHEMA}): it is left alone; move {folder} away, or choose another folder (outputs=FOLDER)"
            )


def read_record(folder: Path) -> Record:
    """A run folder -> Record; ValueError says what is missing or broken, or that it is of another schema.

    Metrics that the run's plugins registered become known by what it says of them (metrics/registry.py).
    """
    path = folder / "result.json"
    if not path.is_file():
        raise ValueError("no result.json: it was interrupted before its first seed finished")
    content = _read(path)
    if content.get("schema") != SCHEMA:
        raise ValueError(f"result.json has schema {content.get('schema')!r}, this version of powmix reads {SCHEMA}")
    variant = content.get("variant")
    if not isinstance(variant, dict):
        raise ValueError("result.json has no `variant`")
    declare(content.get("metrics"))
    return Record(
        folder=folder,
        signature=str(content.get("signature") or folder.name),
        status=str(content.get("status", FINISHED)),
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
        seeds=tuple(_finished_seeds(folder, content.get("seeds") or [])),
        provenance=content.get("provenance") or {},
        note=content.get("note"),
    )


def _finished_seeds(folder: Path, listed: Sequence[Any]) -> Iterator[SeedResult]:
    """Seeds that the variant's result lists, and those finished since it was last written, by number."""
    places = [path.parent for path in folder.glob("seed_*/result.json")]
    finished = [read_json(SeedFolder(place).result) or {} for place in places]
    entries = [*(one for one in finished if one.get("status") == FINISHED and one.get("schema") == SCHEMA), *listed]
    seeds = {entry["seed"]: entry for entry in entries if isinstance(entry, Mapping) and _is_seed(entry)}
    for _, entry in sorted(seeds.items()):
        yield SeedResult(**{k: entry[k] for k in SEED_KEYS if k != "folder"}, folder=folder / str(entry["folder"]))


def damaged_seeds(folder: Path) -> Iterator[tuple[Path, str]]:
    """Finished seeds of a run's folder that are damaged: the seed's folder, and what is wrong with it."""
    for place in map(SeedFolder, sorted(folder.glob("seed_*"))):
        if not place.result.is_file():
            continue
        content = read_json(place.result)
        if content is None:
            yield place.path, f"{place.result.name} is not valid JSON"
        elif content.get("status") == FINISHED and (found := damage(place, content)):
            yield place.path, found


def read_analysis(path: Path) -> list[dict[str, Any]]:
    """The rows an analysis left; ValueError where the file is broken or absent."""
    rows = _read(path).get("rows")
    if not isinstance(rows, list) or not all(isinstance(row, dict) and "seed" in row for row in rows):
        raise ValueError(f"{path.name}: expected an object with a list `rows`, each with its `seed`")
    return rows


def _read(path: Path) -> dict[str, Any]:
    """As read_json, but a ValueError tells what is wrong."""
    content = read_json(path)
    if content is None:
        raise ValueError(f"{path.name} is missing or is not valid JSON")
    return content


# --- a sweep ----------------------------------------------------------------------------------------------------------


def write_job(folder: Path, *, number: int, overrides: Sequence[str], status: str, **more: Any) -> None:
    """`job.json`: a sweep's record of one job; `run` is the run's folder, relative to the sweep's."""
    write_json(
        folder / "job.json",
        {"schema": SCHEMA, "number": number, "overrides": list(overrides), "status": status, **more},
    )


def write_sweep(folder: Path, **what: Any) -> None:
    """sweep.json: what is known of the sweep already, `what` on top, and the records its jobs have left so far."""
    known = read_json(folder / "sweep.json") or {}
    write_json(folder / "sweep.json", {"schema": SCHEMA, **known, **what, "jobs": list(read_jobs(folder).values())})


def read_jobs(folder: Path) -> dict[int, dict[str, Any]]:
    """The job records of a sweep by number; a job's own file is newer than its copy in sweep.json.

    Records that are broken or of another schema are left out.
    """
    sweep = read_json(folder / "sweep.json") or {}
    listed = sweep.get("jobs") if sweep.get("schema") == SCHEMA else []
    found = [*(listed or []), *(read_json(path) for path in folder.glob("[0-9]*/job.json"))]
    jobs = {
        job["number"]: job
        for job in found
        if isinstance(job, dict) and job.get("schema") == SCHEMA and type(job.get("number")) is int
    }
    return dict(sorted(jobs.items()))
