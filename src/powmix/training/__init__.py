"""The loop that trains one seed after another. Lazy: settings and listeners need no torch."""

from importlib import import_module

_WHERE = {
    "Listener": "listener",
    "Pruned": "listener",
    "Settings": "settings",
    "Solver": "solver",
    "TrainingFailed": "listener",
    "resolve_device": "settings",
    "train": "solver",
    "train_seeds": "solver",
}
__all__ = sorted(_WHERE)


def __getattr__(name: str):
    if name not in _WHERE:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_WHERE[name]}"), name)
