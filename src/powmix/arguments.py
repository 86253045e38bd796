"""The argument parser of the commands beside `powmix`: a mistake is one line, with the nearest option."""

from __future__ import annotations

import argparse
import difflib
from typing import NoReturn


class Parser(argparse.ArgumentParser):
    """argparse with errors in one line, the nearest option named."""

    def error(self, message: str) -> NoReturn:
        unknown = message.partition("unrecognized arguments: ")[2].split()
        options = [option for action in self._actions for option in action.option_strings]
        near = difflib.get_close_matches(unknown[0].partition("=")[0], options, n=1) if unknown else []
        self.exit(2, f"{self.prog}: {message}{f'; nearest: {near[0]}' if near else ''}\n")
