"""How the command `powmix` ends: its exit codes, which scripts and schedulers can rely on."""

from __future__ import annotations

import errno
import sys
from typing import NoReturn

FINISHED = 0
"""Everything asked for is finished."""
ERROR = 1
"""Something went wrong; the message says what."""
WRONG = 2
"""The command is wrong: nothing was begun."""
SOME_FAILED = 3
"""A sweep ended in which some jobs have no result; the table says which."""
INTERRUPTED = 75
"""Stopped by Ctrl-C or SIGTERM; the same command continues. (BSD's EX_TEMPFAIL: try again.)"""


def leave(message: str, code: int = ERROR) -> NoReturn:
    """Says why, on stderr, and ends the process."""
    if code == ERROR:
        sys.exit(f"powmix: {message}")
    sys.stderr.write(f"powmix: {message}\n")
    sys.exit(code)


def of_disk(error: OSError, folder: str = "") -> str:
    """What to do about a disk that is full or fails; any other error as it is. folder: where no file is named."""
    if error.errno not in (errno.ENOSPC, errno.EDQUOT, errno.EIO):
        return str(error)
    where = error.filename or folder
    return f"{where}: {error.strerror}; finished seeds are kept, and once this is mended the same command continues"
