"""seeds=until_decided: rounds of seeds, for the comparisons that are still open and their baseline."""

import json
import sys

import pytest
import report_runs as fabricate
from omegaconf import OmegaConf

from powmix.__main__ import main
from powmix.command.exits import WRONG
from powmix.command.sweeping import look, rounds
from powmix.runs.records import write_job, write_sweep

UNTIL = OmegaConf.create({"seeds": 20, "effect": 1.0, "split": "test"})


def sweep(tmp_path, count: int, **gains: float):
    """A sweep's folder with no mixing as job 0 and one job for each mixer, which is better by its gain."""
    folder = tmp_path / "outputs/sweeps/one"
    seeds = range(1111, 1111 + count)
    base = {seed: 0.9 + 0.01 * (seed % 3) for seed in seeds}
    runs = [fabricate.write_run(tmp_path / "outputs", "none", base)]
    for mixer, gain in gains.items():
        noisy = {seed: base[seed] - gain + 0.04 * (-1) ** seed for seed in seeds}
        runs.append(fabricate.write_run(tmp_path / "outputs", mixer, noisy))
    for number, run in enumerate(runs):
        write_job(folder / str(number), number=number, overrides=[], status="finished", run=f"../../runs/{run.name}")
    write_sweep(folder, name="one")
    return folder


def test_rounds_grow_by_a_fifth_and_end_at_the_most():
    assert list(rounds(12)) == [5, 6, 8, 10, 12]
    assert list(rounds(5)) == [5]


def test_what_is_decided_stops_and_the_baseline_goes_on_with_what_is_not(tmp_path):
    folder = sweep(tmp_path, 8, powmix=0.3, multimix=0.01)
    assert look(folder, UNTIL, 8) == {0, 2}
    looks = {one["label"]: one for one in json.loads((folder / "sweep.json").read_text())["until"]["looks"]}
    assert looks["PowMix"]["decision"] == "better" and looks["MultiMix"]["decision"] == "undecided"


def test_all_stops_where_all_is_decided_or_there_are_no_more_seeds(tmp_path):
    assert look(sweep(tmp_path, 8, powmix=0.3), UNTIL, 8) == set()
    assert look(sweep(tmp_path / "more", 20, multimix=0.01), UNTIL, 20) == set()


def test_a_comparison_adds_seeds_and_says_what_it_decided(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    command = ["powmix", "-m", "mixer=none,powmix", "seeds=until_decided", "until.seeds=6", "trainer.max_epochs=1"]
    command += ["trainer.device=cpu", "dataset.sizes={train: 60, valid: 30, test: 30}", "sweep=s"]
    monkeypatch.setattr(sys, "argv", command)
    main()
    told = capsys.readouterr().out
    assert "Seeds were added until it was decided" in told and "PowMix (Synthetic, LF-DNN): " in told
    assert "Undecided: needs" not in told and "95% CI [" not in told, "no other verdict is told beside it"
    counts = [len(json.loads(path.read_text())["seeds"]) for path in tmp_path.glob("outputs/runs/*/result.json")]
    assert len(counts) == 2 and set(counts) <= {5, 6}


def test_a_single_run_cannot_wait_for_a_decision(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "argv", ["powmix", "seeds=until_decided"])
    with pytest.raises(SystemExit) as stopped:
        main()
    assert stopped.value.code == WRONG and "add -m" in capsys.readouterr().err
