"""`powmix-tuned`: every way to train with its defaults and tuned, each by a search of its own with the same budget.

powmix-tuned utd:dataset.path=FOLDER
powmix-tuned --tasks mfeat_40 --trials 20
powmix-tuned --plan MINE.yaml trainer.device=cuda

On each task of the plan, for each way (a mixer, or plain dropout and weight decay): a staged search of two options on
the validation split, then fresh seeds with the defaults and fresh seeds with the best values. It ends with a table for
each task: what tuning was worth, and tuned against tuned. Every step is a `powmix -m` command of its own, which
continues its own work: the same command continues after a kill.
"""

from __future__ import annotations

import sys
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import yaml

from powmix.command import steps
from powmix.mistakes import Parser, is_count, refuse, unknown

PLAN = Path(__file__).with_suffix(".yaml")
SECTIONS = ("common", "tasks", "trials", "tuning_seeds", "seeds", "baseline", "ways")
COUNTS = {"trials": 2, "tuning_seeds": 1, "seeds": 2}
"""The least that makes sense of each."""


@dataclass(frozen=True)
class Way:
    """One way to train. choose: the overrides that choose it. search: {option: its range in Hydra's sweep syntax}."""

    choose: tuple[str, ...]
    search: Mapping[str, str]
    defaults: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Plan:
    """What is done. tasks: {name: overrides}, those of the command line with them. seeds: of the table's rows."""

    tasks: Mapping[str, tuple[str, ...]]
    ways: Mapping[str, Way]
    baseline: str
    trials: int
    tuning_seeds: int
    seeds: int
    folder: Path
    launching: tuple[str, ...] = ()

    def search(self, task: str, way: str) -> list[str]:
        """The arguments of a way's search on a task; its defaults are the first trial."""
        chosen = self.ways[way]
        held = ",".join(f"{key}:{value}" for key, value in chosen.defaults.items())
        first = ",".join(f'"{key}={value}"' for key, value in chosen.defaults.items())
        return [
            *("-m", "hydra/sweeper=optuna_study", "hydra/sweeper/sampler=staged", "hydra.sweeper.sampler.rounds=1"),
            f"hydra.sweeper.sampler.order=[{','.join(chosen.search)}]",
            f"+hydra.sweeper.sampler.start={{{held}}}",
            f"+hydra.sweeper.warm_start={{defaults:[{first}]}}",
            f"hydra.sweeper.n_trials={self.trials}",
            *self.tasks[task],
            *chosen.choose,
            *(f"{key}={values}" for key, values in chosen.search.items()),
            *(f"seeds={self.tuning_seeds}", *self.launching),
            *(f"outputs={self.folder}/search", f"sweep={task}-{way}"),
        ]

    def row(self, task: str, way: str, kind: str, values: Mapping[str, Any]) -> list[str]:
        """The arguments that train a row of the table with fresh seeds. kind: `default` or `tuned`."""
        seeds = f"seeds=[{','.join(map(str, steps.fresh(self.seeds)))}]"
        own = [*self.ways[way].choose, *(f"{key}={value}" for key, value in values.items()), seeds]
        launching = [text for text in self.launching if not text.startswith(("hydra.sweeper", "hydra/sweeper"))]
        return [
            *("-m", *self.tasks[task], *own, *launching),
            *(f"outputs={self.folder}", f"sweep={task}-{way}-{kind}"),
        ]


def main(arguments: Sequence[str] | None = None) -> int:
    """The command line."""
    from powmix.command.composition import register_resolvers

    register_resolvers()
    options = _parser().parse_intermixed_args(arguments)
    return steps.carry_out("powmix-tuned", lambda: _do(options))


def _do(options: Any) -> None:
    if options.show_plan:
        print(Path(options.plan).read_text(), end="")
        return
    plan = read(options.what, options)
    if options.dry_run:
        steps.show(commands(plan))
    else:
        make(plan)


def read(words: Sequence[str], options: Any) -> Plan:
    """The plan's file and the command line as a plan. ValueError with every mistake, before anything is trained."""
    told = _told(Path(options.plan))
    names = options.tasks.split(",") if options.tasks else list(told["tasks"])
    ways = options.ways.split(",") if options.ways else list(told["ways"])
    counts = {key: told[key] if getattr(options, key) is None else getattr(options, key) for key in COUNTS}
    own, all_tasks = _sorted(words, told["tasks"])
    found = [*unknown(names, told["tasks"], "task"), *unknown(ways, told["ways"], "way")]
    found += unknown(own, names, "task")
    found += [
        f"--{key.replace('_', '-')}: got {counts[key]}, allowed a whole number >= {least}"
        for key, least in COUNTS.items()
        if not is_count(counts[key], least)
    ]
    found += [
        f"{text}: say --seeds (of the table), --tuning-seeds (of a search's trials), --name (the folder)"
        for text in all_tasks
        if text.startswith(("seeds=", "outputs=", "sweep="))
    ]
    refuse(found)
    launching = tuple(text for text in all_tasks if text.startswith("hydra"))
    shared = [text for text in all_tasks if not text.startswith("hydra")]
    plan = Plan(
        {name: (*told["common"], *told["tasks"][name], *shared, *own.get(name, ())) for name in names},
        {name: Way(tuple(told["ways"][name]["choose"]), told["ways"][name]["search"]) for name in ways},
        told["baseline"] if told["baseline"] in ways else ways[0],
        **counts,
        folder=Path("outputs") / options.name,
        launching=launching,
    )
    refuse(_mistakes(plan))
    return replace(plan, ways={name: _with_defaults(way, plan) for name, way in plan.ways.items()})


def commands(plan: Plan) -> Iterator[list[str]]:
    """The arguments of every `powmix` command, in their order; values that a search will find are `...`."""
    for task in plan.tasks:
        for way, chosen in plan.ways.items():
            yield plan.search(task, way)
            yield plan.row(task, way, "default", {})
            yield plan.row(task, way, "tuned", dict.fromkeys(chosen.search, "..."))


def make(plan: Plan) -> None:
    """Search, train, and print the tables; what is done already is found again."""
    from powmix.report.tuning import tables
    from powmix.runs.files import replacing, write_json
    from powmix.runs.identity import SCHEMA

    found: dict[str, dict[str, dict[str, Any]]] = {}
    for task in plan.tasks:
        for way in plan.ways:
            steps.powmix(plan.search(task, way))
            best = best_values(plan, task, way)
            found.setdefault(task, {})[way] = best
            write_json(plan.folder / "tuned.json", {"schema": SCHEMA, "tasks": found})
            steps.powmix(plan.row(task, way, "default", {}))
            steps.powmix(plan.row(task, way, "tuned", best["values"]))
    text = tables(plan.folder, found, plan.baseline, plan.trials, plan.tuning_seeds, steps.fresh(plan.seeds))
    with replacing(plan.folder / "tuned.md") as path:
        path.write_text(text, encoding="utf-8")
    print(f"\n{text}\n{plan.folder}/")


def best_values(plan: Plan, task: str, way: str) -> dict[str, Any]:
    """What a search found: values of the trial that is best on validation. ValueError where no trial finished."""
    mixer = next(text.partition("=")[2] for text in plan.ways[way].choose if text.startswith("mixer="))
    scored = steps.trials(plan.folder / "search/sweeps" / f"{task}-{way}", mixer)
    best, value = scored[0]
    values = {key: best.option(key) for key in plan.ways[way].search}
    return {"values": values, "objective": best.objective_metric, "validation": value, "trials": len(scored)}


def _told(path: Path) -> dict[str, Any]:
    """The plan's file. ValueError where it is none, or lacks something."""
    try:
        told = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise ValueError(f"--plan {path}: cannot be read ({str(error).splitlines()[0]})") from None
    if not isinstance(told, dict):
        raise ValueError(f"--plan {path}: got a {type(told).__name__}, allowed a mapping of {', '.join(SECTIONS)}")
    found = unknown(told, SECTIONS, "section")
    found += [f"{name}: is missing" for name in SECTIONS if name not in told]
    refuse([f"--plan {path}: {one}" for one in found])
    for name, allowed in (("tasks", list), ("ways", dict)):
        wrong = not isinstance(told[name], dict) or not told[name]
        found += [f"{name}: allowed a mapping with at least one entry"] * wrong
        found += (
            [] if wrong else [f"{name}.{k}: got {v!r}" for k, v in told[name].items() if not isinstance(v, allowed)]
        )
    refuse([f"--plan {path}: {one}" for one in found])
    for name, way in told["ways"].items():
        found += [f"ways.{name}: allowed choose and search" for _ in [0] if set(way) != {"choose", "search"}]
        found += [f"ways.{name}.choose: names no mixer" for _ in [0] if not _names_mixer(way)]
        found += [f"ways.{name}.search: names no option" for _ in [0] if not isinstance(way.get("search"), dict)]
    refuse([f"--plan {path}: {one}" for one in found])
    return told


def _names_mixer(way: Mapping[str, Any]) -> bool:
    return any(str(text).startswith("mixer=") for text in way.get("choose") or ())


def _sorted(words: Sequence[str], tasks: Collection[str]) -> tuple[dict[str, list[str]], list[str]]:
    """The command line's words: ({task: overrides}, overrides of every task). ValueError for one that is neither."""
    own: dict[str, list[str]] = {}
    shared = []
    for word in words:
        key, is_pair, _ = word.partition("=")
        task, is_own, _ = key.partition(":")
        if not is_pair and not word.startswith("~"):
            raise ValueError(f"got {word!r}, allowed key=value, or TASK:key=value of one task ({', '.join(tasks)})")
        if is_own:
            own.setdefault(task, []).append(word.partition(":")[2])
        else:
            shared.append(word)
    return own, shared


def _mistakes(plan: Plan) -> list[str]:
    """What the commands would say, all of them at once."""
    from powmix.command.overrides import check_command

    found = []
    for task in plan.tasks:
        for way, chosen in plan.ways.items():
            searched = [f"{key}={values}" for key, values in chosen.search.items()]
            found += check_command([*plan.row(task, way, "default", {})[1:], *searched])
    return list(dict.fromkeys(found))


def _with_defaults(way: Way, plan: Plan) -> Way:
    """The way with the values that its searched options have where nobody sets them, the first task's."""
    from hydra import compose, initialize_config_dir
    from omegaconf import OmegaConf

    from powmix.places import CONF

    with initialize_config_dir(str(CONF)):
        config = compose("config", [*next(iter(plan.tasks.values())), *way.choose])
    return replace(way, defaults={key: OmegaConf.select(config, key) for key in way.search})


def _parser() -> Parser:
    made = Parser(
        prog="powmix-tuned",
        description="Tuned against tuned: each mixer with a search of its own; the same command continues.",
        epilog="example: powmix-tuned --tasks mfeat_40,utd utd:dataset.path=FOLDER",
        allow_abbrev=False,
    )
    made.add_argument(
        "what", nargs="*", metavar="key=value | TASK:key=value", help="overrides of every command, or of one task's"
    )
    made.add_argument("--plan", default=PLAN, metavar="FILE", help="tasks, ways and budget (default: powmix's own)")
    made.add_argument("--show-plan", action="store_true", help="print the plan's file and stop")
    made.add_argument("--tasks", metavar="LIST", help="some of the plan's (default: all)")
    made.add_argument("--ways", metavar="LIST", help="some of the plan's (default: all)")
    made.add_argument("--trials", type=int, metavar="N", help="of each search (default: the plan's)")
    made.add_argument("--tuning-seeds", type=int, metavar="N", help="of each trial (default: the plan's)")
    made.add_argument("--seeds", type=int, metavar="N", help=f"of the table's rows, from {steps.FRESH_SEED}")
    made.add_argument("--name", default="tuned", help="folder under outputs (default: %(default)s)")
    made.add_argument("--dry-run", action="store_true", help="print the commands and stop")
    return made


if __name__ == "__main__":
    sys.exit(main())
