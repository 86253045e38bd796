"""How many kernels a training batch launches, and how often it waits for the device, counted by torch.profiler.

python -m benchmarks.launches --model mult lf_dnn --device cuda
python -m benchmarks.launches --model mult                        on a CPU: operators, and numbers that are read back

A JSON line for each model. `ours` and `reference` count kernel launches per batch of the recipe's size (on a CPU:
operators, those that operators call included); `notes.waits_*` how often the host waits for the device (on a CPU: how
often a number leaves its tensor), `notes.copies_*` the copies between host and device or within it.
"""

from __future__ import annotations

import argparse

from torch.profiler import ProfilerActivity, profile

from benchmarks.contenders import Contender, Ours, Reference
from benchmarks.corpus import STEPS, mosi_sized
from benchmarks.measure import compare
from benchmarks.reference import MOSI, NAMES

ON_CUDA = {
    "launches": ("cudaLaunchKernel", "cudaLaunchKernelExC", "cuLaunchKernel", "cuLaunchKernelEx", "cudaGraphLaunch"),
    "waits": ("cudaStreamSynchronize", "cudaEventSynchronize", "cudaDeviceSynchronize"),
    "copies": ("cudaMemcpyAsync", "cudaMemcpy"),
}
"""Names in CUDA's interface."""


def arguments() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", nargs="+", choices=NAMES, default=["mult"])
    parser.add_argument("--setting", choices=tuple(STEPS), default="aligned")
    parser.add_argument("--batches", type=int, default=8, help="in the slice of an epoch that is counted")
    parser.add_argument("--device", default="cpu")
    return parser


def main() -> None:
    given = arguments().parse_args()
    for model in given.model:
        splits = mosi_sized(given.setting, given.batches * MOSI[model].batch_size)
        sides = {
            "ours": Ours(model, splits, device=given.device),
            "reference": Reference(model, splits, device=given.device),
        }
        counts = {side: counted(slice_, given) for side, slice_ in sides.items()}
        launches = [[counts[side].pop("launches")] for side in sides]
        notes = {f"{kind}_{side}": value for side, found in counts.items() for kind, value in found.items()}
        unit = ("operators" if given.device == "cpu" else "kernel launches") + " per batch"
        name = f"launches/{model}/{given.setting}/{given.device}"
        print(compare(name, *launches, unit, threads=1, **notes).line(), flush=True)


def counted(slice_: Contender, given: argparse.Namespace) -> dict[str, float]:
    """Launches, waits and copies per batch of a pass after the first, which chooses kernels and makes buffers."""
    slice_.epoch()
    on_cpu = given.device == "cpu"
    with profile(activities=[ProfilerActivity.CPU, *[ProfilerActivity.CUDA] * (not on_cpu)]) as recorded:
        slice_.epoch()
    calls = {row.key: row.count for row in recorded.key_averages()}
    if on_cpu:
        operators = sum(count for name, count in calls.items() if name.startswith("aten::"))
        return {"launches": operators / given.batches, "waits": calls["aten::_local_scalar_dense"] / given.batches}
    return {kind: sum(calls.get(name, 0) for name in names) / given.batches for kind, names in ON_CUDA.items()}


if __name__ == "__main__":
    main()
