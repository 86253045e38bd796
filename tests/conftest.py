"""Fixtures that every room's tests share."""

import os
import signal
from copy import deepcopy
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).resolve().parents[1]
os.environ.setdefault("OMP_NUM_THREADS", "1")  # Two busy cores are faster with one thread per process than with two:
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")  # read before numpy and torch are imported, by child processes too.
signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell's background jobs, and theirs, would ignore it


@pytest.fixture(scope="session")
def shared() -> Path:
    """The team's shared folder (oracles, real data); tests that need it are skipped where it is absent."""
    folder = Path(os.environ.get("POWMIX_SHARED", REPOSITORY.parent / "shared"))
    if not folder.is_dir():
        pytest.skip("the shared folder with oracles and real data is not here")
    return folder


@pytest.fixture(autouse=True, scope="session")
def stored_once():
    """What every command offers to Hydra is put into its store again only where it has changed: 0.1 s each."""
    from powmix.command import registered

    known, store = {}, registered._store

    def once(group, name, node, package=None):
        if known.get((group, name)) != node:
            store(group, name, node, package)
            known[group, name] = deepcopy(node)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(registered, "_store", once)
        yield


_known: dict = {}


@pytest.fixture(scope="module")
def composed_once():
    """`check_command` composes each choice of groups once in the modules that register nothing: most of its time."""
    from powmix.command import overrides

    compose = overrides._compose

    def once(groups):
        key = tuple(groups.items())
        if key not in _known:
            _known[key] = compose(groups)
        return _known[key]._replace(picked=groups)  # which of several it is, is asked by identity

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(overrides, "_compose", once)
        yield


@pytest.fixture
def forgotten_metrics():
    """The metrics that a test registers, or that the runs it reads tell of, are gone after it."""
    from powmix.metrics import registry

    places = (registry.CONVENTIONS, registry.BY_KEY, registry._tasks)
    before = [dict(place) for place in places]
    yield
    for place, known in zip(places, before):
        place.clear()
        place.update(known)
