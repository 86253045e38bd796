"""A whole dataset -> its three splits: given or drawn, by groups and evenly over labels, without leaks, scaled.

Shape suffixes: N examples, L steps, D features, C outputs.
"""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from powmix.data.assembling import TEXT, Whole
from powmix.data.registry import PER_SEED
from powmix.data.splits import Kind, Split, Splits

FLOOR = 1e-3
"""Of the median standard deviation of a modality's features: what varies less is not blown up by scaling."""
STRATUM = 10

log = logging.getLogger("powmix")


def split(whole: Whole, options: Mapping[str, Any], seed: int, convention: str) -> Splits:
    """The three splits of a dataset. options: of registry.SPLITTING. seed: of the run, for `split_seed=seed`.

    A given split stands; where it has no validation part, one is drawn from its training part. Otherwise whole groups
    are drawn where there are groups, else examples, evenly over labels. Raises ValueError where a part would be empty,
    and for leaks: rows that are equal, or groups, on both sides of a split.
    """
    own = seed if options["split_seed"] == PER_SEED else options["split_seed"]
    parts = _parts(whole, options, own)
    if options["train_examples"] is not None:
        parts[0] = _some(whole, parts[0], options["train_examples"], own)
    if options["fraction"] < 1:
        count = max(1, round(options["fraction"] * len(parts[0])))
        parts[0] = _some(whole, parts[0], count, options["fraction_seed"])
    _refuse_leaks(whole, parts, options["leaks"])
    rows = [torch.as_tensor(np.sort(part)) for part in parts]
    scale = _scale(whole, rows[0]) if options["scale"] == "standard" else {}
    low, high = whole.target.values[parts[0]].min(), whole.target.values[parts[0]].max()
    return Splits(
        name=whole.name,
        **{part: _split(whole, index, scale) for part, index in zip(("train", "valid", "test"), rows)},
        dims={key: value.shape[1 if whole.kinds[key] == "image" else -1] for key, value in whole.features.items()},
        steps=({} if whole.tokens is None else {TEXT: whole.tokens.shape[2]})
        | {key: whole.features[key].shape[1] for key in whole.lengths},
        label_range=(float(low), float(high)) if low < high else (float(low) - 1, float(high) + 1),
        convention=convention,
        digest=whole.digest,
        outputs=whole.target.values.shape[1],
        notes=dict(whole.notes),
        task=whole.target.task,
        kinds=whole.kinds,
        classes=whole.target.classes,
        scale={key: (mean.tolist(), std.tolist()) for key, (mean, std) in scale.items()},
    )


def scaled(value: Tensor, kind: Kind, mean_D: Tensor, std_D: Tensor, length_N: Tensor | None) -> Tensor:
    """Features less their training mean, over their training standard deviation; padding stays zero."""
    shape = (-1, 1, 1) if kind == "image" else (-1,)
    out = (value - mean_D.view(shape)) / std_D.view(shape)
    return out if length_N is None else out * _real(value, length_N)


# --- splitting --------------------------------------------------------------------------------------------------------


def _parts(whole: Whole, options: Mapping[str, Any], seed: int) -> list[np.ndarray]:
    """The rows of training, validation and test."""
    where, how = f"dataset {whole.name}", options["split"]
    if how == "given" and whole.given is None:
        raise ValueError(f"{where}: dataset.split=given, but it has no `split`")
    if how == "group" and whole.groups is None:
        raise ValueError(f"{where}: dataset.split=group, but it has no `group`")
    by_group = whole.groups is not None and how != "random"
    everything = np.arange(len(whole.ids))
    if whole.given is not None and how in ("auto", "given") and options["folds"] is None:
        train, valid, test = (everything[whole.given == part] for part in range(3))
        if not len(valid) and len(train):
            valid, train = _drawn(whole, train, options["valid"], seed, by_group)
    elif options["folds"] is not None:
        if whole.given is not None and how in ("auto", "given"):
            raise ValueError(f"{where}: it has a `split` of its own: dataset.split=random or group makes folds of it")
        folds = _folds(whole, everything, options["folds"], seed, by_group)
        fold = options["fold"]
        test, valid = folds[fold], folds[(fold + 1) % len(folds)]
        train = np.concatenate(
            [one for number, one in enumerate(folds) if number not in (fold, (fold + 1) % len(folds))]
        )
    else:
        test, rest = _drawn(whole, everything, options["test"], seed, by_group)
        wanted = options["valid"]
        count = round(wanted * len(everything)) if wanted < 1 else wanted  # of the whole, not of what is left
        if count >= len(rest):
            raise ValueError(
                f"{where}: dataset.valid={wanted} and dataset.test={options['test']} leave no training part"
            )
        valid, train = _drawn(whole, rest, max(count, 1), seed, by_group)
    for name, part in (("training", train), ("validation", valid), ("test", test)):
        if not len(part):
            raise ValueError(f"{where}: its {name} part is empty ({len(train)} / {len(valid)} / {len(test)} examples)")
    return [train, valid, test]


def _drawn(whole: Whole, rows: np.ndarray, share: float, seed: int, by_group: bool) -> tuple[np.ndarray, np.ndarray]:
    """Some of the rows, and the others: a share or a number of them, whole groups where asked for."""
    wanted = share * len(rows) if share < 1 else share
    if not by_group:
        order = rows[_order(whole.target.values[rows], seed)]
        return order[: round(wanted)], order[round(wanted) :]
    members = _groups(whole, rows, seed)
    if len(members) < 2:
        raise ValueError(f"dataset {whole.name}: {len(members)} groups cannot be on two sides of a split")
    chosen: list[np.ndarray] = []
    count = 0
    for group in members[:-1]:
        if chosen and count + len(group) / 2 > wanted:
            break
        chosen.append(group)
        count += len(group)
    return np.concatenate(chosen), np.concatenate(members[len(chosen) :])


def _folds(whole: Whole, rows: np.ndarray, count: int, seed: int, by_group: bool) -> list[np.ndarray]:
    """`count` parts of about the same size; whole groups, the largest first, into the smallest part so far."""
    if not by_group:
        order = rows[_order(whole.target.values[rows], seed)]
        if count > len(order):
            raise ValueError(f"dataset {whole.name}: {len(order)} examples make no {count} folds")
        return [order[fold::count] for fold in range(count)]
    members = _groups(whole, rows, seed)
    if count > len(members):
        raise ValueError(f"dataset {whole.name}: {len(members)} groups make no {count} folds")
    folds: list[list[np.ndarray]] = [[] for _ in range(count)]
    for group in sorted(members, key=len, reverse=True):
        min(folds, key=lambda fold: sum(map(len, fold))).append(group)
    return [np.concatenate(fold) for fold in folds]


def _groups(whole: Whole, rows: np.ndarray, seed: int) -> list[np.ndarray]:
    """The rows of each group, the groups in a random order."""
    assert whole.groups is not None
    names = np.array(whole.groups)[rows]
    unique = np.unique(names)
    return [rows[names == unique[place]] for place in np.random.default_rng(seed).permutation(len(unique))]


def _some(whole: Whole, rows: np.ndarray, count: int, seed: int) -> np.ndarray:
    """At most `count` of the rows, evenly over labels."""
    return rows if count >= len(rows) else rows[_order(whole.target.values[rows], seed)[:count]]


def _order(target_NC: np.ndarray, seed: int) -> np.ndarray:
    """A random order whose every beginning takes evenly from all labels: examples sorted by label in strata of ten."""
    rng = np.random.default_rng(seed)
    label_N = target_NC[:, 0] if target_NC.shape[1] == 1 else target_NC @ np.arange(target_NC.shape[1])
    shuffled_N = rng.permutation(len(label_N))
    by_label_N = shuffled_N[np.argsort(label_N[shuffled_N], kind="stable")]
    key_N = np.empty(len(label_N))
    for start in range(0, len(label_N), STRATUM):
        stratum = by_label_N[start : start + STRATUM]
        key_N[stratum] = (rng.permutation(len(stratum)) + rng.random()) / len(stratum)
    return np.argsort(key_N, kind="stable")


def _refuse_leaks(whole: Whole, parts: Sequence[np.ndarray], leaks: str) -> None:
    found = []
    rows = _row_hashes(whole)
    for name, one, other in (("training", 0, 2), ("training", 0, 1), ("validation", 1, 2)):
        against = ("training", "validation", "test")[other]
        shared = np.isin(rows[parts[other]], rows[parts[one]])
        if shared.any():
            found.append(f"{shared.sum()} {against} examples equal a {name} example in every modality")
        if whole.groups is not None:
            names = np.array(whole.groups)
            both = sorted(set(names[parts[one]]) & set(names[parts[other]]))
            if both:
                shown = ", ".join(both[:3]) + (", ..." if len(both) > 3 else "")
                found.append(f"{len(both)} groups are in {name} and in {against} ({shown})")
    if found and leaks == "refuse":
        raise ValueError(
            f"dataset {whole.name}: {'; '.join(found)}: what is learnt there would be measured again; "
            "drop them or give them one group; dataset.leaks=warn trains all the same"
        )
    for sentence in found:
        log.warning("dataset %s: %s", whole.name, sentence)


def _row_hashes(whole: Whole) -> np.ndarray:
    """One hash for each example over all its modalities."""
    hashes = []
    columns = [value.flatten(1).numpy() for value in whole.features.values()]
    for row in range(len(whole.ids)):
        digest = hashlib.blake2b(digest_size=8)
        for column in columns:
            digest.update(np.ascontiguousarray(column[row]))
        digest.update((whole.texts[row] if whole.texts else "").encode())
        hashes.append(digest.digest())
    return np.array(hashes)


# --- preparing --------------------------------------------------------------------------------------------------------


def _scale(whole: Whole, rows: Tensor) -> dict[str, tuple[Tensor, Tensor]]:
    """Mean and standard deviation of every feature over the training rows: of real steps, of images by channel."""
    found = {}
    for name, value in whole.features.items():
        x = value[rows]
        if whole.kinds[name] == "image":
            x = x.transpose(0, 1).flatten(1).T
        elif name in whole.lengths:
            x = x[_real(x, whole.lengths[name][rows]).squeeze(-1)]
        std_D, mean_D = torch.std_mean(x.double(), dim=0, correction=0)
        floor = FLOOR * std_D[std_D > 0].median() if (std_D > 0).any() else torch.ones(())
        found[name] = mean_D.float(), torch.where(std_D > 0, std_D.clamp(min=floor), 1.0).float()
    return found


def _real(value: Tensor, length_N: Tensor) -> Tensor:
    """Which steps are no padding: (N, L, 1)."""
    return (torch.arange(value.shape[1]) < length_N[:, None]).unsqueeze(-1)


def _split(whole: Whole, rows: Tensor, scale: Mapping[str, tuple[Tensor, Tensor]]) -> Split:
    features = {}
    for name, value in whole.features.items():
        length_N = whole.lengths[name][rows] if name in whole.lengths else None
        chosen = value[rows]
        features[name] = scaled(chosen, whole.kinds[name], *scale[name], length_N) if name in scale else chosen
    tokens = None if whole.tokens is None else whole.tokens[rows]
    lengths = {name: value[rows] for name, value in whole.lengths.items()}
    if tokens is not None:
        lengths.setdefault(TEXT, tokens[:, 1].sum(-1))
    names = rows.tolist()
    return Split(
        features=features,
        tokens=tokens,
        lengths=lengths,
        side=dict.fromkeys(lengths, "right"),
        target=torch.from_numpy(whole.target.values[rows.numpy()]),
        ids=[whole.ids[row] for row in names],
        raw_text=[whole.texts[row] if whole.texts else "" for row in names],
        groups=whole.groups and [whole.groups[row] for row in names],
    )


def fraction_rows(target_NC: Tensor, fraction: float, seed: int = 0) -> list[int]:
    """Rows of a fraction of the training set, ascending: round(fraction * N), at least one; fractions of a seed nest.

    Examples sorted by label (the most likely class for soft targets) form strata of ten; one shuffled order takes
    evenly from all of them, and a fraction is its beginning. Raises ValueError for a fraction outside (0, 1].
    """
    if not 0 < fraction <= 1:
        raise ValueError(f"dataset.fraction must be within (0, 1], got {fraction!r}")
    order_N = _stratified_order(target_NC, seed)
    return sorted(order_N[: max(1, round(fraction * len(order_N)))].tolist())


def _stratified_order(target_NC: Tensor, seed: int) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    label_N = target_NC[:, 0] if target_NC.shape[1] == 1 else target_NC.argmax(1)
    shuffled_N = torch.randperm(len(label_N), generator=generator)
    by_label_N = shuffled_N[label_N[shuffled_N].argsort(stable=True)]
    key_N = torch.empty(len(label_N), dtype=torch.float64)
    for stratum in by_label_N.split(STRATUM):
        place = torch.randperm(len(stratum), generator=generator).double()
        key_N[stratum] = (place + torch.rand((), generator=generator, dtype=torch.float64)) / len(stratum)
    return key_N.argsort(stable=True)
