"""Everything that needs a GPU, in one command for the day one is at hand: tests, times, launches, memory, graphs.

python -m benchmarks.gpu --minutes 8 --out DIR                    on the GPU: no network, no installed powmix needed
python -m benchmarks.gpu --device cpu --tiny --out DIR            proves the command on a machine without one

Run from the repository's root. Needs torch with CUDA and the wheels of benchmarks/gpu_wheels.txt; what is missing is
said at the start. Parts run one after another, each within its share of the minutes (what one leaves, the later ones
get), each command a process of its own: what fails, or takes too long, is recorded and the others run. DIR/gpu.json
grows line by line; DIR/PART.log holds what was said. Exit code: 0 if every part is `done` or `needs cuda`, 1 if any is
not, 2 if nothing could begin.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from benchmarks.gpu_parts import PARTS, Part

ROOT = Path(__file__).resolve().parents[1]
WHEELS = Path(__file__).with_name("gpu_wheels.txt")
OLDEST_TORCH = (2, 7)
OUTCOME = re.compile(r"^(\S+::.+?) (PASSED|FAILED|ERROR|SKIPPED|XFAIL|XPASS)\b")
"""A line of `pytest -v`."""
GREEN = ("done", "needs cuda")
WORST_FIRST = ("failed", "out of time", "left out", *GREEN)
GRACE = 10
"""Seconds that a command has to end after it is told to."""
SAID = 15
"""Lines of its output that stand in the report where a command fails."""


def main(arguments: Sequence[str] | None = None, parts: Sequence[Part] = PARTS) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--minutes", type=float, default=8.0)
    parser.add_argument("--out", type=Path, required=True, help="folder of gpu.json and the logs")
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--tiny", action="store_true", help="a batch of each: proves the command, measures nothing")
    given = parser.parse_args(arguments)
    if ROOT / "src" not in map(Path, sys.path):
        sys.path.insert(0, str(ROOT / "src"))
    if lacking := missing(given.device):
        print("\n".join(lacking), file=sys.stderr)
        return 2
    report = Report(given)
    begun = time.monotonic()
    for place, part in enumerate(parts):
        left = given.minutes * 60 - (time.monotonic() - begun)
        run(part, left * part.share / sum(later.share for later in parts[place:]), given, report)
    report.write(seconds=round(time.monotonic() - begun, 1))
    return 0 if all(part["status"] in GREEN for part in report.content["parts"]) else 1


def missing(device: str) -> list[str]:
    """What the command needs and does not find, a sentence each."""
    absent = [f"{name}=={wanted}" for name, wanted in wheels().items() if installed(name) is None]
    found = []
    if absent:
        found.append(f"not installed: {' '.join(absent)} (pip install --no-index --find-links WHEELS -r {WHEELS})")
    torch_version = installed("torch")
    if torch_version is None:
        return [*found, f"not installed: torch {'.'.join(map(str, OLDEST_TORCH))} or newer, which comes with the image"]
    if tuple(map(int, torch_version.split(".")[:2])) < OLDEST_TORCH:
        found.append(f"torch {torch_version} is installed, {'.'.join(map(str, OLDEST_TORCH))} or newer is needed")
    elif device != "cpu":
        import torch

        if not torch.cuda.is_available():
            found.append(
                f"--device {device}: torch {torch_version} finds no CUDA device; --device cpu --tiny needs none"
            )
    return found


def wheels() -> dict[str, str]:
    """The versions that gpu_wheels.txt names."""
    lines = [line for line in WHEELS.read_text("utf-8").splitlines() if line and not line.startswith("#")]
    return dict(line.split("==") for line in lines)


def installed(name: str) -> str | None:
    try:
        return version(name)
    except PackageNotFoundError:
        return None


class Report:
    """gpu.json: rewritten whole after every line, so that whatever ends the command leaves what was found."""

    def __init__(self, given: argparse.Namespace):
        from benchmarks.measure import commit

        given.out.mkdir(parents=True, exist_ok=True)
        self.path = given.out / "gpu.json"
        self.content: dict[str, Any] = {
            "device": given.device,
            "tiny": given.tiny,
            "minutes": given.minutes,
            "commit": commit(),
            "date": time.strftime("%Y-%m-%d", time.gmtime()),
            "cards": cards(),
            "packages": {name: installed(name) for name in ("torch", *wheels())},
            "parts": [],
        }
        self.write()

    def write(self, **more: Any) -> None:
        from powmix.runs.files import write_json

        self.content |= more
        write_json(self.path, self.content)

    def begin(self, name: str, seconds: float) -> dict[str, Any]:
        part = {"name": name, "status": "running", "limit": round(seconds, 1), "commands": []}
        self.content["parts"].append(part)
        self.write()
        return part


def cards() -> list[str]:
    """What nvidia-smi says of this machine's GPUs; empty without it."""
    wanted = "name,driver_version,memory.total,clocks.max.sm,compute_mode"
    command = ["nvidia-smi", f"--query-gpu={wanted}", "--format=csv,noheader"]
    try:
        return subprocess.run(command, capture_output=True, text=True, check=True, timeout=30).stdout.splitlines()
    except (OSError, subprocess.SubprocessError):
        return []


def run(part: Part, seconds: float, given: argparse.Namespace, report: Report) -> None:
    """Runs the commands of a part for so many seconds; what is still to do then is `left out`."""
    entry, end = report.begin(part.name, seconds), time.monotonic() + seconds
    log = given.out / f"{part.name.replace(',', '').replace(' ', '_')}.log"
    for command in part.commands:
        if given.tiny and command.tiny is None and not command.needs_cuda:
            continue
        line = command.line.replace("DEVICE", given.device) + (
            f" {command.tiny}" if given.tiny and command.tiny else ""
        )
        told: dict[str, Any] = {"command": line, "status": "running", "lines": []}
        entry["commands"].append(told)
        if command.needs_cuda and given.device == "cpu":
            told["status"] = "needs cuda"
        elif (left := end - time.monotonic()) <= 0:
            told["status"] = "left out"
        else:
            execute(line, left, told, given, report, log)
        report.write()
    statuses = {told["status"] for told in entry["commands"]}
    entry["status"] = next(status for status in WORST_FIRST if status in statuses)
    entry["seconds"] = round(seconds - (end - time.monotonic()), 1)
    report.write()
    print(f"{part.name}: {entry['status']}, {entry['seconds']:.0f} s", flush=True)


def execute(
    line: str, seconds: float, told: dict[str, Any], given: argparse.Namespace, report: Report, log: Path
) -> None:
    """Runs one command, ends it after so many seconds, and keeps the figures and the tests that it tells of."""
    paths = (str(ROOT / "src"), *filter(None, [os.environ.get("PYTHONPATH")]))
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(paths), "POWMIX_DEVICE": given.device}
    begun = time.monotonic()
    with log.open("a", encoding="utf-8") as said, tempfile.TemporaryFile("w+", encoding="utf-8") as errors:
        said.write(f"$ python -m {line}\n")
        process = subprocess.Popen(
            [sys.executable, "-m", *line.split()],
            cwd=ROOT,
            env=environment,
            stdout=subprocess.PIPE,
            stderr=errors,
            text=True,
            start_new_session=True,
        )

        output = []
        with ended_after(process, seconds) as late:
            assert process.stdout is not None
            for text in process.stdout:
                output.append(text)
                said.write(text)
                if keep(text, told):
                    report.write()
            code = process.wait()
        errors.seek(0)
        wrong = errors.readlines()
        said.writelines(wrong)
    told["seconds"] = round(time.monotonic() - begun, 1)
    told["status"] = "out of time" if late.is_set() else "failed" if code else "done"
    if told["status"] == "failed":
        told["error"] = "".join((wrong or output)[-SAID:])


@contextmanager
def ended_after(process: subprocess.Popen, seconds: float) -> Iterator[threading.Event]:
    """Ends a process with all that it started, if it runs for longer inside; the event says that it did."""
    late = threading.Event()

    def end(how: signal.Signals) -> None:
        late.set()
        with suppress(ProcessLookupError):
            os.killpg(process.pid, how)

    timers = [
        threading.Timer(seconds + more, end, [how]) for more, how in ((0, signal.SIGTERM), (GRACE, signal.SIGKILL))
    ]
    for timer in timers:
        timer.start()
    try:
        yield late
    finally:
        for timer in timers:
            timer.cancel()


def keep(text: str, told: dict[str, Any]) -> bool:
    """Whether a line of output is a figure or a test's outcome, which then stands in the report."""
    if text.startswith('{"name"') and text.endswith("}\n"):
        told["lines"].append(json.loads(text))
        return True
    if found := OUTCOME.match(text):
        outcomes = told.setdefault("tests", {})
        outcomes[found[2].lower()] = outcomes.get(found[2].lower(), 0) + 1
        if found[2] in ("FAILED", "ERROR"):
            told.setdefault("failures", []).append(found[1])
        return True
    return False


if __name__ == "__main__":
    sys.exit(main())
