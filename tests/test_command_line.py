"""The real command line, from overrides to result.json: run, reuse, compare, interrupt, refuse."""

import csv
import json
import os
import pickle
import signal
import subprocess
import sys
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread

import commands
import pytest

from powmix.__main__ import main
from powmix.command.exits import INTERRUPTED, SOME_FAILED, WRONG

TINY = ["dataset.sizes={train: 60, valid: 30, test: 30}", "trainer.max_epochs=3", "trainer.device=cpu"]


@pytest.fixture
def powmix(tmp_path, monkeypatch):
    """The command, run in this process in an empty working directory; returns the working directory."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("HYDRA_FULL_ERROR", raising=False)

    def call(*arguments: str) -> Path:
        monkeypatch.setattr(sys, "argv", ["powmix", *arguments])
        main()
        return tmp_path

    return call


def results(folder: Path) -> list[dict]:
    return [json.loads(path.read_text()) for path in sorted(folder.glob("outputs/runs/*/result.json"))]


def logged(folder: Path) -> str:
    [log] = folder.glob("outputs/runs/*/powmix.log")
    return log.read_text()


def test_a_run_leaves_everything_a_reader_needs(powmix, capsys):
    where = powmix(*TINY, "seeds=2", "mixer.p_mix=0.7")
    [result] = results(where)
    assert result["status"] == "finished" and result["error"] is None
    assert result["variant"] | {"ablation": None} == result["variant"]
    assert [seed["seed"] for seed in result["seeds"]] == [1111, 1112]
    assert {"MAE", "Corr", "Non0_acc_2", "Mult_acc_7", "Loss"} <= set(result["seeds"][0]["test"])
    mean = sum(seed["validation"]["MAE"] for seed in result["seeds"]) / 2
    assert result["objective"] == pytest.approx(mean) == pytest.approx(result["mean"]["validation"]["MAE"])
    assert result["std"]["test"]["MAE"] > 0 and result["ci95"]["test"]["MAE"] is None  # two seeds have no interval
    assert result["provenance"]["dataset"]["sizes"] == [60, 30, 30]
    assert result["command"].startswith("powmix ") and "mixer.p_mix=0.7" in result["command"]
    folder = where / "outputs/runs" / result["signature"]
    for name in ("config.yaml", "seed_1111/history.csv", "seed_1111/weights.safetensors", "seed_1111/predictions.csv"):
        assert (folder / name).is_file()
    assert len(list(csv.DictReader((folder / "seed_1111/predictions.csv").open()))) == 30
    assert "MAE" in capsys.readouterr().out


def test_the_same_command_reuses_its_finished_seeds(powmix):
    where = powmix(*TINY, "seeds=1")
    [folder] = where.glob("outputs/runs/*")
    before = (folder / "seed_1111/weights.safetensors").stat().st_mtime_ns
    powmix(*TINY, "seeds=2", "tracker=none")
    assert (folder / "seed_1111/weights.safetensors").stat().st_mtime_ns == before
    assert [seed["seed"] for seed in results(where)[0]["seeds"]] == [1111, 1112]


def test_mixing_with_probability_zero_is_no_mixing_bit_for_bit(powmix):
    powmix(*TINY, "seeds=1", "mixer=none")
    where = powmix(*TINY, "seeds=1", "mixer=powmix", "mixer.p_mix=0")
    first, second = results(where)
    assert first["signature"] != second["signature"]
    for split in ("validation", "test"):
        assert first["seeds"][0][split] == second["seeds"][0][split]


@pytest.mark.parametrize(
    ("accumulate", "said"),
    [
        (1, "make 2 optimiser steps an epoch: trainer.early_stop=1 gives up after 2 of them; trainer.early_stop=40"),
        (2, "make 1 optimiser step an epoch: trainer.early_stop=1 gives up after 1 of them; trainer.accumulate=1"),
    ],
)
def test_patience_that_is_a_few_optimiser_steps_is_pointed_out(powmix, accumulate, said):
    few = ("trainer.max_epochs=2", "trainer.early_stop=1", f"trainer.accumulate={accumulate}")
    assert f"60 training examples {said}" in logged(powmix(*TINY, "seeds=1", *few))


def test_data_too_small_for_a_single_optimiser_step_are_refused(powmix):
    with pytest.raises(SystemExit, match=r"the training split has only 2 batches \(60 examples\)"):
        powmix(*TINY, "seeds=1", "trainer.accumulate=3")


def test_a_diverging_run_ends_in_one_line(powmix, capsys):
    with pytest.raises(SystemExit, match=r"seed 1111: validation Loss was not finite.*; seed 1112: .*learning rate 1e"):
        powmix(*TINY, "seeds=2", "optimizer.learning_rate=1e30")
    assert "Traceback" not in (said := capsys.readouterr().err) and "Error executing job" not in said


def test_a_preset_without_multirun_is_pointed_out(powmix, capsys, tmp_path):
    with pytest.raises(SystemExit) as stopped:
        powmix("sweeps=demo", "seeds=1")
    assert stopped.value.code == WRONG and "sweeps=demo is a comparison or a search" in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []


def test_a_path_may_have_any_character(powmix, capsys):
    with pytest.raises(SystemExit) as stopped:
        powmix("dataset=mosi", "dataset.path=unaligned_50 (1)^.pkl")
    assert stopped.value.code == WRONG
    assert capsys.readouterr().err.startswith("powmix: dataset.path: no file 'unaligned_50 (1)^.pkl'. CMU-MOSI")


def test_a_run_of_another_version_is_named_and_left_alone(powmix, capsys, tmp_path):
    old = tmp_path / "old"
    (old / "seed_1111").mkdir(parents=True)
    for path in (old / "result.json", old / "seed_1111/result.json"):
        path.write_text('{"schema": 1, "status": "finished", "seed": 1111}')
    before = {path: path.read_bytes() for path in old.rglob("*") if path.is_file()}
    with pytest.raises(SystemExit, match=r"written by another version of powmix \(schema 1, this is \d\)"):
        powmix(*TINY, "seeds=1", f"hydra.run.dir={old}")
    assert {path: path.read_bytes() for path in old.rglob("*") if path.is_file()} == before


def test_hydras_run_directory_is_honoured(powmix):
    where = powmix(*TINY, "seeds=1", "hydra.run.dir=elsewhere")
    assert json.loads((where / "elsewhere/result.json").read_text())["status"] == "finished"
    assert not (where / "outputs").exists()


def test_a_multirun_compares_its_variants_and_survives_a_failing_job(powmix, capsys, tmp_path):
    with pytest.raises(SystemExit) as ended:
        powmix("-m", *TINY, "seeds=2", "mixer=none,powmix", "optimizer.learning_rate=0.001,1e30")
    assert ended.value.code == SOME_FAILED
    [sweep] = tmp_path.glob("outputs/sweeps/*")
    jobs = json.loads((sweep / "sweep.json").read_text())["jobs"]
    assert [job["status"] for job in jobs] == ["finished", "failed", "finished", "failed"]
    assert "finite" in jobs[1]["error"] and jobs[1]["objective"] is None
    assert json.loads((sweep / jobs[0]["run"] / "result.json").read_text())["variant"]["mixer"] == "none"
    printed = capsys.readouterr().out
    assert "PowMix" in printed and "failed" in printed
    for name in ("table.md", "table.csv", "comparison.png"):
        assert (sweep / name).stat().st_size > 0


def test_a_multirun_over_models_takes_options_that_the_default_model_lacks(powmix):
    where = powmix("-m", *TINY, "seeds=1", "model=choice(mult)", "model.levels=1", "model.dim=8", "model.heads=2")
    [result] = results(where)
    assert result["status"] == "finished" and "model.levels=1" in result["overrides"]


def test_wandb_offline_keeps_one_run_per_seed(powmix, monkeypatch):
    monkeypatch.setenv("WANDB_MODE", "offline")
    where = powmix(*TINY, "seeds=2", "tracker=wandb", "tracker.wandb.mode=offline")
    assert len(list(where.glob("outputs/runs/*/wandb/offline-run-*/run-*.wandb"))) == 2
    assert results(where)[0]["status"] == "finished"


def test_wandb_without_a_key_falls_back_to_offline_with_a_warning(powmix, monkeypatch):
    for name in ("WANDB_API_KEY", "WANDB_MODE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("NETRC", os.devnull)
    monkeypatch.setenv("HOME", os.getcwd())
    where = powmix(*TINY, "seeds=1", "tracker=wandb")
    assert "no API key (`wandb login`), so this run is logged offline" in logged(where)
    assert len(list(where.glob("outputs/runs/*/wandb/offline-run-*"))) == 1


@pytest.fixture
def unwelcoming_server():
    """A server that answers every request with 401, as W&B does to a key it does not know."""

    class Refusing(BaseHTTPRequestHandler):
        def do_GET(self):
            self.send_error(401)

        do_POST = do_GET

        def log_message(self, *_):
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Refusing)
    Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()


@pytest.mark.parametrize("server", ["unreachable", "refusing"])
def test_wandb_with_a_key_and_no_server_that_takes_it_falls_back_to_offline(
    powmix, monkeypatch, unwelcoming_server, server
):
    where = unwelcoming_server if server == "refusing" else "http://127.0.0.1:9"
    for name, value in {"WANDB_BASE_URL": where, "WANDB_API_KEY": "0" * 40}.items():
        monkeypatch.setenv(name, value)
    monkeypatch.delenv("WANDB_MODE", raising=False)
    wandb = pytest.importorskip("wandb")
    wandb.teardown()
    folder = powmix(*TINY, "seeds=2", "tracker=wandb")
    assert logged(folder).count("is logged offline") == 2
    assert len(list(folder.glob("outputs/runs/*/wandb/offline-run-*/run-*.wandb"))) == 2
    assert results(folder)[0]["status"] == "finished"
    wandb.teardown()


def test_mistakes_stop_the_command_before_anything_is_written(powmix, capsys, tmp_path):
    with pytest.raises(SystemExit) as stopped:
        powmix("mixer.p_mix=1.5", "mixer.subset=[4,2]", "modle=mult")
    said = capsys.readouterr().err
    assert stopped.value.code == 2
    assert all(word in said for word in ("mixer.p_mix", "mixer.subset", "modle")) and "Traceback" not in said
    assert list(tmp_path.iterdir()) == []


class Evil:
    def __reduce__(self):
        return os.system, ("touch RAN",)


def test_a_feature_file_that_would_run_code_is_refused(powmix, tmp_path, monkeypatch):
    monkeypatch.setenv("POWMIX_CACHE", str(tmp_path / "cache"))
    (tmp_path / "evil.pkl").write_bytes(pickle.dumps({"train": Evil()}))
    with pytest.raises(SystemExit) as stopped:
        powmix("dataset=mosi", "dataset.path=evil.pkl", "model=lf_dnn", "seeds=1")
    assert "evil.pkl" in str(stopped.value.code)
    assert not (tmp_path / "RAN").exists()


@pytest.mark.parametrize("farewell", [signal.SIGKILL, pytest.param(signal.SIGTERM, marks=pytest.mark.slow)])
def test_a_killed_run_continues_to_the_same_numbers(powmix, tmp_path, farewell):
    longer = [*TINY, "trainer.max_epochs=60", "trainer.early_stop=60", "seeds=[7]"]
    process = commands.start(tmp_path, "-m", "powmix", *longer)
    deadline = time.monotonic() + 120
    while not list(tmp_path.glob("outputs/runs/*/seed_7/checkpoint.pt")) and time.monotonic() < deadline:
        time.sleep(0.02)
    process.send_signal(farewell)
    said, _ = process.communicate()
    assert process.returncode != 0 and not list(tmp_path.glob("outputs/runs/*/seed_7/weights.safetensors"))
    if farewell == signal.SIGTERM:
        assert "the same command continues" in said and process.returncode == INTERRUPTED
        assert [one["status"] for one in results(tmp_path)] == ["interrupted"]
    continued = results(powmix(*longer))[0]
    powmix(*longer, "outputs=uninterrupted")
    [whole] = [json.loads(p.read_text()) for p in tmp_path.glob("uninterrupted/runs/*/result.json")]
    for split in ("validation", "test"):
        assert continued["seeds"][0][split] == whole["seeds"][0][split]
    assert continued["seeds"][0]["epochs"] == whole["seeds"][0]["epochs"]


IMPORTED = """
import sys
from powmix.__main__ import main
sys.argv[0] = "powmix"
main()
HEAVY = ("torch", "torch._dynamo", "scipy", "optuna", "transformers")
print("imported:", *(name for name in HEAVY if name in sys.modules))
"""


def test_a_short_run_imports_no_compiler_and_a_finished_one_no_torch(tmp_path):
    words = ["seeds=1", "trainer.max_epochs=1", "dataset.sizes={train: 40, valid: 20, test: 20}"]

    def imported() -> list[str]:
        shown = subprocess.run([sys.executable, "-c", IMPORTED, *words], cwd=tmp_path, capture_output=True, text=True)
        assert shown.returncode == 0, shown.stderr
        return shown.stdout.splitlines()[-1].split()[1:]

    assert imported() == ["torch"]
    assert imported() == []


def test_a_result_worse_than_a_constant_says_so_once(powmix, capsys):
    """A step of this size throws the weights away; one that learns has nothing to say."""
    where = powmix(*TINY, "seeds=1", "optimizer.learning_rate=1e4", "mixer=none")
    told = "that of always predicting the median of the training labels"
    assert capsys.readouterr().out.count(told) == 1
    assert told in results(where)[0]["note"]


@pytest.mark.parametrize(
    ("task", "metric", "worst", "best"), [("regression", "MAE", 1e9, 0.0), ("classification", "Accuracy", 0.0, 1.0)]
)
def test_worse_than_a_constant_is_measured_in_the_objective(task, metric, worst, best):
    from training_corpus import tiny_splits

    from powmix.experiment import worse_than_a_constant

    splits = tiny_splits(outputs=3 if task == "classification" else 1)
    assert metric in worse_than_a_constant(splits, task, metric, worst)
    assert worse_than_a_constant(splits, task, metric, best) is None
