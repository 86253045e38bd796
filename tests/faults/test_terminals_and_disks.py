"""The command on a terminal that knows only ASCII, and on a disk that is full: it says what it can, and where."""

import io
import sys

import pytest
from test_command_line import TINY

from powmix.__main__ import main
from powmix.report.__main__ import main as report


class Terminal(io.TextIOWrapper):
    """A terminal that knows only ASCII."""

    def __init__(self) -> None:
        super().__init__(io.BytesIO(), encoding="ascii")

    def shown(self) -> str:
        self.flush()
        return self.buffer.getvalue().decode("ascii")


def on_ascii(monkeypatch, command, *arguments):
    """What the command prints there."""
    with monkeypatch.context() as patched:
        patched.setattr(sys, "stdout", Terminal())
        patched.setattr(sys, "argv", ["powmix", *arguments])
        command()
        return sys.stdout.shown()


@pytest.mark.slow
def test_a_terminal_without_the_tables_characters_gets_question_marks(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert "MAE ?" in on_ascii(monkeypatch, main, "-m", *TINY, "seeds=1", "mixer=none,powmix")
    assert "MAE ?" in on_ascii(monkeypatch, report, "outputs/runs")


@pytest.mark.parametrize("name", ["checkpoint.pt", "history.csv", "weights.safetensors", "predictions.csv"])
def test_a_full_disk_names_the_file_and_says_what_to_do(name, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "argv", ["powmix", *TINY, "seeds=1"])
    real = io.open

    def full(file, mode="r", *more, **options):
        full_disk = f".{name}." in str(file) and "w" in mode
        return real("/dev/full" if full_disk else file, mode, *more, **options)

    with monkeypatch.context() as patched, pytest.raises(SystemExit) as ended:
        patched.setattr(io, "open", full)
        main()
    told = str(ended.value.code)
    assert told.startswith("powmix: ") and f"seed_1111/{name}: No space left on device" in told
    assert "the same command continues" in told and "\n" not in told
    main()
    assert len(list(tmp_path.glob("outputs/runs/*/seed_1111/result.json"))) == 1
