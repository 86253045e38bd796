"""Paths (run folders, sweep folders, roots such as outputs/) -> the variants in them and what went wrong."""

import difflib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

from powmix.runs.records import Record, read_analysis, read_json, read_record

MAX_DEPTH = 6
FINISHED = "finished"


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
    paths = [_existing(Path(path)) for path in paths]
    for path in paths:
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
    near = difflib.get_close_matches(path.name, [child.name for child in parent.iterdir() if child.is_dir()], n=1)
    hint = f"; nearest: {parent / near[0]}" if near else f"; {parent} exists but has no folder with a similar name"
    raise ValueError(f"{path} does not exist{hint}")


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
    jobs = _jobs(folder, collection)
    runs = []
    for number in sorted(jobs):
        job = jobs[number]
        run = _run_folder(folder, job.get("run"))
        if run is not None:
            runs.append(run)
        if job.get("status", FINISHED) != FINISHED or run is None:
            collection.failures.append(_failed_job(folder, number, job, run))
    return runs


def _jobs(folder: Path, collection: Collection) -> dict[int, dict]:
    """Job records by number; a job's own file is newer than its copy in sweep.json."""
    jobs: dict[int, dict] = {}
    for path in [folder / "sweep.json", *sorted(folder.glob("[0-9]*/job.json"))]:
        if not path.is_file():
            continue
        try:
            content = read_json(path)
            listed = content.get("jobs") or [] if path.name == "sweep.json" else [content]
            jobs.update({int(job["number"]): job for job in listed})
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            name = str(path.relative_to(folder.parent))
            collection.failures.append(Failure(name, "corrupt", str(error), path.parent))
    return jobs


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
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        if any(failure.folder == folder for failure in collection.failures):
            return
        name = f"{folder.parent.name}/{folder.name}"
        status = "unfinished" if str(error).startswith("no result.json") else "corrupt"
        collection.failures.append(Failure(name, status, str(error), folder))
        return
    if record.seeds and record.status != "pruned":
        collection.records.append(record)
    collection.failures += _broken_analyses(record)
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
