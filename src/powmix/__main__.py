"""The entrypoint: compose, validate, run, return the objective. Nothing heavy is imported before it is needed."""

from __future__ import annotations

import inspect
import logging
import multiprocessing
import os
import sys
from collections.abc import Sequence

import hydra
from hydra._internal.utils import get_args_parser
from hydra.errors import HydraException
from omegaconf.errors import OmegaConfBaseException

from powmix import __version__, plugins
from powmix.command.callback import Around
from powmix.command.composition import register_resolvers, sweep_name
from powmix.command.exits import ERROR, INTERRUPTED, SOME_FAILED, WRONG, leave, of_disk
from powmix.command.job import job
from powmix.command.launchers import register as register_launcher
from powmix.command.overrides import REFUSED, check_command, deferred, with_quoted_paths
from powmix.command.registered import config_folders, load_plugins, with_plugins
from powmix.command.searching import register as register_searches
from powmix.command.sweeping import register as register_comparisons
from powmix.mistakes import print_on_any_terminal
from powmix.places import CONF
from powmix.training.interruption import sigterm_as_interrupt

TRUSTED = ["powmix.*", "optuna.*"]
QUIET_FLAGS = {"--help", "-h", "--hydra-help", "--version", "--shell-completion", "-sc"}


def lab(**choices: str) -> None:
    """Ends a script that registered its own datasets, models, mixers, metrics or losses: `powmix` with these in it.

    The script's arguments are powmix's. choices: what is chosen where the arguments choose nothing else, such as
    `dataset="mine"`. Where the script is imported, by a worker process or as a plugin, nothing is done.
    """
    frame = inspect.currentframe()
    caller = frame.f_back.f_globals["__name__"] if frame and frame.f_back else ""
    is_worker = multiprocessing.parent_process() is not None or caller == "__mp_main__"  # so called while it is spawned
    if plugins.is_loading() or is_worker:
        return
    script = plugins.adopt_script()
    given = {text.partition("=")[0].lstrip("+") for text in sys.argv[1:]}
    if not QUIET_FLAGS & set(sys.argv[1:]):
        sys.argv[1:] += [f"{key}={value}" for key, value in choices.items() if key not in given]
    if script is not None:
        sys.argv[1:] = with_plugins(sys.argv[1:], [str(script)])
    main()


def main() -> None:
    """`powmix` on the command line; command/exits.py says what its exit codes mean."""
    print_on_any_terminal()
    logging.raiseExceptions = False  # a log that cannot be written (full disk) ends nothing and prints no traceback
    try:
        with sigterm_as_interrupt():
            _main()
    except KeyboardInterrupt:
        leave("interrupted; the same command continues", INTERRUPTED)


def _main() -> None:
    if "--version" in sys.argv[1:]:
        print(f"powmix {__version__} (Hydra {hydra.__version__})")
        return
    register_resolvers()
    register_comparisons()
    register_searches()
    register_launcher()
    os.environ.setdefault("HYDRA_FULL_ERROR", "1")
    overrides, arguments = [], None
    try:
        sys.argv[1:] = with_plugins(with_quoted_paths(sys.argv[1:]))
        folders = config_folders(sys.argv[1:])
        load_plugins(sys.argv[1:], folders)
    except ValueError as error:
        leave(str(error), WRONG)
    if not QUIET_FLAGS & set(sys.argv[1:]):
        arguments = get_args_parser().parse_intermixed_args(sys.argv[1:])
        overrides = arguments.overrides
        if arguments.multirun:
            _stop_on_mistakes(overrides, folders)
            waiting = dict(zip(overrides, deferred(overrides, folders)))
            sys.argv[1:] = [waiting.get(text, text) for text in sys.argv[1:]]
            if not any(text.startswith("sweep=") for text in overrides):
                sys.argv.append(f"sweep={sweep_name(overrides)}")
    try:
        hydra.main(config_path=str(CONF), config_name="config", execution_whitelist=TRUSTED)(job)()
    except REFUSED as error:
        _stop_on_mistakes(overrides, folders)
        leave(str(error), WRONG if isinstance(error, (HydraException, OmegaConfBaseException)) else ERROR)
    except OSError as error:
        outputs = next((text.partition("=")[2] for text in overrides if text.startswith("outputs=")), "outputs")
        leave(of_disk(error, outputs))
    except Exception as error:
        from powmix.search.launching import LOST

        if type(error).__name__ not in LOST:
            raise
        told = " ".join(str(error).splitlines()[:2])
        leave(f"a job was lost: {told}; the same command continues", SOME_FAILED)
    if arguments and arguments.multirun and Around.failed:
        sys.exit(SOME_FAILED)


def _stop_on_mistakes(overrides: Sequence[str], folders: Sequence[str]) -> None:
    """Says everything that is wrong with the command line in one message, and stops."""
    if errors := check_command(overrides, folders):
        leave("\n        ".join(errors), WRONG)


if __name__ == "__main__":
    main()
