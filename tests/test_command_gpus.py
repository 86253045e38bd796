"""Places on the GPUs of a machine, shared by every process of a user."""

import os
import subprocess
import sys

import pytest

from powmix.command import gpus
from powmix.command.gpus import list_gpus, n_slots, places_folder, slot


def test_a_pool_holds_no_more_trials_than_it_has_places_and_fills_all_gpus_first(tmp_path):
    with slot(["0", "1"], 2, tmp_path) as a, slot(["0", "1"], 2, tmp_path) as b, slot(["0", "1"], 2, tmp_path) as c:
        assert (a, b, c) == ("0", "1", "0")
    with slot(["0", "1"], 2, tmp_path) as again:
        assert again == "0"
    with slot([], 1, tmp_path) as none:
        assert none is None


def test_the_pool_is_what_this_process_may_see(monkeypatch):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "2,5")
    assert list_gpus("auto") == ["2", "5"] and list_gpus([5]) == ["5"] and list_gpus(None) == []
    with pytest.raises(ValueError, match="allowed null, auto or a list"):
        list_gpus("all")
    with pytest.raises(ValueError, match="trials_per_gpu: got 0"):
        n_slots(["0"], 0)


def test_a_gpu_that_is_not_on_this_machine_is_refused_with_those_that_are(monkeypatch):
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    monkeypatch.setattr(gpus, "_installed", lambda: (["0", "1"], ["GPU-a", "GPU-b"]))
    assert list_gpus([1, "GPU-a"]) == ["1", "GPU-a"]
    with pytest.raises(ValueError, match=r"hydra.sweeper.gpus: got 99, this machine's GPUs: 0, 1"):
        list_gpus([0, 99])


def test_the_places_of_a_machine_do_not_follow_tmpdir(tmp_path):
    code = "from powmix.command.gpus import places_folder; print(places_folder())"
    told = subprocess.run(
        [sys.executable, "-c", code], env={**os.environ, "TMPDIR": str(tmp_path)}, capture_output=True, text=True
    )
    assert told.stdout.strip() == str(places_folder())
