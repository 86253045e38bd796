"""Figure 2: which part of the examples' convex hull is reached by mixing pairs, triplets, quadruplets or all.

B examples, N generated points, O = N. Drawn by NumPy from a seed; no runs are needed.
"""

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from powmix.report.figures import style

N_EXAMPLES = 7
N_POINTS = 2**12
SEED = 2312
PANELS = (("(a) MixUp: pairs", 2), ("(b) triplets", 3), ("(c) quadruplets", 4), ("(d) MultiMix: all seven", N_EXAMPLES))


def draw() -> Figure:
    rng = np.random.default_rng(SEED)
    h_B2 = examples(rng)
    with style.context():
        figure, axes = style.panels(len(PANELS), width=2.75, height=2.9, columns=4)
        for axis, (title, selected) in zip(axes, PANELS):
            _panel(axis, h_B2, mix(h_B2, selected, N_POINTS, rng), title)
        style.footnote(
            figure,
            f"{N_EXAMPLES} examples, 2¹² generated points each, alpha ~ U(0.5, 2); drawn from seed {SEED}, no runs",
        )
    return figure


def examples(rng: np.random.Generator) -> np.ndarray:
    """B points around an ellipse, unevenly: (B, 2)."""
    angle_B = (np.arange(N_EXAMPLES) + rng.uniform(-0.22, 0.22, N_EXAMPLES)) * 2 * np.pi / N_EXAMPLES
    radius_B = rng.uniform(0.72, 1.0, N_EXAMPLES)
    return np.stack([1.25 * radius_B * np.cos(angle_B), radius_B * np.sin(angle_B)], axis=1)


def mix(h_B2: np.ndarray, selected: int, n_out: int, rng: np.random.Generator) -> np.ndarray:
    """Dirichlet combinations of `selected` random examples each: (n_out, 2)."""
    n_examples = len(h_B2)
    alpha_O1 = rng.uniform(0.5, 2.0, (n_out, 1))
    mask_OB = rng.random((n_out, n_examples)).argsort(axis=1).argsort(axis=1) < selected
    w_OB = rng.gamma(np.broadcast_to(alpha_O1, mask_OB.shape)) * mask_OB
    return (w_OB / w_OB.sum(axis=1, keepdims=True)) @ h_B2


def _panel(axes: Axes, h_B2: np.ndarray, mixed_O2: np.ndarray, title: str) -> None:
    from scipy.spatial import ConvexHull

    hull = h_B2[ConvexHull(h_B2).vertices]
    axes.fill(*hull.T, facecolor="none", edgecolor=style.SOFT, linewidth=1, linestyle=(0, (3, 3)))
    axes.scatter(
        mixed_O2[:, 0], mixed_O2[:, 1], s=2.2, color=style.PALETTE[0], alpha=0.35, linewidths=0, rasterized=True
    )
    axes.scatter(h_B2[:, 0], h_B2[:, 1], s=34, color=style.PALETTE[1], edgecolors=style.INK, linewidths=0.8, zorder=3)
    axes.set_title(title)
    axes.set_aspect("equal")
    axes.set_axis_off()
