"""What `python -m benchmarks.gpu` runs, in this order; DEVICE stands for its device."""

from __future__ import annotations

from typing import NamedTuple

MODELS = ("mult", "tfn", "lf_dnn", "self_mm", "misa", "mag_bert")


class Command(NamedTuple):
    """After `python -m`. needs_cuda: left out elsewhere. tiny: without it the command is left out of `--tiny`."""

    line: str
    needs_cuda: bool = False
    tiny: str | None = ""
    """What `--tiny` adds; None: the command is left out of it."""


class Part(NamedTuple):
    """share: of the time, by weight."""

    name: str
    share: int
    commands: tuple[Command, ...]


FEW = "--batches 1 --repeats 1"
PARTS = (
    Part(
        "device tests", 17, (Command("pytest -vv -rf --tb=short -p no:cacheprovider -m device tests/test_device.py"),)
    ),
    Part(
        "epoch times",
        42,
        tuple(
            Command(f"benchmarks.epoch --model {model} --batches 16 --device DEVICE", tiny=f"{FEW} --warmup 0")
            for model in MODELS
        ),
    ),
    Part(
        "mixing",
        4,
        (
            Command(
                "benchmarks.mixing --rows 32 256 2048 --batch 16 128 --device DEVICE",
                tiny="--model lf_dnn --rows 32 --batch 8 --repeats 1",
            ),
        ),
    ),
    Part(
        "kernel launches",
        10,
        (
            Command(
                f"benchmarks.launches --model {' '.join(MODELS)} --device DEVICE",
                tiny="--batches 1 --model lf_dnn mag_bert",
            ),
        ),
    ),
    Part(
        "memory",
        7,
        tuple(
            Command(f"benchmarks.epoch --memory --model {model} --batches 8 --device DEVICE", tiny=tiny)
            for model, tiny in zip(MODELS, (None, None, FEW, None, None, None), strict=True)
        ),
    ),
    Part(
        "static shapes, compiled, graph",
        14,
        (
            Command("benchmarks.graph --mode static --device DEVICE", tiny=f"{FEW} --model lf_dnn tfn"),
            Command("benchmarks.graph --mode graph --device DEVICE", needs_cuda=True),
            Command(
                "benchmarks.graph --mode compiled --model lf_dnn tfn mult self_mm --device DEVICE",
                tiny=f"{FEW} --model lf_dnn --backend eager",
            ),
        ),
    ),
    Part(
        "several processes",
        6,
        (
            Command(
                "benchmarks.processes --model lf_dnn --processes 2 4 8 --device DEVICE", tiny=f"{FEW} --processes 2"
            ),
            Command("benchmarks.processes --model lf_dnn --processes 2 4 8 --mps --device DEVICE", needs_cuda=True),
            Command("benchmarks.processes --model mult --processes 2 4 --batches 16 --device DEVICE", tiny=None),
            Command(
                "benchmarks.processes --model mult --processes 2 4 --batches 16 --mps --device DEVICE",
                needs_cuda=True,
                tiny=None,
            ),
        ),
    ),
)
