"""The GPU command: parts are isolated and timed, what they tell is written as it comes, the exit code sums up."""

import json

import pytest

from benchmarks import gpu
from benchmarks.gpu_parts import Command, Part

SCRIPTS = {
    "tells": """print('{"name": "a figure", "ratio": 2}')""",
    "breaks": """print('{"name": "before"}', flush=True); raise ValueError("no such kernel")""",
    "hangs": """import time; print('{"name": "early"}\\n{"name": "cut', flush=True); time.sleep(600)""",
}


@pytest.fixture
def session(tmp_path, monkeypatch):
    """Runs parts of small scripts; the exit code and gpu.json's parts by name."""
    for name, text in SCRIPTS.items():
        (tmp_path / f"{name}.py").write_text(text)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))

    def call(*parts, minutes=10.0, options=("--device", "cpu")):
        out = tmp_path / "out"
        code = gpu.main(["--out", str(out), "--minutes", str(minutes), *options], parts)
        return code, {part["name"]: part for part in json.loads((out / "gpu.json").read_text())["parts"]}

    return call


def test_what_fails_is_recorded_and_the_parts_after_it_run(session, tmp_path):
    code, parts = session(
        Part("first", 1, (Command("breaks"), Command("tells"))), Part("second", 1, (Command("tells"),))
    )
    assert code == 1
    assert [part["status"] for part in parts.values()] == ["failed", "done"]
    broken, after = parts["first"]["commands"]
    assert (broken["status"], broken["lines"]) == ("failed", [{"name": "before"}])
    assert "ValueError: no such kernel" in broken["error"]
    assert (after["status"], after["lines"]) == ("done", [{"name": "a figure", "ratio": 2}])
    assert "no such kernel" in (tmp_path / "out" / "first.log").read_text()


@pytest.mark.slow
def test_a_part_that_takes_longer_than_its_share_is_ended_with_what_it_told(session):
    slow = Part("slow", 1, (Command("hangs"), Command("tells")))
    code, parts = session(slow, Part("rest", 99, (Command("tells"),)), minutes=10)
    assert code == 1 and parts["slow"]["status"] == "out of time"
    assert [told["status"] for told in parts["slow"]["commands"]] == ["out of time", "left out"]
    assert parts["slow"]["commands"][0]["lines"] == [{"name": "early"}]
    assert parts["rest"]["status"] == "done" and parts["rest"]["limit"] > 580


def test_what_needs_cuda_says_so_elsewhere_and_the_exit_code_is_green(session):
    code, parts = session(Part("graphs", 1, (Command("breaks", needs_cuda=True),)))
    assert code == 0 and parts["graphs"]["status"] == "needs cuda"


def test_tiny_adds_its_options_and_leaves_out_what_has_none(session):
    commands = (Command("tells --device DEVICE", tiny="--few"), Command("breaks", tiny=None))
    code, parts = session(Part("part", 1, commands), options=("--device", "cpu", "--tiny"))
    assert code == 0
    assert [told["command"] for told in parts["part"]["commands"]] == ["tells --device cpu --few"]


def test_outcomes_of_tests_are_counted_and_failures_named():
    told = {}
    for line in ("tests/test_x.py::test_a[1, 2] PASSED [ 50%]", "tests/test_x.py::test_b FAILED [100%]", "E  assert 1"):
        gpu.keep(line, told)
    assert told == {"tests": {"passed": 1, "failed": 1}, "failures": ["tests/test_x.py::test_b"]}


def test_wheels_that_are_missing_are_named_before_anything_runs(monkeypatch, capsys, tmp_path):
    found = gpu.installed
    monkeypatch.setattr(gpu, "installed", lambda name: None if name in ("scipy", "torch") else found(name))
    assert gpu.main(["--device", "cpu", "--out", str(tmp_path / "out")]) == 2
    said = capsys.readouterr().err
    assert f"not installed: scipy=={gpu.wheels()['scipy']} (pip install" in said and "torch 2.7 or newer" in said
    assert not (tmp_path / "out").exists()


def test_a_device_that_is_not_there_is_named(monkeypatch):
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    (sentence,) = gpu.missing("cuda")
    assert sentence.startswith("--device cuda: torch") and "finds no CUDA device" in sentence


def test_the_wheels_are_names_and_versions_and_nothing_else():
    assert {"numpy", "transformers", "pytest"} <= gpu.wheels().keys() and "torch" not in gpu.wheels()
    for name, version in gpu.wheels().items():
        assert name.replace("-", "").isalnum() and version[0].isdigit() and "/" not in version


@pytest.mark.slow
def test_the_whole_command_ends_green_on_a_cpu(tmp_path):
    assert gpu.main(["--device", "cpu", "--tiny", "--minutes", "30", "--out", str(tmp_path)]) == 0
    parts = json.loads((tmp_path / "gpu.json").read_text())["parts"]
    assert [part["name"] for part in parts] == [part.name for part in gpu.PARTS]
    assert {part["status"] for part in parts} == {"done"}
    needing = [told["command"] for part in parts for told in part["commands"] if told["status"] == "needs cuda"]
    assert any("--mode graph" in command for command in needing) and any("--mps" in command for command in needing)
    for part in parts[1:]:
        assert all(told["lines"] for told in part["commands"] if told["status"] == "done"), part["name"]
