"""Ours with its step's shapes fixed, with compiled sub-modules, or as CUDA graphs, against ours as it is.

python -m benchmarks.graph --mode static                          the step with static shapes (static_step.py), eager
python -m benchmarks.graph --mode compiled --device cuda          torch.compile of sub-modules (SUBMODULES)
python -m benchmarks.graph --mode graph --device cuda             CUDA graphs of the whole step

A JSON line for each model: milliseconds of a batch, PowMix mixing half of them; `reference` is powmix's own loop.
Before anything is timed both train a pass without dropout: `notes.difference` is the largest difference of their
losses over the loss, and above TOLERANCE the command fails.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from functools import partial

import torch

from benchmarks.contenders import Ours
from benchmarks.corpus import STEPS, mosi_sized
from benchmarks.measure import compare, seconds
from benchmarks.reference import MOSI, NAMES
from benchmarks.static_step import MODELS, StaticStep

TOLERANCE = 1e-3
MIXER = {"name": "powmix", "p_mix": 0.5}
SUBMODULES = {
    "mult": ("crossmodal.crossmodal", "memory.memory", "fuse"),
    "lf_dnn": ("audio.forward", "vision.forward", "fusion.forward"),
    "tfn": ("audio.forward", "vision.forward", "fusion.forward"),
    "misa": ("text.bert.encoder.forward", "vision.forward", "audio.forward", "transformer.forward"),
    "self_mm": ("text.bert.encoder.forward", "audio.lstm.forward", "vision.lstm.forward", "heads.fusion.forward"),
    "mag_bert": ("text.bert.encoder.forward", "gate.forward"),
}
"""The methods of each model that `--mode compiled` compiles."""
Pass = Callable[[], object]


def arguments() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--mode", choices=("static", "compiled", "graph"), default="static")
    parser.add_argument("--model", nargs="+", choices=NAMES, default=list(MODELS))
    parser.add_argument("--setting", choices=tuple(STEPS), default="aligned")
    parser.add_argument("--batches", type=int, default=8, help="in the slice of an epoch that is timed")
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--clock", choices=("wall", "cpu"), default="wall")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--backend", default="inductor", help="of torch.compile; eager: traced, nothing compiled")
    return parser


def main() -> None:
    given = arguments().parse_args()
    torch.set_num_threads(given.threads)
    for model in given.model:
        difference = unequal(model, given)
        if not difference <= TOLERANCE:
            raise RuntimeError(f"{given.mode} {model}: losses differ by {difference:.2g} from the eager step's")
        mine, theirs = changed(given.mode, model, given), Ours(model, corpus(model, given), **options(given)).epoch
        for work in (mine, theirs):
            work()
        pairs = [(milliseconds(mine, given), milliseconds(theirs, given)) for _ in range(given.repeats)]
        name = f"{given.mode}/{model}/{given.setting}/{given.device}"
        unit, notes = f"{given.clock} milliseconds per batch", {"difference": difference}
        print(compare(name, *zip(*pairs, strict=True), unit, threads=given.threads, **notes).line(), flush=True)


def changed(mode: str, model: str, given: argparse.Namespace, *overrides: str) -> Pass:
    """A training pass over the slice in another mode: its mean loss, or None."""
    ours = Ours(model, corpus(model, given), *overrides, **options(given))
    if mode == "compiled":
        for path in SUBMODULES[model]:
            where, _, name = path.rpartition(".")
            module = ours.solver.model.get_submodule(where)
            setattr(module, name, torch.compile(getattr(module, name), backend=given.backend))
        return partial(own_pass, ours)
    static = StaticStep(ours.solver, model)
    if mode == "graph":
        static.capture()
    return static.train_pass


def unequal(model: str, given: argparse.Namespace) -> float:
    """The largest difference of the losses of two passes without dropout, over the loss."""
    silent = without_dropout(model)
    losses = []
    for train in (
        changed(given.mode, model, given, *silent),
        partial(own_pass, Ours(model, corpus(model, given), *silent, **options(given))),
    ):
        losses.append([train(), train()])
    return max(abs(mine - theirs) / abs(theirs) for mine, theirs in zip(*losses, strict=True))


def own_pass(ours: Ours) -> float:
    return ours.solver.train_pass()[0]


def without_dropout(model: str) -> list[str]:
    """Overrides that set every dropout rate to 0; a text encoder, whose rates come with its weights, is frozen."""
    from powmix.models.registry import defaults

    rates = [f"model.{name}=0.0" for name in defaults(model) if "dropout" in name]
    return [*rates, *(["model.text.finetune=false"] if "text" in defaults(model) else [])]


def corpus(model: str, given: argparse.Namespace):
    """A slice whose last batch is half as long as the others."""
    size = MOSI[model].batch_size
    return mosi_sized(given.setting, given.batches * size - size // 2)


def options(given: argparse.Namespace) -> dict:
    return {"device": given.device, "mixer": MIXER}


def milliseconds(work: Pass, given: argparse.Namespace) -> float:
    return 1e3 * seconds(work, given.clock) / given.batches


if __name__ == "__main__":
    main()
