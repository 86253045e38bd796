"""Users' files and packages that register datasets, models, mixers, metrics and losses; no torch.

A plugin is Python code that calls `powmix.register_*` when it is imported: the script that ends in `powmix.main()`, a
.py file or a module named by `plugins=[...]` on the command line, or an installed package with an entry point in the
group `powmix.plugins`. A run's folder names the plugins that it was trained with, and who uses the run loads them from
where they were; code that lies in the folder itself is never run unasked.
"""

from __future__ import annotations

import hashlib
import importlib
import importlib.util
import logging
import sys
import traceback
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from importlib.metadata import entry_points
from pathlib import Path
from types import ModuleType
from typing import Any

from powmix.mistakes import nearest

log = logging.getLogger("powmix")

GROUP = "powmix.plugins"
"""The entry points of packages that register something."""


@dataclass(frozen=True)
class Plugin:
    """name: of the file or the module. path: its file, or its package's folder. sha256: of its source when loaded."""

    name: str
    path: Path
    sha256: str


log = logging.getLogger("powmix")

_loaded: dict[Path, Plugin] = {}
_loading: list[Path] = []


def load(names: Iterable[str]) -> None:
    """Imports plugins: paths of .py files, relative to the working directory, and names of modules, also those there.

    What is loaded already is left alone. ValueError where one is not there or its import fails, with file and line.
    """
    for name in names:
        path = locate(name)
        if path is not None and path.resolve() in _loaded:
            continue
        with _said(name):
            module = _from_file(path) if path is not None else _module(name)
        _note(path.name if path is not None else name, module)


def load_installed() -> None:
    """Imports the plugins of installed packages (the entry points of the group `powmix.plugins`), once."""
    for point in _installed():
        with _said(point.value):
            _note(point.name, importlib.import_module(point.module))


def load_of_run(
    folder: Path, names: Iterable[str], recorded: Mapping[str, str], instead: Iterable[str] = ()
) -> list[Plugin]:
    """Imports the plugins that a run was trained with; gives those that this process did not have yet.

    names: the run's `plugins`; a relative path is one inside its folder. recorded: the SHA-256 of their sources, by
    name; a plugin that has another one now is warned of. instead: paths and modules that the user names, each in the
    place of the run's own of the same name. ValueError where a plugin is gone, and where it lies in the run's folder
    and the user does not name it: whoever hands a folder over cannot have code run with it.
    """
    before = set(_loaded)
    load_installed()
    load(instead)
    here = {plugin.name for plugin in loaded()}
    for name in names:
        is_file = name.endswith(".py") or "/" in name
        title, path = (Path(name).name, folder.resolve() / name) if is_file else (name, None)
        if title in here:
            continue
        if path is not None and path.resolve().is_relative_to(folder.resolve()):
            raise ValueError(
                f"{folder}: its plugin {title} came with it and is not run unasked: read it, then name it "
                f"(--plugins {path}, from Python plugins=[...])"
            )
        if path is not None and not path.is_file():
            raise ValueError(f"{folder}: its plugin {name} is not there any more: name it where it is (--plugins FILE)")
        load([name if path is None else str(path)])
    for plugin in loaded():
        if recorded.get(plugin.name, plugin.sha256) != plugin.sha256:
            log.warning("%s: the plugin %s has changed since the run was trained", folder, plugin.name)
    return [plugin for path, plugin in _loaded.items() if path not in before]


def adopt_script() -> Path | None:
    """Takes the running script as a plugin: it has registered what it has; its path, None where there is no file."""
    file = getattr(sys.modules.get("__main__"), "__file__", None)
    if file is None:
        return None
    path = Path(file).resolve()
    _loaded[path] = Plugin(path.name, path, source_sha256(path))
    return path


def is_loading() -> bool:
    """Whether a plugin is being imported now: a script's `powmix.main()` does nothing then."""
    return bool(_loading)


def loaded() -> list[Plugin]:
    """The plugins of this process, in the order of loading."""
    return list(_loaded.values())


def sources() -> dict[str, str]:
    """The SHA-256 of every plugin's source, by its name."""
    return {plugin.name: plugin.sha256 for plugin in loaded()}


def warn_of_change(before: Mapping[str, str]) -> None:
    """Seeds that were finished with another version of a user's code stay as they are: that has to be said.

    before: `sources` when they were.
    """
    for name, now in sources().items():
        if before.get(name, now) != now:
            log.warning(
                f"{name} has changed since seeds of this run were finished: they stay as they are; outputs=FOLDER "
                "would train them again"
            )


def locate(name: str) -> Path | None:
    """The file that a plugin's name means, resolved; None for the name of a module. ValueError where it is absent."""
    if not name.endswith(".py") and "/" not in name:
        return None
    path = Path(name).expanduser()
    if not path.is_file():
        near = nearest(path.name, [one.name for one in path.parent.glob("*.py")]) if path.parent.is_dir() else ""
        raise ValueError(f"plugins: no file {name!r}{near}")
    return path.resolve()


def source_sha256(path: Path) -> str:
    """The SHA-256 of a file, or of all Python files of a package's folder with their names."""
    files = sorted(path.rglob("*.py")) if path.is_dir() else [path]
    found = hashlib.sha256()
    for file in files:
        found.update(f"{file.relative_to(path) if path.is_dir() else file.name}\0".encode())
        found.update(file.read_bytes())
    return found.hexdigest()


def _from_file(path: Path) -> ModuleType:
    """A file as a module of its own name, so that what it defines can be pickled for other processes."""
    known = sys.modules.get(path.stem)
    if known is not None and Path(getattr(known, "__file__", None) or "").resolve() != path:
        raise ValueError(f"its name {path.stem!r} is that of a module which is loaded already: rename the file")
    spec = importlib.util.spec_from_file_location(path.stem, path)
    assert spec is not None and spec.loader is not None, path
    module = importlib.util.module_from_spec(spec)
    sys.modules[path.stem] = module
    _loading.append(path)
    try:
        spec.loader.exec_module(module)
    except BaseException:
        sys.modules.pop(path.stem, None)
        raise
    finally:
        _loading.pop()
    return module


def _module(name: str) -> ModuleType:
    if "" not in sys.path and str(Path.cwd()) not in sys.path:
        sys.path.append(str(Path.cwd()))  # `powmix` is a script elsewhere: the working directory is not looked in
    if importlib.util.find_spec(name.partition(".")[0]) is None:
        raise ValueError(f"no module {name!r} here or installed; a file is named with its ending, {name}.py")
    _loading.append(Path(name))
    try:
        return importlib.import_module(name)
    finally:
        _loading.pop()


def _note(name: str, module: ModuleType) -> None:
    file = Path(module.__file__ or "").resolve()
    path = file.parent if file.name == "__init__.py" else file
    _loaded.setdefault(path, Plugin(name, path, source_sha256(path)))


@contextmanager
def _said(name: str) -> Iterator[None]:
    """What goes wrong in a plugin is told in one line, with the file and the line where it went wrong."""
    try:
        yield
    except Exception as error:
        place = traceback.extract_tb(error.__traceback__)[-1]
        own = isinstance(error, ValueError) and Path(place.filename).is_relative_to(Path(__file__).parent)
        where = "" if own else f"{place.filename}:{place.lineno}: {type(error).__name__}: "
        sentence = str(error).removeprefix("plugins: ")
        raise ValueError(f"plugins: {name}: {where}{sentence}") from error


@cache
def _installed() -> tuple:
    return tuple(entry_points(group=GROUP))


# --- what plugins call ------------------------------------------------------------------------------------------------


def register_model(name: str, kind: Callable[..., Any] | None = None, **how: Any) -> Any:
    """Makes a model known as `model=NAME`: a decorator of its class, or a call with the class or a function.

    how: `title` for tables; `encode` and `fuse`, the names of the two halves where they are called otherwise. What a
    model is: models/registry.register.
    """
    from powmix.models import registry

    return _registered(registry.register, name, kind, how)


def register_dataset(name: str, kind: Callable[..., Any] | None = None, **how: Any) -> Any:
    """Makes a dataset known as `dataset=NAME`: a decorator of the function that gives its arrays, or a call.

    how: `title` for tables; `task`, where the function need not be called to know it. What it gives:
    data/assembling.py.
    """
    from powmix.data import registry

    return _registered(registry.register, name, kind, how)


def register_mixer(name: str, kind: Any = None, **how: Any) -> Any:
    """Makes a mixer known as `mixer=NAME`: a decorator of a subclass of Mixer, or a call. how: `title` for tables."""
    from powmix.mixing import registry

    return _registered(registry.register, name, kind, how)


def _registered(register: Callable[..., None], name: str, kind: Any, how: dict[str, Any]) -> Any:
    def decorate(kind: Any) -> Any:
        register(name, kind, **how)
        return kind

    return decorate if kind is None else decorate(kind)
