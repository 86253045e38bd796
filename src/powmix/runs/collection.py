"""Paths (run folders, sweep folders, roots such as outputs/) -> the variants in them and what went wrong."""

from collections.abc import Container, Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

from powmix.mistakes import nearest
from powmix.runs.files import read_json
from powmix.runs.identity import SCHEMA
from powmix.runs.records import Record, read_analysis, read_jobs, read_record
from powmix.runs.seed_records import FINISHED, damaged_seeds

MAX_DEPTH = 6


@dataclass(frozen=True)
class Failure:
    """Something that is not (or not wholly) in the tables, and why."""

    name: str
    status: str
    reason: str
    folder: Path
    command: str = ""

    @property
    def sentence(self) -> str:
        return f"{self.name}: {self.status}, {self.reason}"


@dataclass
class Collection:
    """What was found: variants with at least one finished seed, failures, and the sweeps they came from."""

    records: list[Record] = field(default_factory=list)
    failures: list[Failure] = field(default_factory=list)
    sweeps: list[Path] = field(default_factory=list)
    duplicates: int = 0


def read(paths: Iterable[Path | str]) -> Collection:
    """Every run under `paths`, each signature once (the copy with most seeds).

    ValueError: a path that does not exist (with the nearest that does), or no run anywhere under them.
    """
    collection = Collection()
    runs: dict[Path, None] = {}
    existing = [_existing(Path(path)) for path in paths]
    for path in existing:
        for folder in _walk(path, MAX_DEPTH):
            if is_sweep(folder):
                runs.update(dict.fromkeys(_read_sweep(folder, collection)))
            else:
                runs[folder.resolve()] = None
    for folder in runs:
        _read_run(folder, collection)
    if not collection.records and not collection.failures:
        shown = ", ".join(map(str, paths))
        raise ValueError(f"no runs under {shown}: expected folders with result.json (as in outputs/runs/<signature>)")
    collection.records, collection.duplicates = _unique(collection.records)
    return collection


def is_sweep(folder: Path) -> bool:
    return (folder / "sweep.json").is_file() or any(folder.glob("[0-9]*/job.json"))


def is_run(folder: Path) -> bool:
    return (folder / "result.json").is_file() or (
        (folder / "config.yaml").is_file() and any(child.is_dir() for child in folder.glob("seed_*"))
    )


def _existing(path: Path) -> Path:
    if path.is_file():
        return path.parent
    if path.is_dir():
        return path
    parent = path.parent
    while not parent.is_dir() and parent != parent.parent:
        parent = parent.parent
    hint = nearest(path.name, [child.name for child in parent.iterdir() if child.is_dir()])
    raise ValueError(f"{path} does not exist{hint}; {parent} does")


def _walk(folder: Path, depth: int) -> Iterator[Path]:
    if is_sweep(folder) or is_run(folder):
        yield folder
    elif depth:
        for child in sorted(folder.iterdir()):
            if child.is_dir() and not child.name.startswith("."):
                yield from _walk(child, depth - 1)


def _read_sweep(folder: Path, collection: Collection) -> list[Path]:
    """The run folders of a sweep's jobs; jobs without one are noted as failures."""
    collection.sweeps.append(folder)
    jobs = read_jobs(folder)
    collection.failures += _broken_records(folder, jobs)
    runs = []
    for number, job in jobs.items():
        run = _run_folder(folder, job.get("run"))
        if run is not None:
            runs.append(run)
        if job.get("status", FINISHED) != FINISHED or run is None:
            collection.failures.append(_failed_job(folder, number, job, run))
    return runs


def _broken_records(sweep: Path, jobs: Container[int]) -> Iterator[Failure]:
    """Records of a sweep that cannot be read, or are of another version of powmix."""
    for path in [sweep / "sweep.json", *sorted(sweep.glob("[0-9]*/job.json"))]:
        content = read_json(path) or {}
        if path.is_file() and content.get("schema") != SCHEMA:
            reason = f"schema {content['schema']!r}" if "schema" in content else "not valid JSON, or another version's"
            yield Failure(str(path.relative_to(sweep.parent)), "corrupt", f"{path.name}: {reason}", path.parent)
        elif path.name == "job.json" and content and content.get("number") not in jobs:
            yield Failure(str(path.relative_to(sweep.parent)), "corrupt", f"{path.name} has no number", path.parent)


def _run_folder(sweep: Path, run: str | None) -> Path | None:
    if not run:
        return None
    folder = (sweep / run).resolve()
    return folder if folder.is_dir() else None


def _failed_job(sweep: Path, number: int, job: dict, run: Path | None) -> Failure:
    status = str(job.get("status", "failed"))
    if status == FINISHED:
        status, reason = "missing", f"its run {job.get('run')} is not there any more"
    else:
        reason = str(job.get("error") or {"running": "not finished yet, or killed"}.get(status, "no reason recorded"))
    overrides = " ".join(job.get("overrides") or ())
    own = sweep / str(number)
    folder = run or (own if own.is_dir() else sweep)
    return Failure(f"{sweep.name} job {number}: {overrides}".rstrip(": "), status, reason, folder)


def _read_run(folder: Path, collection: Collection) -> None:
    try:
        record = read_record(folder)
    except ValueError as error:
        if any(failure.folder == folder for failure in collection.failures):
            return
        name = f"{folder.parent.name}/{folder.name}"
        kinds = {"no result.json": "unfinished", "result.json has schema": "another version's"}
        status = next((kind for start, kind in kinds.items() if str(error).startswith(start)), "corrupt")
        collection.failures.append(Failure(name, status, str(error), folder))
        return
    if record.seeds and record.status != "pruned":
        collection.records.append(record)
    collection.failures += [*_broken_analyses(record), *_damaged_seeds(record)]
    if record.status != FINISHED and not _is_noted(record, collection):
        collection.failures.append(Failure(record.name, record.status, _reason(record), folder, record.command))
    elif record.status == FINISHED and not record.seeds:
        reason = "result.json lists no seed with test metrics"
        collection.failures.append(Failure(record.name, "corrupt", reason, folder, record.command))


def _broken_analyses(record: Record) -> list[Failure]:
    found = []
    for path in sorted(record.folder.glob("analysis/*.json")):
        try:
            read_analysis(path)
        except ValueError as error:
            found.append(Failure(f"{record.name}, analysis {path.stem}", "corrupt", str(error), path.parent))
    return found


def _damaged_seeds(record: Record) -> Iterator[Failure]:
    for place, reason in damaged_seeds(record.folder):
        yield Failure(f"{record.name}, {place.name}", "damaged", reason, place, record.command)


def _is_noted(record: Record, collection: Collection) -> bool:
    return any(failure.folder == record.folder for failure in collection.failures)


def _reason(record: Record) -> str:
    done = f"{len(record.seeds)} seed{'s' * (len(record.seeds) != 1)} finished"
    if record.error:
        return f"{record.error} ({done})"
    return f"{'pruned' if record.status == 'pruned' else 'not finished yet, or killed'} ({done})"


def _unique(records: list[Record]) -> tuple[list[Record], int]:
    best: dict[str, Record] = {}
    for record in records:
        kept = best.setdefault(record.signature, record)
        if len(record.seeds) > len(kept.seeds):
            best[record.signature] = record
    return list(best.values()), len(records) - len(best)
