"""`powmix-track PATH...`: what is on disk, sent to trackers, as far as they do not have it already.

powmix-track outputs                              every run and sweep under outputs/ to W&B
powmix-track outputs/sweeps/demo --to mlflow      a sweep's runs and its summary
powmix-track outputs wandb.mode=offline wandb.project=mine
"""

from __future__ import annotations

import logging
import sys
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml

from powmix.mistakes import Parser, refuse, unknown
from powmix.places import CONF
from powmix.runs import collection
from powmix.runs.files import SeedFolder, read_json
from powmix.runs.records import Record, read_jobs
from powmix.runs.seed_records import finished_seed
from powmix.tracking import TRACKERS, Told, lacking, tell_of_sweep, trackers

log = logging.getLogger("powmix")


def main(arguments: Sequence[str] | None = None) -> int:
    """The command line; 2 where it is wrong."""
    options = _parser().parse_args(arguments)
    logging.basicConfig(format="%(message)s", stream=sys.stderr)
    log.setLevel(logging.INFO)
    try:
        names, given = options.to.split(","), [text for text in options.paths if _is_option(text)]
        settings = settings_of(names, given)
        refuse(lacking(names))
        found = collection.read([Path(text) for text in options.paths if text not in given])
        for record in found.records:
            send(record, settings, found.sweeps)
        for folder in found.sweeps:
            tell_of_sweep(settings, folder)
    except ValueError as error:
        print(f"powmix-track: {error}", file=sys.stderr)
        return 2
    seeds = sum(len(record.seeds) for record in found.records)
    print(f"{len(found.records)} runs with {seeds} seeds, {len(found.sweeps)} sweeps: {', '.join(names)}")
    return 0


def send(record: Record, settings: Mapping[str, Any], sweeps: Iterable[Path] = ()) -> None:
    """A run's finished seeds to every tracker of `settings` (as the section `tracker` has them)."""
    result = read_json(record.folder / "result.json") or {}
    told = Told.of(record.config, result, record.folder.resolve(), sweeps_of(record.folder, result, sweeps))
    for tracker in trackers(settings, told):
        for seed in record.seeds:
            entry = finished_seed(record.folder / SeedFolder(seed.folder).path.name, seed.seed)
            if entry:
                tracker.on_seed_end(seed.seed, entry)
        tracker.close("finished")


def sweeps_of(folder: Path, result: Mapping[str, Any], sweeps: Iterable[Path] = ()) -> list[str]:
    """The names of the sweeps of a run: those that it knows, and of `sweeps` and those beside it, whose job it is."""
    beside = folder.resolve().parent.parent / "sweeps"
    places = {path.resolve() for path in (*sweeps, *(path.parent for path in beside.glob("*/sweep.json")))}
    known = [*result.get("sweeps", []), result.get("sweep")]
    for place in sorted(places):
        runs = {(place / job["run"]).resolve() for job in read_jobs(place).values() if job.get("run")}
        if folder.resolve() in runs:
            known.append((read_json(place / "sweep.json") or {}).get("name") or place.name)
    return list(dict.fromkeys(name for name in known if name))


def settings_of(names: Sequence[str], given: Sequence[str]) -> dict[str, Any]:
    """The section `tracker` for these trackers: conf/'s values, with `NAME.option=value` on top."""
    refuse(unknown(names, TRACKERS, "tracker"))
    settings = {name: yaml.safe_load((CONF / "tracker" / f"{name}.yaml").read_text("utf-8")) for name in names}
    for options in settings.values():
        options |= {k: v.replace("${outputs}", "outputs") for k, v in options.items() if isinstance(v, str)}
    for text in given:
        key, _, value = text.partition("=")
        name, _, option = key.removeprefix("tracker.").partition(".")
        refuse(unknown([name], settings, "tracker") or unknown([option], settings[name], f"option of {name}"))
        settings[name][option] = yaml.safe_load(value)
    return settings


def _is_option(text: str) -> bool:
    name = text.removeprefix("tracker.").partition(".")[0]
    return "=" in text and name in TRACKERS


def _parser() -> Parser:
    made = Parser(
        "powmix-track",
        description="Send finished runs and sweeps to trackers; what is there already is not sent again.",
        epilog="example: powmix-track outputs --to wandb wandb.project=mine",
        allow_abbrev=False,
    )
    made.add_argument("paths", nargs="+", metavar="PATH | NAME.option=value", help="runs, sweeps, or outputs/")
    made.add_argument("--to", default="wandb", metavar="NAMES", help=f"{', '.join(TRACKERS)} (default: %(default)s)")
    return made


if __name__ == "__main__":
    sys.exit(main())
