"""Who waits sees what is being measured; a log gets nothing."""

from __future__ import annotations

import sys
from types import TracebackType

from rich.console import Console
from rich.status import Status


class Progress:
    """A spinner on a terminal's stderr: the variant, the analysis, the seed, the rows so far."""

    def __init__(self, title: str):
        self.title = title
        self.status: Status | None = None

    def __enter__(self) -> Progress:
        if sys.stderr.isatty():
            self.status = Console(stderr=True).status(f"{self.title}: restoring")
            self.status.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self.status:
            self.status.stop()

    def on_row(self, name: str, seed: int, rows: int) -> None:
        if self.status:
            self.status.update(f"{self.title}: {name}, seed {seed}, {rows} rows")
