"""The entrypoint: compose, validate, run, return the objective. Nothing heavy is imported before it is needed."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence

import hydra
from hydra._internal.utils import get_args_parser
from hydra.errors import HydraException

from powmix.command.job import job
from powmix.command.overrides import check_command, deferred
from powmix.command.sweeping import register as register_sweeper
from powmix.runs.identity import CONF, register_resolvers, sweep_name
from powmix.training.interruption import sigterm_as_interrupt

TRUSTED = ["powmix.*", "optuna.*"]
QUIET_FLAGS = {"--help", "-h", "--hydra-help", "--version", "--shell-completion", "-sc"}


def main() -> None:
    """`powmix` on the command line."""
    register_resolvers()
    register_sweeper()
    if not QUIET_FLAGS & set(sys.argv[1:]):
        arguments = get_args_parser().parse_intermixed_args(sys.argv[1:])
        _stop_on_mistakes(arguments.overrides)
        if arguments.multirun:
            waiting = dict(zip(arguments.overrides, deferred(arguments.overrides)))
            sys.argv[1:] = [waiting.get(text, text) for text in sys.argv[1:]]
            if not any(text.startswith("sweep=") for text in arguments.overrides):
                sys.argv.append(f"sweep={sweep_name(arguments.overrides)}")
    os.environ.setdefault("HYDRA_FULL_ERROR", "1")
    try:
        with sigterm_as_interrupt():
            hydra.main(config_path=str(CONF), config_name="config", execution_whitelist=TRUSTED)(job)()
    except KeyboardInterrupt:
        sys.exit("powmix: interrupted; the same command continues")
    except (ValueError, OSError, HydraException) as error:
        sys.exit(f"powmix: {error}")


def _stop_on_mistakes(overrides: Sequence[str]) -> None:
    """Say everything that is wrong with the command line in one message, and stop."""
    if errors := check_command(overrides):
        sys.stderr.write("powmix: " + "\n        ".join(errors) + "\n")
        sys.exit(2)


if __name__ == "__main__":
    main()
