"""Power may fail at any moment: what was told to be finished is on the disk, the rest continues to the same numbers.

A training is recorded operation by operation: which file contents and which folder listings have been synced. After
each operation two disks are imagined that a power failure could leave: one on which only synced listings are known, and
one on which names ran ahead of contents (as ext4 commits them); on both a content that was never synced is empty.
"""

import os
from pathlib import Path

import pytest
from training_corpus import same_weights, science, tiny_train, weights

from powmix.runs.seed_records import finished_seed

EPOCHS = {"max_epochs": 3}
Image = dict[str, bytes]


class Disk:
    """What is on the disk for sure of a folder, and the images that a failure would leave, one after each operation."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.contents: dict[int, bytes] = {}
        self.listings: dict[int, dict[str, int]] = {}
        self.images: list[Image] = []

    def synced(self, handle: int) -> None:
        """A file's content or a folder's listing has reached the disk."""
        path = Path(os.readlink(f"/proc/self/fd/{handle}"))
        if path.is_dir():
            self.listings[path.stat().st_ino] = {child.name: child.stat().st_ino for child in path.iterdir()}
        else:
            self.contents[path.stat().st_ino] = path.read_bytes()

    def fail(self) -> None:
        """Imagines that the power fails now."""
        self.images += [self._listed(self.root.stat().st_ino), self._names_ahead()]

    def _listed(self, folder: int) -> Image:
        return {name: self.contents.get(inode, b"") for name, inode in self.listings.get(folder, {}).items()}

    def _names_ahead(self) -> Image:
        return {path.name: self.contents.get(path.stat().st_ino, b"") for path in self.root.iterdir()}


@pytest.fixture(scope="module")
def recorded(tmp_path_factory):
    """A training's record, its folder, the images after each of its operations, and the one after its end."""
    folder = tmp_path_factory.mktemp("power") / "seed_1111"
    folder.mkdir()
    disk, real = Disk(folder), (os.fsync, os.replace, Path.unlink)

    def fsync(handle):
        real[0](handle)
        disk.synced(handle)
        disk.fail()

    def replace(source, target):
        real[1](source, target)
        disk.fail()

    def unlink(path, missing_ok=False):
        real[2](path, missing_ok=missing_ok)
        disk.fail()

    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(os, "fsync", fsync)
        patched.setattr(os, "replace", replace)
        patched.setattr(Path, "unlink", unlink)
        record = tiny_train(folder, **EPOCHS)
        disk.fail()
    return record, folder, disk.images


def restored(image: Image, folder: Path) -> Path:
    folder.mkdir()
    for name, content in image.items():
        (folder / name).write_bytes(content)
    return folder


def test_a_finished_seed_survives_a_failure_after_the_end(recorded, tmp_path):
    record, folder, images = recorded
    for number, image in enumerate(images[-2:]):
        place = restored(image, tmp_path / str(number))
        assert finished_seed(place, 1111) == record
        assert same_weights(weights(place), weights(folder))


@pytest.mark.filterwarnings("ignore:.*checkpoint.pt cannot be read")
def test_after_a_failure_at_any_operation_the_same_command_gives_the_same_numbers(recorded, tmp_path):
    record, folder, images = recorded
    different = {tuple(sorted(image.items())): image for image in images}
    assert len(different) > 20
    for number, image in enumerate(different.values()):
        place = restored(image, tmp_path / str(number))
        assert science(tiny_train(place, **EPOCHS)) == science(record), sorted(image)
        assert same_weights(weights(place), weights(folder))


def test_no_epoch_that_was_committed_is_trained_again_and_no_result_is_there_before_its_files(recorded):
    _, _, images = recorded
    seen = 0
    for image in images:
        checkpoint, result = image.get("checkpoint.pt", b""), image.get("result.json", b"")
        assert checkpoint or seen == 0 or result, "a committed epoch is gone"
        seen = max(seen, len(checkpoint))
        if result:
            assert all(image.get(name) for name in ("weights.safetensors", "predictions.csv", "history.csv"))
