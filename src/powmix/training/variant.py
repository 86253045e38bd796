"""All seeds of a variant: one after another in this process, and where asked, in worker processes beside it."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from pathlib import Path

from powmix.data.splits import Splits
from powmix.mixing import Mixer
from powmix.runs.records import finished_seed
from powmix.training.listener import Listener, TrainingFailed
from powmix.training.pool import Pool
from powmix.training.settings import Settings
from powmix.training.solver import BuildModel, Record, train


def train_seeds(
    build_model: BuildModel,
    splits: Splits | Callable[[int], Splits],
    mixer: Mixer,
    settings: Settings,
    seeds: Sequence[int],
    folder_of: Callable[[int], Path],
    listener: Listener | None = None,
    pool: Pool | None = None,
) -> list[Record]:
    """Trains every seed that its folder does not hold finished; the records of `seeds`, in their order.

    splits: of all seeds, or what gives each seed its own. pool: worker processes that train some of the seeds
    meanwhile, bit for bit as this one would. A seed that diverges does not keep the others from training:
    TrainingFailed names all that did, at the end.
    """
    listener = listener or Listener()
    records = {seed: record for seed in seeds if (record := finished_seed(folder_of(seed), seed))}
    for seed, record in records.items():
        listener.on_seed_end(seed, record)
    waiting = deque(seed for seed in seeds if seed not in records)
    failures: dict[int, str] = {}
    with (pool or Pool()).beside(waiting, folder_of, settings, listener) as others:
        while (seed := others.next_seed()) is not None:
            if seed not in others.begun:
                others.begun.add(seed)
                listener.on_seed_start(seed, settings.max_epochs)
            try:
                own = splits(seed) if callable(splits) else splits
                records[seed] = train(build_model, own, mixer, settings, seed, folder_of(seed), others.listening())
            except TrainingFailed as error:
                failures[seed] = str(error)
                continue
            listener.on_seed_end(seed, records[seed])
    records |= others.records
    failures |= others.failures
    if failures:
        raise TrainingFailed("; ".join(failures[seed] for seed in seeds if seed in failures))
    return [records[seed] for seed in seeds]
