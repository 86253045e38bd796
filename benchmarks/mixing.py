"""What mixing costs: draw and apply, forward and backward, against a clean training step of the same mini-batch.

python -m benchmarks.mixing                         MulT steps, n_O in 32 .. 2048, B in 16 .. 128, dense and sparse
python -m benchmarks.mixing --model lf_dnn --rows 256 --batch 128
python -m benchmarks.mixing --mixers manifold_mixup multimix powmix --rows 256 --batch 16

One JSON line per mixer, sampler, n_O and B. `ours`: milliseconds of the mixer; `reference`: of the clean step;
`ratio`: the step over the mixer; `notes.share`: the mixer as a part of the step. On a GPU, a mixer that waits for the
device raises.
"""

from __future__ import annotations

import argparse
import inspect
import statistics
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from benchmarks.contenders import Ours, build_mixer
from benchmarks.corpus import STEPS, mosi_sized
from benchmarks.measure import compare, seconds
from benchmarks.reference import NAMES
from powmix import mixing
from powmix.training.step import training_step

SAMPLERS = ("dense", "sparse", "auto")


def arguments() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", choices=NAMES, default="mult")
    parser.add_argument("--setting", choices=tuple(STEPS), default="aligned")
    parser.add_argument("--mixers", nargs="+", default=["powmix"])
    parser.add_argument("--rows", nargs="+", type=int, default=[32, 128, 256, 512, 1024, 2048], help="n_O")
    parser.add_argument("--batch", nargs="+", type=int, default=[16, 32, 64, 128])
    parser.add_argument("--repeats", type=int, default=9)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--clock", choices=("wall", "cpu"), default="wall")
    parser.add_argument("--device", default="cpu")
    return parser


def main() -> None:
    given = arguments().parse_args()
    torch.set_num_threads(given.threads)
    ours = Ours(given.model, mosi_sized(given.setting, max(given.batch)), device=given.device)
    for size in given.batch:
        solver_step, hidden, target = clean_step(ours, size)
        for options in variants(given.mixers, given.rows):
            report(given, size, options, solver_step, mixer_step(options, hidden, target))


def variants(mixers: list[str], rows: list[int]) -> list[dict[str, Any]]:
    """Every mixer that is asked for, at every n_O and with every sampler that it knows."""
    found = []
    for name in mixers:
        known = inspect.signature(mixing.registry.mixer_class(name)).parameters
        outs = [{"n_out": n} for n in rows] if "n_out" in known else [{}]
        samplers = [{"sampler": s} for s in SAMPLERS] if "sampler" in known else [{}]
        found += [{"name": name, "p_mix": 1.0, **out, **sampler} for out in outs for sampler in samplers]
    return found


def clean_step(ours: Ours, size: int) -> tuple[Callable[[], None], dict[str, Tensor], Tensor]:
    """A forward and backward pass of `size` examples without mixing, and the hidden vectors it would mix."""
    solver = ours.solver
    solver.model.train()
    batch = solver.splits.train.batch(torch.arange(size, device=solver.device))
    none = mixing.build("none", {})

    def step() -> None:
        made = training_step(
            solver.model, none, batch, solver.row_loss, solver.noise, solver.generators.mixing, 0, solver.precision
        )
        made.loss.backward()

    hidden = solver.model.encode(batch, solver.noise).hidden
    return step, {name: h.detach().requires_grad_() for name, h in hidden.items()}, batch.target


def mixer_step(options: dict[str, Any], hidden: dict[str, Tensor], target: Tensor) -> Callable[[], None]:
    """Draw, apply, and the gradient through the mixed vectors."""
    mixer, generator = build_mixer(options), torch.Generator().manual_seed(0)

    def step() -> None:
        mixed = mixer(hidden, target, generator=generator)
        torch.autograd.backward(list(mixed.hidden.values()), [torch.ones_like(h) for h in mixed.hidden.values()])

    return step


def report(
    given: argparse.Namespace,
    size: int,
    options: dict[str, Any],
    step: Callable[[], None],
    mix: Callable[[], None],
) -> None:
    """Interleaved: one clean step, then as many mixer calls, averaged, as take about a tenth of a second."""
    step(), mix()
    forbid_waiting(mix)
    calls = max(1, min(200, int(0.1 / seconds(mix))))
    steps, mixes = [], []
    for _ in range(given.repeats):
        steps.append(seconds(step, given.clock) * 1e3)
        mixes.append(seconds(lambda: [mix() for _ in range(calls)], given.clock) * 1e3 / calls)
    name = f"mixing/{given.model}/{'/'.join(f'{k}={v}' for k, v in options.items())}/B={size}"
    share = statistics.median(mine / whole for mine, whole in zip(mixes, steps))
    print(
        compare(name, mixes, steps, f"{given.clock} milliseconds", threads=given.threads, share=share).line(),
        flush=True,
    )


def forbid_waiting(mix: Callable[[], None]) -> None:
    """On a GPU, runs the mixer with every host-device synchronisation made an error."""
    if torch.cuda.is_available():
        torch.cuda.set_sync_debug_mode("error")
        try:
            mix()
        finally:
            torch.cuda.set_sync_debug_mode("default")


if __name__ == "__main__":
    main()
