"""The command `powmix` from its first moment: an interrupt while Python still reads modules ends in one line, too."""

from powmix.command.exits import INTERRUPTED, leave


def main() -> None:
    """`powmix`, as installed."""
    try:
        from powmix.__main__ import main as begin

        begin()
    except KeyboardInterrupt:
        leave("interrupted; the same command continues", INTERRUPTED)
