"""The picture of sweeps=variance: what each source of randomness does to scores, and to a paired comparison."""

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from powmix.metrics.columns import Metric
from powmix.report.figures import style
from powmix.report.table import Table
from powmix.report.variance import SOURCES, Spread, Study, studies

ROW = 0.34
APART = 0.14


def draw(table: Table) -> Figure | None:
    """For each comparison: the spread of both sides' scores by source, and that of their paired difference."""
    found = studies(table)
    if not found:
        return None
    heights = [ROW * len(study.sources) + 1.1 for study in found]
    with style.context():
        figure = Figure(figsize=(8.6, sum(heights) + 0.3), layout="constrained")
        grid = figure.subplots(len(found), 2, squeeze=False, gridspec_kw={"height_ratios": heights})
        for study, (scores, differences) in zip(found, grid):
            _scores(scores, study, study.metric)
            _differences(differences, study, study.metric)
        style.legend(figure, [axes for axes, _ in grid])
        counts = [source.difference.n for study in found for source in study.sources]
        style.footnote(
            figure,
            f"{style.seeds_note(counts)} for each source, the others fixed; std with its 95% interval (chi square); a "
            "comparison is limited by what moves the difference, not by what moves both sides alike",
        )
    return figure


def _scores(axes: Axes, study: Study, m: Metric) -> None:
    for y, source in enumerate(study.sources):
        first = y == 0
        _bar(axes, y - APART, source.baseline, m, style.SOFT, "no mixing" if first else None)
        _bar(axes, y + APART, source.variant, m, style.shade(study.record.mixer, 0), study.label if first else None)
    _rows(axes, study)
    axes.set_yticks(range(len(study.sources)), [SOURCES[source.name] for source in study.sources])
    axes.set_xlabel(f"std of test {m.label} over seeds")
    axes.set_title(study.place)


def _differences(axes: Axes, study: Study, m: Metric) -> None:
    for y, source in enumerate(study.sources):
        _bar(axes, y, source.difference, m, style.shade(study.record.mixer, 0))
    _rows(axes, study)
    axes.set_yticks(range(len(study.sources)), [""] * len(study.sources))
    axes.set_xlabel(f"std of the paired difference in {m.label}")
    axes.set_title(f"{study.label} minus no mixing")


def _rows(axes: Axes, study: Study) -> None:
    axes.set_ylim(len(study.sources) - 0.45, -0.55)
    axes.grid(axis="y", visible=False)
    axes.set_xlim(left=0)


def _bar(axes: Axes, y: float, found: Spread, m: Metric, color: str, label: str | None = None) -> None:
    low, high = (bound * m.scale for bound in found.interval)
    axes.plot([low, high], [y, y], color=color, linewidth=2.2, solid_capstyle="round", zorder=2)
    axes.plot(found.std * m.scale, y, "D", color=color, markersize=5.5, zorder=3, label=label)
