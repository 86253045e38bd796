"""What mixing costs: draw and apply, forward and backward, against a clean training step of the same mini-batch.

python -m benchmarks.mixing                         MulT steps, n_O in 32 .. 2048, B in 16 .. 128
python -m benchmarks.mixing --model lf_dnn --rows 256 --batch 128
python -m benchmarks.mixing --mixers manifold_mixup multimix powmix --rows 256 --batch 16

One JSON line per mixer, n_O and B. `ours`: milliseconds of the mixer as it is by default; `reference`: of the clean
step; `ratio`: the step over the mixer; `notes.share`: the mixer as a part of the step. A mixer that would wait for a
device raises.
"""

from __future__ import annotations

import argparse
import statistics
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import torch
from torch import Tensor

from benchmarks.contenders import Ours, build_mixer
from benchmarks.corpus import STEPS, mosi_sized
from benchmarks.measure import compare, seconds
from benchmarks.reference import NAMES
from powmix import mixing

Step = Callable[[], None]


def arguments() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", choices=NAMES, default="mult")
    parser.add_argument("--setting", choices=tuple(STEPS), default="aligned")
    parser.add_argument("--mixers", nargs="+", default=["powmix"])
    parser.add_argument("--rows", nargs="+", type=int, default=[32, 128, 256, 512, 2048], help="n_O")
    parser.add_argument("--batch", nargs="+", type=int, default=[16, 64, 128])
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
        step, hidden, target = clean_step(ours, size)
        chosen = list(variants(given.mixers, given.rows))
        for options in chosen:
            forbid_waiting(options, hidden, target)
        mixes = [mixer_step(options, hidden, target) for options in chosen]
        steps, times = measured(step, mixes, given)
        report(given, size, chosen, steps, times)


def variants(mixers: list[str], rows: list[int]) -> Iterator[dict[str, Any]]:
    """Every mixer that is asked for, at every n_O if it has one."""
    for name in mixers:
        for out in [{"n_out": n} for n in rows] if "n_out" in mixing.defaults(name) else [{}]:
            yield {"name": name, "p_mix": 1.0, **out}


def clean_step(ours: Ours, size: int) -> tuple[Step, dict[str, Tensor], Tensor]:
    """A forward and backward pass of `size` examples without mixing, and the hidden vectors it would mix."""
    solver = ours.solver
    solver.model.train()
    batch = solver.splits.train.batch(torch.arange(size, device=solver.device))

    def step() -> None:
        encoded = solver.encode(batch)
        solver.loss(batch, encoded, mixing.clean(encoded.hidden, batch.target)).backward()

    hidden = solver.model.encode(batch, solver.noise).hidden
    return step, {name: h.detach().requires_grad_() for name, h in hidden.items()}, batch.target


def mixer_step(options: dict[str, Any], hidden: dict[str, Tensor], target: Tensor) -> Step:
    """Draw, apply, and the gradient through the mixed vectors."""
    mixer, generator = build_mixer(options), torch.Generator().manual_seed(0)

    def step() -> None:
        mixed = mixer(hidden, target, generator=generator)
        torch.autograd.backward(list(mixed.hidden.values()), [torch.ones_like(h) for h in mixed.hidden.values()])

    return step


def measured(step: Step, mixes: list[Step], given: argparse.Namespace) -> tuple[list[float], list[list[float]]]:
    """Milliseconds, interleaved: a clean step, then of each mixer as many calls as take about a tenth of a second."""
    step()
    calls = [max(1, min(200, int(0.1 / min(seconds(mix), seconds(mix))))) for mix in mixes]
    steps, times = [], [[] for _ in mixes]
    for _ in range(given.repeats):
        steps.append(seconds(step, given.clock) * 1e3)
        for mix, count, found in zip(mixes, calls, times):
            found.append(seconds(partial(repeat, mix, count), given.clock) * 1e3 / count)
    return steps, times


def repeat(work: Step, count: int) -> None:
    for _ in range(count):
        work()


def report(
    given: argparse.Namespace, size: int, chosen: list[dict[str, Any]], steps: list[float], times: list[list[float]]
) -> None:
    """A line for each mixer and n_O."""
    for options, found in zip(chosen, times):
        share = statistics.median(mine / whole for mine, whole in zip(found, steps))
        name = f"mixing/{given.model}/{options['name']}/n_O={options.get('n_out')}/B={size}"
        figure = compare(name, found, steps, f"{given.clock} milliseconds", threads=given.threads, share=share)
        print(figure.line(), flush=True)


def forbid_waiting(options: dict[str, Any], hidden: dict[str, Tensor], target: Tensor) -> None:
    """Mixes on torch's meta device, which holds no numbers: whatever a host would wait for cannot be read there."""
    mixer_step(
        options, {name: h.detach().to("meta").requires_grad_() for name, h in hidden.items()}, target.to("meta")
    )()


if __name__ == "__main__":
    main()
