"""How many examples a mixed one is made of (K) and what becomes of the labels: the law itself, simulated in NumPy.

B mini-batch, O generated rows. Attention is uniform here: it reweights modalities within a row, not the choice of rows.
"""

from dataclasses import dataclass
from math import comb

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from powmix.mixing.registry import COLOURS
from powmix.mixing.registry import TITLES as MIXERS
from powmix.report.figures import style
from powmix.report.table import Table
from powmix.runs.records import Record

SEED = 2312
N_BATCHES = 400
N_OUT = 256


@dataclass(frozen=True)
class Law:
    """What decides K: the batch size and PowMix's subset range with its switches (mixing.md, step 3)."""

    batch_size: int
    subset: tuple[float, float] = (2.0, 4.0)
    p_scope: str = "element"
    min_selected: int = 1
    dynamic: bool = True


def law_of(record: Record) -> Law:
    options = record.mixing_options()
    a, b = options.get("subset") or (2.0, 4.0)
    return Law(
        batch_size=int(record.option("trainer.batch_size", 16)),
        subset=(float(a), float(b)),
        p_scope=str(options.get("p_scope", "element")),
        min_selected=int(options.get("min_selected", 1)),
        dynamic=bool(options.get("dynamic", True)),
    )


def draw(table: Table) -> Figure | None:
    """K and mixed labels, for the first PowMix variant and the test labels among the runs; None without labels."""
    records = [row.record for row in table.rows if row.record.task == "regression"]
    labels = next((found for r in records for s in r.seeds if (found := s.targets())), [])
    powmix = next((r for r in records if r.mixer == "powmix" and r.config), None)
    if not labels or powmix is None:
        return None
    law, rng = law_of(powmix), np.random.default_rng(SEED)
    with style.context():
        figure, axes = style.panels(2, width=5.0)
        _selected(axes[0], law, rng)
        _labels(axes[1], law, np.asarray(labels), rng)
        style.legend(figure, axes)
        note = f"simulated from seed {SEED}: {N_BATCHES} batches of {law.batch_size}, uniform attention"
        style.footnote(figure, f"{note}; labels: {len(labels)} test labels of {powmix.dataset}")
    return figure


def masks(law: Law, n_out: int, rng: np.random.Generator) -> np.ndarray:
    """Which examples each generated row mixes, rows with too few redrawn: bool (n_out, B)."""
    if not law.dynamic:
        return np.ones((n_out, law.batch_size), dtype=bool)
    mask_OB = _bernoulli(law, n_out, rng)
    least = min(law.min_selected, law.batch_size)
    while (empty := mask_OB.sum(axis=1) < least).any():
        mask_OB[empty] = _bernoulli(law, int(empty.sum()), rng)
    return mask_OB


def weights(mask_OB: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """One modality's mixing weights: masked Gamma variates with alpha ~ U(0.5, 2) per row, normalised."""
    alpha_O1 = rng.uniform(0.5, 2.0, (len(mask_OB), 1))
    w_OB = rng.gamma(np.broadcast_to(alpha_O1, mask_OB.shape)) * mask_OB
    return w_OB / w_OB.sum(axis=1, keepdims=True)


def exact_selected(law: Law) -> np.ndarray:
    """P(K = k) for k in 0..B where P is drawn per element: a Binomial truncated at `min_selected`."""
    n, p = law.batch_size, min(1.0, sum(law.subset) / 2 / law.batch_size)
    density = np.array([comb(n, k) * p**k * (1 - p) ** (n - k) for k in range(n + 1)])
    density[: law.min_selected] = 0
    return density / density.sum()


def mixed_labels(name: str, law: Law, y_N: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Labels of generated examples: three modalities mixed apart and averaged for PowMix, once for the others."""
    found = []
    for _ in range(N_BATCHES):
        y_B = rng.choice(y_N, law.batch_size)
        if name == "manifold_mixup":
            lam_B = rng.random(law.batch_size)
            found.append(lam_B * y_B + (1 - lam_B) * rng.choice(y_N, law.batch_size))
        elif name == "multimix":
            found.append(weights(np.ones((N_OUT // 8, law.batch_size), dtype=bool), rng) @ y_B)
        else:
            mask_OB = masks(law, N_OUT // 8, rng)
            found.append(np.mean([weights(mask_OB, rng) @ y_B for _ in range(3)], axis=0))
    return np.concatenate(found)


def _bernoulli(law: Law, n_out: int, rng: np.random.Generator) -> np.ndarray:
    shape = (n_out, law.batch_size if law.p_scope == "element" else 1)
    p = np.minimum(rng.uniform(*law.subset, shape) / law.batch_size, 1)
    return rng.random((n_out, law.batch_size)) < p


def _selected(axes: Axes, law: Law, rng: np.random.Generator) -> None:
    k_O = masks(law, N_BATCHES * N_OUT, rng).sum(axis=1)
    share_K = np.bincount(k_O, minlength=law.batch_size + 1) / len(k_O)
    last = min(law.batch_size, int(np.flatnonzero(share_K > 1e-4).max()) + 1)
    axes.bar(range(1, last + 1), share_K[1 : last + 1], 0.72, color=COLOURS["powmix"], alpha=0.85)
    if law.dynamic and law.p_scope == "element":
        exact_K = exact_selected(law)[1 : last + 1]
        axes.plot(range(1, last + 1), exact_K, "o", color=style.INK, markersize=4, label="truncated Binomial")
    a, b = law.subset
    axes.set(title=f"Examples mixed into one (mean {k_O.mean():.2f})", ylabel="share of generated examples")
    axes.set_xlabel(f"K; PowMix, U({a:g}, {b:g}) per {law.p_scope}, B = {law.batch_size}")
    axes.grid(axis="x", visible=False)


def _labels(axes: Axes, law: Law, y_N: np.ndarray, rng: np.random.Generator) -> None:
    edges = np.linspace(y_N.min(), y_N.max(), 22)
    middle = (edges[1:] + edges[:-1]) / 2
    density, _ = np.histogram(y_N, edges, density=True)
    axes.fill_between(middle, density, step="mid", color=style.SOFT, alpha=0.22, linewidth=0, label="labels")
    for name in ("manifold_mixup", "multimix", "powmix"):
        density, _ = np.histogram(mixed_labels(name, law, y_N, rng), edges, density=True)
        axes.plot(middle, density, color=COLOURS[name], label=MIXERS[name])
    axes.set(title="What becomes of the labels", xlabel="label", ylabel="density")
