"""What runs and sweeps leave as records, written and read here (of one seed: in seed_records.py) and nowhere else.

result.json: a variant, all its seeds, with config.yaml beside it. job.json: one job of a sweep. sweep.json: a sweep and
its jobs. analysis/NAME.json: what an analysis measured.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import yaml

from powmix.metrics.registry import declare
from powmix.runs.files import SeedFolder, read_json, replacing, write_json
from powmix.runs.identity import SCHEMA, short_name
from powmix.runs.seed_records import FINISHED, SEED_KEYS, SeedResult, finished_seed, is_finite, is_seed

TYPES: Mapping[type, tuple[str, ...]] = {
    str: ("status", "signature", "command", "error", "note", "objective_metric", "sweep"),
    list: ("seeds", "overrides", "sweeps"),
    dict: ("provenance", "variant"),
}
"""What stands under the keys of a variant's result.json, where they are there and not null."""
TEXTS = ("overrides", "sweeps")
SAFE = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
"""YAML's safe loader, libyaml's where it is there: a seventh of the time."""

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
    known = [*(before.get("sweeps") or []), before.get("sweep"), now]
    return list(dict.fromkeys(name for name in known if name))


def finished_variant(folder: Path, seeds: Sequence[int], **told: Any) -> dict[str, Any] | None:
    """A variant's result where it is finished for exactly these seeds and none of them is damaged, else None.

    told: what this command says of the run (`sweep`, `command`, ...); where that is new, it is written down.
    """
    result = read_json(folder / "result.json") or {}
    if result.get("schema") != SCHEMA or result.get("status") != FINISHED or _spoilt(result):
        return None
    if [one.get("seed") for one in result.get("seeds") or ()] != list(seeds):
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
    if spoilt := _spoilt(content):
        raise ValueError(f"result.json: `{spoilt}` is not what powmix writes there")
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


def _spoilt(result: Mapping[str, Any]) -> str | None:
    """The key of a variant's result that holds something of another type than is written there, or None."""
    for kind, keys in TYPES.items():
        for key in keys:
            if not isinstance(result.get(key), kind | None):
                return key
    if not all(isinstance(one, Mapping) for one in result.get("seeds") or ()):
        return "seeds"
    if not all(isinstance(one, str) for key in TEXTS for one in result.get(key) or ()):
        return " or ".join(TEXTS)
    return None


def _finished_seeds(folder: Path, listed: Sequence[Any]) -> Iterator[SeedResult]:
    """Seeds that the variant's result lists, and those finished since it was last written, by number."""
    places = [path.parent for path in folder.glob("seed_*/result.json")]
    finished = [read_json(SeedFolder(place).result) or {} for place in places]
    entries = [*(one for one in finished if one.get("status") == FINISHED and one.get("schema") == SCHEMA), *listed]
    seeds = {entry["seed"]: entry for entry in entries if isinstance(entry, Mapping) and is_seed(entry)}
    for _, entry in sorted(seeds.items()):
        yield SeedResult(**{k: entry[k] for k in SEED_KEYS if k != "folder"}, folder=folder / str(entry["folder"]))


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
