"""Fixtures that every room's tests share."""

import os
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).resolve().parents[1]


@pytest.fixture(autouse=True, scope="session")
def one_thread():
    """Two busy cores are faster with one thread per process than with two."""
    import torch

    torch.set_num_threads(1)


@pytest.fixture(scope="session")
def shared() -> Path:
    """The team's shared folder (oracles, real data); tests that need it are skipped where it is absent."""
    folder = Path(os.environ.get("POWMIX_SHARED", REPOSITORY.parent / "shared"))
    if not folder.is_dir():
        pytest.skip("the shared folder with oracles and real data is not here")
    return folder
