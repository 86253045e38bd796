"""The entrypoint: compose, validate, run, return the objective. Nothing heavy is imported before it is needed."""

from __future__ import annotations

import logging
import os
import sys
from collections.abc import Sequence

import hydra
from hydra._internal.utils import get_args_parser
from hydra.errors import HydraException
from omegaconf.errors import OmegaConfBaseException

from powmix.command.callback import Around
from powmix.command.composition import register_resolvers, sweep_name
from powmix.command.exits import ERROR, INTERRUPTED, SOME_FAILED, WRONG, leave, of_disk
from powmix.command.job import job
from powmix.command.launchers import register as register_launcher
from powmix.command.overrides import REFUSED, check_command, deferred, with_quoted_paths
from powmix.command.sweeping import register as register_sweeper
from powmix.mistakes import print_on_any_terminal
from powmix.places import CONF
from powmix.training.interruption import sigterm_as_interrupt

TRUSTED = ["powmix.*", "optuna.*"]
QUIET_FLAGS = {"--help", "-h", "--hydra-help", "--version", "--shell-completion", "-sc"}


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
    register_resolvers()
    register_sweeper()
    register_launcher()
    os.environ.setdefault("HYDRA_FULL_ERROR", "1")
    overrides, arguments = [], None
    if not QUIET_FLAGS & set(sys.argv[1:]):
        sys.argv[1:] = with_quoted_paths(sys.argv[1:])
        arguments = get_args_parser().parse_intermixed_args(sys.argv[1:])
        overrides = arguments.overrides
        if arguments.multirun:
            _stop_on_mistakes(overrides)
            waiting = dict(zip(overrides, deferred(overrides)))
            sys.argv[1:] = [waiting.get(text, text) for text in sys.argv[1:]]
            if not any(text.startswith("sweep=") for text in overrides):
                sys.argv.append(f"sweep={sweep_name(overrides)}")
    try:
        hydra.main(config_path=str(CONF), config_name="config", execution_whitelist=TRUSTED)(job)()
    except REFUSED as error:
        _stop_on_mistakes(overrides)
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


def _stop_on_mistakes(overrides: Sequence[str]) -> None:
    """Says everything that is wrong with the command line in one message, and stops."""
    if errors := check_command(overrides):
        leave("\n        ".join(errors), WRONG)


if __name__ == "__main__":
    main()
