"""Made-up run and sweep folders for the report's tests: written as the product writes them, without any training."""

import csv
import json
import os
from copy import deepcopy
from functools import cache
from pathlib import Path

import numpy as np
import yaml

from powmix.metrics.columns import TASKS, convention, direction, objective_of
from powmix.metrics.statistics import spread
from powmix.places import CONF
from powmix.runs.identity import SCHEMA, signature
from powmix.runs.records import write_config

SEEDS = (1111, 1112, 1113, 1114, 1115)
MOSI = ("Mult_acc_7", "Mult_acc_5", "Non0_acc_2", "Non0_F1_score", "MAE", "Corr", "Loss", "Has0_acc_2", "Has0_F1_score")
SIMS = ("Mult_acc_5", "Mult_acc_3", "Mult_acc_2", "F1_score", "MAE", "Corr", "Loss")
CLASSES = ("Accuracy", "Weighted_F1", "Loss")
NUMBERS = ("MAE", "RMSE", "R2", "Corr", "Loss")
MIXING = {"mean_k": 3.12, "label_spread": 0.51, "attention_rate": 0.031, "dropped_rate": 0.004, "mixed_rate": 0.5}


def metrics(error: float, keys=MOSI) -> dict[str, float]:
    """A plausible set of metrics for one error level; smaller errors are better in every metric."""
    base = {"MAE": error, "Loss": error, "Corr": 1.1 - error / 2}
    return {key: base.get(key, 0.95 - 0.4 * error + 0.01 * i) for i, key in enumerate(keys)}


def write_run(
    root: Path,
    mixer: str = "powmix",
    errors: dict[int, float] | None = None,
    dataset: str = "mosi",
    model: str = "mult",
    keys=MOSI,
    ablation: str | None = None,
    overrides: tuple[str, ...] = (),
    config: dict | None = None,
    status: str = "finished",
    error: str | None = None,
    protocol: str = "published",
    history: bool = False,
    scores: dict[int, dict[str, float]] | None = None,
    told: tuple[dict, ...] = (),
) -> Path:
    """outputs/runs/<signature> with result.json, config.yaml and, on demand, histories and predictions.

    config: {dotted key: value} on top of what conf/ composes. scores: {seed: test metrics} in place of `errors`. told:
    what the run says of metrics that its plugins registered.
    """
    errors = {seed: 0.8 for seed in SEEDS} if errors is None else errors
    scores = {seed: metrics(value, keys) for seed, value in errors.items()} if scores is None else scores
    options = composed(dataset, model, mixer, ablation, protocol)
    kind = convention(keys)
    options["task"] = next(task for task, conventions in TASKS.items() if kind in conventions)
    options["objective"] = objective_of(kind)
    options |= {"seeds": list(scores), "outputs": str(root)}
    for path, value in (config or {}).items():
        section, _, key = path.partition(".")
        options |= {section: options[section] | {key: value} if key else value}
    folder = root / "runs" / signature(options)
    folder.mkdir(parents=True, exist_ok=True)
    write_config(folder, options)
    names = {"dataset": dataset, "model": model, "mixer": mixer, "ablation": ablation, "protocol": protocol}
    seeds = [_seed(seed, found, mixer) for seed, found in scores.items()]
    over = spread(seeds) if seeds else {}
    result = {
        "schema": SCHEMA,
        "status": status,
        "error": error,
        "signature": folder.name,
        "variant": {**names, "task": options["task"]},
        "name": "/".join(names[key] for key in ("dataset", "model", "mixer", "ablation") if names[key]),
        "overrides": [f"mixer={mixer}", *overrides],
        "sweep": None,
        "sweeps": [],
        "trial": {},
        "command": f"powmix dataset={dataset} model={model} mixer={mixer} {' '.join(overrides)}".strip(),
        "objective": over["mean"]["validation"][options["objective"]] if over else None,
        "objective_metric": options["objective"],
        "direction": direction(options["objective"]),
        "seeds": seeds,
        "metrics": list(told),
        "provenance": {
            "git": "0123456789abcdef",
            "dirty": False,
            "versions": {},
            "dataset": {"name": dataset, "digest": dataset, "sizes": [600, 200, 300]},
            "plugins": {},
            "device": "cpu",
            "created": "2026-11-01T00:00:00+00:00",
        },
        **over,
    }
    (folder / "result.json").write_text(json.dumps(result))
    if history:
        for seed, value in errors.items():
            write_history(folder / f"seed_{seed}", seed, value)
    return folder


def composed(dataset: str, model: str, mixer: str, ablation: str | None, protocol: str) -> dict:
    """What `powmix dataset=... model=... mixer=... ablation=... protocol=...` composes; an unknown name stays one."""
    groups = {"dataset": dataset, "model": model, "protocol": protocol, "trainer": "default", "mixer": mixer}
    options = {k: v for k, v in deepcopy(_read("config")).items() if k not in ("defaults", "hydra", "trial")}
    for group, name in {**groups, "tracker": "none"}.items():
        options[group] = {"name": name} if group != "trainer" else {}
        options[group] |= deepcopy(_read(f"{group}/{name}"))
    options["dataset"].setdefault("fraction", 1.0)
    recipe = _read(f"recipe/{model}_{dataset}") or _read("recipe/mult_mosi")
    for key, value in deepcopy(recipe).items():
        options[key] = {**options.get(key, {}), **value} if isinstance(value, dict) else value
    options["mixer"] |= _read(f"ablation/{ablation}")
    return options


@cache
def _read(name: str) -> dict:
    path = CONF / f"{name}.yaml"
    return (yaml.safe_load(path.read_text()) or {}) if path.is_file() else {}


def _seed(seed: int, scores: dict[str, float], mixer: str) -> dict:
    return {
        "seed": seed,
        "best_epoch": 7,
        "epochs": 15,
        "seconds": 12.3,
        "validation": scores,
        "test": scores,
        "mixing": {} if mixer == "none" else MIXING,
        "folder": f"seed_{seed}",
    }


def write_history(folder: Path, seed: int, error: float) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(seed)
    with (folder / "history.csv").open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["epoch", "seconds", "learning_rate", "train_loss", "validation_Loss", "validation_MAE"])
        for epoch in range(1, 12 + seed % 4):
            fall = error + 0.7 * np.exp(-epoch / 3) + 0.02 * rng.normal()
            writer.writerow([epoch, 1.0, 0.001, fall - 0.02 * epoch, fall, fall])
    with (folder / "predictions.csv").open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["id", "target", "prediction"])
        for i, target in enumerate(np.clip(rng.normal(0, 1.5, 300), -3, 3).round(1)):
            writer.writerow([f"video${i}", target, target + rng.normal(0, error)])


def errors(mean: float, spread: float = 0.02, seeds=SEEDS, shift: int = 0) -> dict[int, float]:
    """{seed: error}; seeds share their luck between variants, as they do in training."""
    return {
        seed: round(
            mean + spread * np.random.default_rng(seed).normal() + 0.004 * np.random.default_rng(seed + shift).normal(),
            6,
        )
        for seed in seeds
    }


def write_sweep(root: Path, name: str, runs: list[Path | None], failures: dict[int, str] | None = None) -> Path:
    """outputs/sweeps/<name> over runs; `failures` maps job numbers to their errors (their run is None)."""
    folder = root / "sweeps" / name
    folder.mkdir(parents=True, exist_ok=True)
    jobs = []
    for number, run in enumerate(runs):
        error = (failures or {}).get(number)
        jobs.append(
            {
                "schema": SCHEMA,
                "number": number,
                "overrides": [f"job={number}"],
                "status": "failed" if error else "finished",
                "run": os.path.relpath(run, folder) if run else None,
                "objective": None,
                "error": error,
            }
        )
    content = {"schema": SCHEMA, "name": name, "command": "powmix -m ...", "jobs": jobs, "baseline_rule": "mixer=none"}
    (folder / "sweep.json").write_text(json.dumps(content))
    return folder


def write_analyses(run: Path, errors: dict[int, float], keys=MOSI, repetitions: int = 2, slope: float = 0.0) -> None:
    """analysis/*.json of a run, p = 0 equal to its test metrics; errors grow by `slope` faster over p."""
    rows: dict[str, list[dict]] = {"unimodal": [], "noise": [], "dominance": [], "regularity": []}
    for seed, error in errors.items():
        for target, worse in (("text", 0.08), ("audio", 0.5), ("vision", 0.55), ("fusion", 0.0)):
            rows["unimodal"].append({"seed": seed, "target": target, **metrics(error + worse, keys)})
        for name, kinds in (("noise", ("aligned", "independent")), ("dominance", ("drop", "mean"))):
            for i, kind in enumerate(kinds):
                for p in (0.0, 0.1, 0.2, 0.3, 0.4):
                    for repetition in range(repetitions):
                        found = metrics(error + p * (0.5 + slope + 0.2 * i) + 0.01 * p * repetition, keys)
                        rows[name].append({"seed": seed, "repetition": repetition, "kind": kind, "p": p, **found})
        rows["regularity"].append({"seed": seed, "label_spread": error / 2, "effective_number": 3 - error})
    (run / "analysis").mkdir(exist_ok=True)
    for name, found in rows.items():
        content = {"schema": SCHEMA, "name": name, "rows": found}
        (run / "analysis" / f"{name}.json").write_text(json.dumps(content))


def write_studies(root: Path) -> list[Path]:
    """Variants over subset ranges, n_O, p_mix, fractions of the data, sources of variance; two with analyses."""
    runs = []
    for shift, (mixer, mean) in enumerate((("none", 0.86), ("powmix", 0.82))):
        for i, fraction in enumerate((0.1, 0.2, 0.5, 1.0)):
            found = errors(mean + 0.25 * (1 - fraction) ** 2, shift=shift + 3 * i)
            override = () if fraction == 1.0 else (f"dataset.fraction={fraction}",)
            run = write_run(
                root, mixer, found, config={"dataset.fraction": fraction}, overrides=override, history=fraction == 1.0
            )
            if fraction == 1.0:
                write_analyses(run, found)
            runs.append(run)
    for i, subset in enumerate(([2, 6], [2, 8], [4, 6], [4, 8])):
        text = f"mixer.subset=[{subset[0]},{subset[1]}]"
        found = errors(0.825 + 0.006 * i, shift=i)
        runs.append(write_run(root, "powmix", found, config={"mixer.subset": subset}, overrides=(text,)))
    for option, values in (("n_out", (16, 32, 64, 128, 512, 1024, 2048)), ("p_mix", (0.1, 0.3, 0.7, 0.9))):
        for i, value in enumerate(values):
            found = errors(0.83 + 0.003 * abs(i - 3), shift=i)
            override = f"mixer.{option}={value}"
            runs.append(write_run(root, "powmix", found, config={f"mixer.{option}": value}, overrides=(override,)))
    for i, source in enumerate(("split", "init")):
        for mixer, mean in (("none", 0.86), ("powmix", 0.82)):
            runs.append(write_run(root, mixer, errors(mean, shift=i), config={"vary": [source]}))
    return runs


def write_demo(root: Path) -> Path:
    """A sweep of the four mixers and two models on two datasets, with one failed job."""
    runs: list[Path | None] = []
    means = {"none": 0.86, "manifold_mixup": 0.885, "multimix": 0.855, "powmix": 0.82}
    for dataset, model in (("synthetic", "mult"), ("synthetic", "lf_dnn"), ("sims", "mult")):
        for i, (mixer, mean) in enumerate(means.items()):
            keys = SIMS if dataset == "sims" else MOSI
            found = errors(mean + 0.05 * (model == "lf_dnn"), shift=7 * i + len(model))
            runs.append(write_run(root, mixer, found, dataset=dataset, model=model, keys=keys, history=True))
    return write_sweep(root, "demo", [*runs, None], {len(runs): "RuntimeError: CUDA out of memory"})


MANY = (
    ("none", None, {}),
    ("manifold_mixup", None, {}),
    ("multimix", None, {}),
    ("c_mixup", None, {}),
    ("regmixup", None, {}),
    ("modality_dropout", None, {}),
    ("powmix", None, {}),
    ("powmix", "isotropic", {}),
    ("powmix", "no_reweighting", {}),
    ("powmix", "own_masks", {}),
    ("powmix", "static", {}),
    ("powmix", None, {"mixer.p_mix": 0.25}),
    ("powmix", None, {"mixer.p_mix": 0.8137246205198311}),
    ("powmix", None, {"mixer.n_out": 64}),
    ("powmix", None, {"mixer.n_out": 1024, "mixer.p_mix": 0.333333333333}),
)
"""Variants of one model: (mixer, ablation, changed options)."""


def write_many(root: Path, seeds=SEEDS) -> Path:
    """A sweep of 60 variants: MANY on two sentiment corpora, a classification and a regression, with their histories.

    On each dataset one variant has a seed less than the others, another two more.
    """
    runs: list[Path | None] = []
    datasets = {
        "mosi": ("mult", MOSI),
        "sims": ("self_mm", SIMS),
        "utd": ("late_fusion", ("Accuracy", "Weighted_F1", "Macro_F1", "AUROC", "Loss")),
        "maec": ("late_fusion", NUMBERS),
    }
    for place, (dataset, (model, keys)) in enumerate(datasets.items()):
        for i, (mixer, ablation, changes) in enumerate(MANY):
            mean = 0.82 + 0.06 * np.random.default_rng(100 * place + i).random() + 0.02 * (mixer == "none")
            own = {2: seeds[:-1], 4: (*seeds, 1201, 1202)}.get(i, seeds)
            found = errors(mean, seeds=own, shift=31 * place + 7 * i)
            overrides = (f"dataset={dataset}", f"model={model}", *(f"{key}={value}" for key, value in changes.items()))
            overrides += (f"ablation={ablation}",) if ablation else ()
            run = write_run(
                root, mixer, found, dataset, model, keys, ablation, overrides, config=changes, history=dataset == "mosi"
            )
            runs.append(run)
    return write_sweep(root, "many", runs)


if __name__ == "__main__":
    import sys

    print(write_many(Path(sys.argv[1])))
