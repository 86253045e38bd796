"""Where the time of a training step goes, and the floor that arithmetic sets.

python -m benchmarks.profile --model mult --setting aligned            ours
python -m benchmarks.profile --model mult --side reference --sort self_cpu_time_total

Prints where a slice of an epoch spends its time by torch.profiler, per batch of the recipe's size (by the wall clock,
whatever `--clock` says; nothing with `--rows 0`), then a JSON line: seconds of an epoch without the profiler. Its notes
are the epoch's FLOPs (forward and backward), the machine's measured matmul rate and the floor (FLOPs over rate).
"""

from __future__ import annotations

import argparse
import math

import torch
from torch.profiler import ProfilerActivity, profile
from torch.utils.flop_counter import FlopCounterMode

from benchmarks.contenders import Contender, Ours, Reference
from benchmarks.corpus import STEPS, TRAINING, mosi_sized
from benchmarks.measure import alone, matmul_rate, seconds
from benchmarks.reference import MOSI, NAMES


def arguments() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", choices=NAMES, default="mult")
    parser.add_argument("--setting", choices=tuple(STEPS), default="aligned")
    parser.add_argument("--side", choices=("ours", "reference"), default="ours")
    parser.add_argument("--batches", type=int, default=8, help="batches of the recipe's size in the profiled slice")
    parser.add_argument("--rows", type=int, default=12, help="lines of the table")
    parser.add_argument("--sort", default="self_cpu_time_total", help="or self_device_time_total, cpu_time_total ...")
    parser.add_argument("--shapes", action="store_true", help="a line per operator and input shapes")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--clock", choices=("wall", "cpu"), default="wall")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--bert", choices=("small", "base"), default="small")
    parser.add_argument("--override", nargs="*", default=[])
    return parser


def main() -> None:
    given = arguments().parse_args()
    torch.set_num_threads(given.threads)
    slice_ = contender(given)
    slice_.epoch(), slice_.epoch()
    if given.rows:
        print(table(slice_, given))
    rate = matmul_rate(device=given.device, clock=given.clock)
    flops = count(slice_)
    scale = TRAINING / (given.batches * MOSI[given.model].batch_size)
    measured = [seconds(slice_.epoch, given.clock) * scale for _ in range(given.repeats)]
    notes = {"flops": flops * scale, "gflops_per_second": rate, "floor": flops * scale / rate / 1e9}
    name = f"profile/{given.model}/{given.setting}/{given.side}/{given.device}"
    print(alone(name, measured, f"{given.clock} seconds per epoch", threads=given.threads, **notes).line())


def contender(given: argparse.Namespace) -> Contender:
    splits = mosi_sized(given.setting, given.batches * MOSI[given.model].batch_size)
    options = {"bert": given.bert, "device": given.device}
    if given.side == "ours":
        return Ours(given.model, splits, *given.override, **options)
    return Reference(given.model, splits, **options)


def table(slice_: Contender, given: argparse.Namespace) -> str:
    activities = [ProfilerActivity.CPU] + ([ProfilerActivity.CUDA] if given.device != "cpu" else [])
    with profile(activities=activities, record_shapes=given.shapes) as recorded:
        slice_.epoch()
    averages = recorded.key_averages(group_by_input_shape=given.shapes)
    times = sorted(((getattr(row, given.sort), row) for row in averages), key=lambda pair: -pair[0])
    whole = sum(spent for spent, _ in times)
    lines = [f"{'share':>6s} {'ms':>8s} {'calls':>7s}  per batch"]
    for spent, row in times[: given.rows]:
        shapes = f" {row.input_shapes}" if given.shapes else ""
        calls = row.count / given.batches
        lines.append(f"{spent / whole:6.1%} {spent / given.batches / 1e3:8.2f} {calls:7.1f}  {row.key}{shapes}")
    return "\n".join(lines)


def lstm_flops(x_shape, w_ih_shape, w_hh_shape, *rest, **options) -> int:
    """FLOPs of oneDNN's LSTM: both products at every step (time and batch are x's leading axes)."""
    rows = math.prod(x_shape[:-1])
    return 2 * rows * (math.prod(w_ih_shape) + math.prod(w_hh_shape))


def lstm_backward_flops(x_shape, w_ih_shape, w_hh_shape, *rest, **options) -> int:
    """Twice the forward's: gradients of inputs and of weights."""
    return 2 * lstm_flops(x_shape, w_ih_shape, w_hh_shape)


def count(slice_: Contender) -> int:
    """FLOPs of the matrix products of one pass; element-wise work is not counted."""
    lstm = {
        torch.ops.aten.mkldnn_rnn_layer: lstm_flops,
        torch.ops.aten.mkldnn_rnn_layer_backward: lstm_backward_flops,
    }
    with FlopCounterMode(display=False, custom_mapping=lstm) as counter:
        slice_.epoch()
    return counter.get_total_flops()


if __name__ == "__main__":
    main()
