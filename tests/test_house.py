"""The rules of the house: which room may know which, and that imports run one way (CONTRIBUTING.md)."""

import ast
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path

import pytest

SOURCE = Path(__file__).resolve().parents[1] / "src"
MODULES = {
    ".".join(path.relative_to(SOURCE).with_suffix("").parts).removesuffix(".__init__"): path
    for path in SOURCE.rglob("*.py")
}
CORE = ("mixing", "models", "data", "training", "metrics", "runs")
FOREIGN = ("hydra", "omegaconf", "wandb", "optuna", "mlflow", "tensorboard")
MAY_IMPORT = {
    "mistakes": (),
    "mixing": ("mistakes",),
    "metrics": ("mistakes",),
    "places": (),
    # data: the SHA-256 of a feature file is part of a run's signature; metrics: a run says which its plugins registered
    "runs": ("mistakes", "places", "data", "metrics"),
    "data": ("mistakes", "runs"),  # runs: how files are written and synced
    "models": ("mistakes", "mixing", "data"),
    "training": ("mistakes", "mixing", "metrics", "models", "data", "runs"),
    "tracking": ("training",),
    "report": ("mistakes", "places", "metrics", "runs", "mixing", "models", "data", "search", "analysis"),
    "analysis": (
        "mistakes",
        "plugins",
        "metrics",
        "runs",
        "mixing",
        "models",
        "data",
        "training",
        "experiment",
        "report",
    ),
    # report: the table of a model card
    "use": ("mistakes", "plugins", "metrics", "runs", "mixing", "models", "data", "training", "report"),
}
"""The other rooms that a room may import. experiment, command and search stand above them all."""
FILES_OF_TRAINING = ("checkpoint", "solver", "batches", "optimisation")


def imported(name: str) -> Iterator[str]:
    """The modules that a module imports anywhere in it, submodules by their full names."""
    for node in ast.walk(ast.parse(MODULES[name].read_text("utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            yield node.module
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def room(module: str) -> str:
    return module.split(".")[1] if "." in module else ""


def test_imports_run_in_no_circle():
    graph = {name: sorted({m for m in imported(name) if m in MODULES and m != name}) for name in MODULES}
    packages = {name for name, path in MODULES.items() if path.name == "__init__.py"}
    state: dict[str, str] = {}

    def visit(name: str, way: list[str]) -> None:
        state[name] = "open"
        for other in graph[name]:
            if other in packages and name.startswith(f"{other}."):
                continue  # a module of a room may name its room
            assert state.get(other) != "open", " -> ".join([*way, name, other])
            if other not in state:
                visit(other, [*way, name])
        state[name] = "done"

    for name in sorted(graph):
        if name not in state:
            visit(name, [])


@pytest.mark.parametrize("name", sorted(name for name in MODULES if room(name) in (*CORE, "use")))
def test_the_core_knows_no_hydra_no_tracker_and_no_optuna(name):
    assert not [module for module in imported(name) if module.split(".")[0] in FOREIGN]


def test_each_room_imports_only_the_rooms_it_may():
    found = defaultdict(set)
    for name in MODULES:
        if room(name) in MAY_IMPORT:
            used = {room(module) for module in imported(name) if module.startswith("powmix.")}
            found[room(name)] |= used - {room(name), "", *MAY_IMPORT[room(name)]}
    assert not {name: rooms for name, rooms in found.items() if rooms}


def test_the_report_reads_what_training_left_and_nothing_of_training():
    reached = {module for name in MODULES if room(name) == "report" for module in imported(name)}
    assert not [module for module in reached if room(module) == "training"]


def test_no_file_name_stands_in_two_rooms_unless_it_means_the_same():
    same = {"__init__", "__main__", "options", "registry"}  # what an option may be; rows by name
    places = defaultdict(list)
    for name, path in MODULES.items():
        if path.stem not in same:
            places[path.stem].append(name)
    assert not {stem: names for stem, names in places.items() if len(names) > 1}


def test_did_you_mean_is_said_in_one_place():
    assert [name for name in MODULES if "difflib" in set(imported(name))] == ["powmix.mistakes"]
