"""`powmix-table2`: Table 2 as the paper makes it, p_mix and n_O tuned for every corpus and model.

powmix-table2 mosi=FILE mosei=FILE sims=FILE
powmix-table2 mosi=FILE --models mult,self_mm --trials 30 model.text.pretrained=minilm

For each corpus and model it searches p_mix and n_O of MultiMix and of PowMix (sweeps=staged), trains the four rows with
the best values and fresh seeds, and ends with one table in the paper's layout. Every step is a `powmix -m` command of
its own, which continues its own work: the same command continues after a kill.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from powmix.command import steps
from powmix.command.steps import FRESH_SEED
from powmix.mistakes import Parser, is_count, refuse, unknown

CORPORA = ("mosi", "mosei", "sims", "synthetic")
MODELS = ("mult", "misa", "self_mm")
TUNED = ("multimix", "powmix")
PLAIN = "none,manifold_mixup"
SWEEPER = ("hydra.sweeper", "hydra/sweeper")
NOT_SHARED = ("outputs=", "hydra")


@dataclass(frozen=True)
class Plan:
    """What is asked for. corpora: {name: feature file, None for the synthetic corpus}. overrides: of every command."""

    corpora: dict[str, str | None]
    models: tuple[str, ...]
    trials: int
    tuning_seeds: int
    seeds: int
    name: str
    overrides: tuple[str, ...]

    @property
    def folder(self) -> Path:
        """The table's own outputs. Its rows lie apart from all other runs, so that they have the fresh seeds alone."""
        outputs = [text.partition("=")[2] for text in self.overrides if text.startswith("outputs=")]
        return Path(outputs[-1] if outputs else "outputs") / self.name

    def place(self, corpus: str, model: str) -> list[str]:
        """The overrides of one corpus and model; one beneath `model` that only another model has is left out."""
        path = self.corpora[corpus]
        data = [f"dataset={corpus}", *([f"dataset.path={path}"] if path else []), f"model={model}"]
        return [*data, *(text for text in self.overrides if not text.startswith(NOT_SHARED) and _has(model, text))]

    def search(self, corpus: str, model: str, mixer: str) -> list[str]:
        """The arguments of the search for one mixer's p_mix and n_O."""
        own = [f"mixer={mixer}", f"seeds={self.tuning_seeds}", f"hydra.sweeper.n_trials={self.trials}"]
        own += [text for text in self.overrides if text.startswith("hydra")]
        folder = [f"outputs={self.folder}/search", f"sweep={corpus}-{model}-{mixer}"]
        return ["-m", "sweeps=staged", *self.place(corpus, model), *own, *folder]

    def rows(self, corpus: str, model: str, mixer: str, values: Sequence[str] = ()) -> list[str]:
        """The arguments that train rows of the table: the mixers in `mixer`, with the values found."""
        seeds = ",".join(map(str, steps.fresh(self.seeds)))
        launching = [text for text in self.overrides if text.startswith("hydra") and not text.startswith(SWEEPER)]
        own = [f"mixer={mixer}", *values, f"seeds=[{seeds}]", *launching]
        folder = [f"outputs={self.folder}", f"sweep={corpus}-{model}-{mixer.replace(',', '-')}"]
        return ["-m", *self.place(corpus, model), *own, *folder]


def main(arguments: Sequence[str] | None = None) -> int:
    """The command line."""
    from powmix.command.composition import register_resolvers

    register_resolvers()
    options = _parser().parse_intermixed_args(arguments)
    return steps.carry_out("powmix-table2", lambda: _do(options))


def _do(options: Any) -> None:
    plan = read(options.what, options)
    if options.dry_run:
        steps.show(commands(plan))
    else:
        make(plan)


def read(words: Sequence[str], options: Any) -> Plan:
    """The command line as a plan. ValueError with every mistake in it, before anything is trained."""
    corpora: dict[str, str | None] = {}
    overrides = []
    for word in words:
        key, is_pair, value = word.partition("=")
        if key in CORPORA:
            corpora[key] = value or None
        elif is_pair or word.startswith("~"):
            overrides.append(word)
        else:
            refuse(unknown([key], CORPORA, "corpus"))
    models = tuple(options.models.split(","))
    found = unknown(models, _models(), "model")
    found += [] if corpora else [f"no corpus given: {', '.join(f'{name}=FILE' for name in CORPORA[:3])}, or synthetic"]
    found += [
        f"--{name.replace('_', '-')} must be a whole number >= 1"
        for name in ("trials", "tuning_seeds", "seeds")
        if not is_count(getattr(options, name), 1)
    ]
    found += [
        "seeds=: say --seeds (of the table) and --tuning-seeds (of the searches)"
        for text in overrides
        if text.startswith("seeds=")
    ]
    refuse(found)
    plan = Plan(corpora, models, options.trials, options.tuning_seeds, options.seeds, options.name, tuple(overrides))
    refuse(_mistakes(plan))
    return plan


def commands(plan: Plan) -> Iterator[list[str]]:
    """The arguments of every `powmix` command, in their order; values that a search will find are `...`."""
    for corpus in plan.corpora:
        for model in plan.models:
            yield plan.rows(corpus, model, PLAIN)
            for mixer in TUNED:
                yield plan.search(corpus, model, mixer)
                yield plan.rows(corpus, model, mixer, ["mixer.p_mix=...", "mixer.n_out=..."])


def make(plan: Plan) -> None:
    """Search, train, and print the table; what is done already is found again."""
    from powmix.runs.files import write_json
    from powmix.runs.identity import SCHEMA

    found: list[dict[str, Any]] = []
    for corpus in plan.corpora:
        for model in plan.models:
            steps.powmix(plan.rows(corpus, model, PLAIN))
            for mixer in TUNED:
                steps.powmix(plan.search(corpus, model, mixer))
                best = best_values(plan.folder / "search/sweeps" / f"{corpus}-{model}-{mixer}", mixer)
                found.append({"dataset": corpus, "model": model, "mixer": mixer, **best})
                write_json(plan.folder / "sweeps/tuned.json", {"schema": SCHEMA, "rows": found})
                values = [f"mixer.p_mix={best['p_mix']!r}", f"mixer.n_out={best['n_out']}"]
                steps.powmix(plan.rows(corpus, model, mixer, values))
    shown = ["--paper", "--figures", "comparison", "--out", str(plan.folder)]
    steps.run("powmix.report", [str(plan.folder / "sweeps"), *shown])


def best_values(search: Path, mixer: str) -> dict[str, Any]:
    """The values of the trial that is best on validation, of those that mix. ValueError where no trial finished."""
    scored = steps.trials(search, mixer)
    best, value = scored[0]
    chosen = {name: best.option(f"mixer.{name}") for name in ("p_mix", "n_out")}
    return {**chosen, "objective": best.objective_metric, "validation": value, "trials": len(scored)}


def _mistakes(plan: Plan) -> list[str]:
    """What the commands would say, all of them at once."""
    from powmix.command.overrides import check_command

    beneath = [text for text in plan.overrides if text.startswith("model.")]
    found = [
        f"{text}: none of {', '.join(plan.models)} has such an option"
        for text in beneath
        if not any(_has(model, text) for model in plan.models)
    ]
    for corpus in plan.corpora:
        for model in plan.models:
            found += check_command(plan.rows(corpus, model, TUNED[-1])[1:])
    return list(dict.fromkeys(found))


def _has(model: str, override: str) -> bool:
    """Whether a model has the option of an override beneath `model`; any other override holds for all models."""
    from powmix.command.overrides import check_command

    key = override.partition("=")[0]
    if not key.startswith("model."):
        return True
    return not any(error.startswith(f"{key}: no such key") for error in check_command([f"model={model}", override]))


def _models() -> list[str]:
    from powmix.places import CONF

    return sorted(path.stem for path in (CONF / "model").glob("*.yaml"))


def _parser() -> Parser:
    made = Parser(
        prog="powmix-table2",
        description="Table 2 with p_mix and n_O tuned by the paper's staged search; the same command continues.",
        epilog="example: powmix-table2 mosi=MOSI.pkl sims=SIMS.pkl --models mult trainer.device=cuda",
        allow_abbrev=False,
    )
    made.add_argument(
        "what",
        nargs="+",
        metavar="CORPUS=FILE | key=value",
        help="mosi, mosei, sims with their feature files, or synthetic; overrides of every command",
    )
    made.add_argument("--models", default=",".join(MODELS), metavar="LIST", help="default: %(default)s")
    made.add_argument("--trials", type=int, default=24, metavar="N", help="of each search (default: %(default)s)")
    made.add_argument("--tuning-seeds", type=int, default=3, metavar="N", help="of each trial (default: %(default)s)")
    made.add_argument(
        "--seeds",
        type=int,
        default=5,
        metavar="N",
        help=f"of the table's rows, from {FRESH_SEED} (default: %(default)s)",
    )
    made.add_argument("--name", default="table2_tuned", help="folder under outputs (default: %(default)s)")
    made.add_argument("--dry-run", action="store_true", help="print the commands and stop")
    return made


if __name__ == "__main__":
    sys.exit(main())
