"""Nothing in the cache is believed unchecked: damage is named by `powmix-data check` and mended by the command."""

import json
import logging
import os
import resource
import subprocess
import sys

import numpy as np
import pytest
import torch
from feature_files import content, write

from powmix.data import cache, load, store
from powmix.data.__main__ import main
from powmix.data.store import open_store

ALL = ("tokens", "text", "audio", "vision")


@pytest.fixture(autouse=True)
def own_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("POWMIX_CACHE", str(tmp_path / "cache"))


@pytest.fixture
def path(tmp_path):
    return write(tmp_path / "f.pkl", content())


@pytest.fixture
def opened(path):
    return open_store(path, "mosi")


def everything(splits):
    return [
        tensor.clone()
        for split in (splits.train, splits.valid, splits.test)
        for tensor in (*split.features.values(), split.tokens, *split.lengths.values(), split.target)
    ]


def flip(file, place):
    data = bytearray(file.read_bytes())
    data[place] ^= 1
    file.write_bytes(data)


def test_check_names_every_array_with_a_flipped_bit(path, opened, capsys):
    files = sorted(file for file in opened.folder.iterdir() if file.name != cache.FACTS)
    assert len(files) == 3 * (3 + 1 + 1 + 3 + 1)
    rng = np.random.default_rng(0)
    for file in files:
        before = file.read_bytes()
        for place in (0, len(before) - 1, *rng.integers(0, len(before), 3)):
            flip(file, int(place))
            for checked in (path, opened.folder):
                assert main(["check", str(checked)]) == 2
                assert f"{file.name} has another" in capsys.readouterr().err
            file.write_bytes(before)
    assert main(["check", str(opened.folder)]) == 0


def test_all_damage_is_told_at_once(opened):
    flip(opened.folder / "train.audio.npy", 200)
    (opened.folder / "test.target.npy").unlink()
    (opened.folder / "valid.json").write_text("")
    assert sorted(problem.split()[0] for problem in cache.damage(opened.folder)) == [
        "test.target.npy", "train.audio.npy", "valid.json",
    ]  # fmt: skip


def spoilt(name, change):
    def spoil(folder):
        change(folder / name)

    return pytest.param(spoil, id=f"{name} {change.__name__}")


def removed(file):
    file.unlink()


def emptied(file):
    file.write_bytes(b"")


def truncated(file):
    file.write_bytes(file.read_bytes()[:-3])


def zeroed(file):
    file.write_bytes(bytes(file.stat().st_size))


def nested(file):
    file.write_text("[" * 100_000)


def another_object(file):
    file.write_text(json.dumps({"facts": {}, "files": {}, "check": "0" * 64}))


def another_fact(file):
    facts = json.loads(file.read_text())
    facts["facts"]["dims"]["audio"] += 1
    file.write_text(json.dumps(facts))


@pytest.mark.parametrize(
    "spoil",
    [
        *(spoilt("facts.json", change) for change in (removed, emptied, truncated, zeroed, nested)),
        *(spoilt("facts.json", change) for change in (another_object, another_fact)),
        *(spoilt("train.audio.npy", change) for change in (removed, emptied, truncated, zeroed)),
        *(spoilt("train.target.npy", change) for change in (removed, zeroed)),
        *(spoilt("test.json", change) for change in (emptied, zeroed)),
    ],
)
def test_a_damaged_store_is_made_again_with_one_warning(path, opened, caplog, spoil):
    before = everything(opened.splits)
    spoil(opened.folder)
    with caplog.at_level(logging.WARNING):
        again = open_store(path, "mosi")
    assert all(torch.equal(*pair) for pair in zip(before, everything(again.splits), strict=True))
    assert [record.levelname for record in caplog.records] == ["WARNING"]
    assert "is not as it was written" in caplog.text and "making it again" in caplog.text
    assert cache.damage(again.folder) == []
    assert not list(again.folder.parent.glob("*.tmp-*"))


@pytest.fixture
def large(monkeypatch, path, opened):
    """The store of arrays that are too large to be hashed at every opening."""
    monkeypatch.setattr(cache, "SMALL", 0)
    return opened


def test_a_large_array_is_hashed_after_a_restart_of_the_machine(path, large, monkeypatch, caplog):
    flip(large.folder / "train.audio.npy", 300)
    assert open_store(path, "mosi").facts == large.facts and not caplog.records
    monkeypatch.setattr(cache, "_boot", lambda: "another")
    again = open_store(path, "mosi")
    assert "train.audio.npy has another SHA-256" in caplog.text
    assert torch.equal(again.splits.train.features["audio"], torch.from_numpy(content()["train"]["audio"]))


def test_after_a_restart_hashes_are_checked_once(path, large, monkeypatch):
    monkeypatch.setattr(cache, "_boot", lambda: "another")
    open_store(path, "mosi")
    flip(large.folder / "train.audio.npy", 300)
    assert cache.open_stored(large.folder)[0] is not None and cache.damage(large.folder) != []


def test_convert_mends_what_check_found(path, large, capsys):
    flip(large.folder / "train.audio.npy", 300)
    assert main(["check", str(path)]) == 2
    assert "powmix-data convert FILE" in capsys.readouterr().err
    assert main(["convert", str(path)]) == 0
    assert main(["check", str(path)]) == 0


@pytest.mark.parametrize(
    "spoil", [lambda text: "0" * 64, lambda text: "", lambda text: "\xff", lambda text: "0" * 64 + text[64:]]
)
def test_a_spoiled_digest_is_taken_anew(path, spoil):
    digest = cache.file_digest(path)
    (remembered,) = (cache.cache_root() / "digests").iterdir()
    remembered.write_bytes(spoil(remembered.read_text()).encode("latin1"))
    assert cache.file_digest(path) == digest
    assert remembered.read_text().startswith(digest)


def test_another_file_of_equal_size_and_time_has_another_digest(path):
    status, first = path.stat(), load({"name": "mosi", "path": str(path)}, ALL)
    whole = content()
    whole["train"]["regression_labels"] *= -1
    write(path, whole)
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))
    assert path.stat().st_size == status.st_size and path.stat().st_mtime_ns == status.st_mtime_ns
    second = load({"name": "mosi", "path": str(path)}, ALL)
    assert second.digest != first.digest and torch.equal(second.train.target, -first.train.target)


@pytest.mark.parametrize(
    "room", [100, pytest.param(200, marks=pytest.mark.slow), 5000]
)  # with less, other packages cannot be imported
def test_a_cache_without_room_says_so_and_leaves_nothing_half_made(tmp_path, path, room):
    """A limit on the size of files stands in for a full disk."""
    done = subprocess.run(
        [sys.executable, "-m", "powmix.data", "convert", str(path)],
        capture_output=True,
        text=True,
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (room, room)),
        timeout=300,
    )
    assert done.returncode == 2 and done.stderr.count("\n") == 1
    assert "cannot write" in done.stderr and "POWMIX_CACHE" in done.stderr
    assert not list((tmp_path / "cache").rglob("*tmp*"))


def test_what_is_on_the_disk_was_synced_before_it_got_its_name(path, monkeypatch):
    """Every file, then the folder, then the rename, then the folder above: in this order."""
    order = []
    names = {}
    real_open, real_sync, real_replace = os.open, os.fsync, os.replace

    def watched_open(name, *arguments, **options):
        handle = real_open(name, *arguments, **options)
        names[handle] = os.path.basename(os.fspath(name))
        return handle

    monkeypatch.setattr(os, "open", watched_open)
    monkeypatch.setattr(os, "fsync", lambda handle: (order.append(f"sync {names[handle]}"), real_sync(handle)))
    monkeypatch.setattr(
        os, "replace", lambda old, new: (order.append(f"rename {os.path.basename(new)}"), real_replace(old, new))
    )
    folder = open_store(path, "mosi").folder
    made = order[: order.index("sync features") + 1]
    assert made[-2] == f"rename {folder.name}" and made[-3].startswith(f"sync {folder.name}.tmp-")
    assert {f"sync {file.name}" for file in folder.iterdir()} <= set(made[:-3])


def test_a_blank_modality_and_repeated_examples_are_told_when_training_begins(tmp_path, caplog, capsys):
    whole = content()
    for split in whole.values():
        split["audio"] = np.full_like(split["audio"], np.nan)
    for key in ("text", "vision", "text_bert"):
        whole["test"][key][:2] = whole["train"][key][:2]
    path = write(tmp_path / "doubtful.pkl", whole)
    load({"name": "mosi", "path": str(path)}, ALL)
    told = [record.getMessage() for record in caplog.records if record.levelno == logging.WARNING]
    assert told == [
        f"{path}: audio is 0 in every training example (690 values were NaN or infinite)",
        f"{path}: 2 of 6 test examples are equal to a training example in every modality",
    ]
    assert main(["check", str(path)]) == 0
    shown = capsys.readouterr().out
    assert all(f"warning: {line.removeprefix(f'{path}: ')}" in shown for line in told)


def test_a_store_is_made_of_the_file_that_was_hashed(path, monkeypatch):
    digests = iter(["a" * 64, "b" * 64])
    monkeypatch.setattr(store, "file_digest", lambda path: next(digests))
    with pytest.raises(ValueError, match="changed while it was read"):
        open_store(path, "mosi")
    assert not store.store_folder("a" * 64).exists()
