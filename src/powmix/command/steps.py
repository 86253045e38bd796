"""Long commands that are made of `powmix` commands, each in a process of its own; the same command continues."""

from __future__ import annotations

import shlex
import subprocess
import sys
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from statistics import fmean

from powmix.runs.records import Record

FRESH_SEED = 2111
"""The first seed of what is trained with values that a search has found; searches use 1111, 1112, ..."""


def fresh(count: int) -> list[int]:
    """So many seeds that no search has used."""
    return [FRESH_SEED + i for i in range(count)]


def show(commands: Iterable[Sequence[str]]) -> None:
    """Prints `powmix` commands by their arguments."""
    print("\n".join(shlex.join(["powmix", *arguments]) for arguments in commands))


def carry_out(program: str, work: Callable[[], None]) -> int:
    """Do the work; the exit code of `program` (docs/commands.md), what went wrong being said."""
    from powmix.command.exits import INTERRUPTED
    from powmix.training.interruption import sigterm_as_interrupt

    try:
        with sigterm_as_interrupt():
            work()
    except ValueError as error:
        print(f"{program}: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print(f"{program}: interrupted; the same command continues", file=sys.stderr)
        return INTERRUPTED
    except subprocess.CalledProcessError as error:
        print(f"{program}: stopped: {shlex.join(map(str, error.cmd[3:]))} failed", file=sys.stderr)
        return 1
    return 0


def powmix(arguments: Sequence[str]) -> None:
    """One `powmix` command, shown before it starts. CalledProcessError where it fails."""
    print("\n$", shlex.join(["powmix", *arguments]), flush=True)
    run("powmix", arguments)


def run(module: str, arguments: Sequence[str]) -> None:
    """`python -m module` in a process of its own; an interrupt ends it first. CalledProcessError where it fails."""
    command = [sys.executable, "-m", module, *arguments]
    process = subprocess.Popen(command)
    try:
        status = process.wait()
    except BaseException:
        process.terminate()
        process.wait()
        raise
    if status:
        raise subprocess.CalledProcessError(status, command)


def trials(search: Path, mixer: str) -> list[tuple[Record, float]]:
    """The finished trials of one mixer, best first, each with its mean validation objective. ValueError for none."""
    from powmix.metrics.columns import direction
    from powmix.runs import collection

    found = [one for one in collection.read([search]).records if one.mixer == mixer and one.status == "finished"]
    if not found:
        raise ValueError(f"{search}: no trial of {mixer} has finished, so there are no best values")
    key = found[0].objective_metric
    sign = 1 if direction(key) == "minimize" else -1
    scored = [(one, fmean(one.values(key, "validation").values())) for one in found]
    return sorted(scored, key=lambda pair: sign * pair[1])
