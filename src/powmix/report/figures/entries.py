"""Every figure by name: what it shows, what it needs, and how it is drawn."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from matplotlib.figure import Figure

from powmix.mistakes import broken, choice, refuse
from powmix.report.figures import (
    architectures,
    effects,
    forest,
    hull,
    hyperparameters,
    learning_curves,
    mixing_law,
    robustness,
    variance_sources,
)
from powmix.report.table import Table


@dataclass(frozen=True)
class Entry:
    """needs: said where it is not drawn. free: it needs no run. asked: drawn only where it is named."""

    name: str
    title: str
    needs: str
    draw: Callable[[Table], Figure | None]
    free: bool = False
    asked: bool = False


ENTRIES = (
    Entry("comparison", "Scores and differences to no mixing", "a run", effects.draw),
    Entry(
        "figure1",
        "Figure 1: encoders, mixing, fusion",
        "nothing",
        lambda _: architectures.figure1(),
        free=True,
        asked=True,
    ),
    Entry(
        "table1",
        "Table 1: properties of the models",
        "nothing",
        lambda _: architectures.table1(),
        free=True,
        asked=True,
    ),
    Entry("figure2", "Figure 2: what mixing reaches of the convex hull", "nothing", lambda _: hull.draw(), free=True),
    Entry(
        "figure3",
        "Figure 3: subset ranges",
        "PowMix runs that differ in mixer.subset alone (sweeps=figure3)",
        hyperparameters.subset_ranges,
    ),
    Entry(
        "figure4",
        "Figure 4: number of generated examples",
        "PowMix runs that differ in mixer.n_out alone (sweeps=figure4)",
        hyperparameters.n_out,
    ),
    Entry(
        "figure5",
        "Figure 5: unimodal probes",
        "`powmix-analyze unimodal` on these runs",
        robustness.unimodal,
    ),
    Entry("figure6", "Figure 6: noise", "`powmix-analyze noise` on these runs", robustness.noise),
    Entry("figure7", "Figure 7: text dominance", "`powmix-analyze dominance` on these runs", robustness.dominance),
    Entry(
        "figure8",
        "Figure 8: limited data",
        "runs on several values of dataset.fraction (sweeps=figure8)",
        hyperparameters.limited_data,
    ),
    Entry("p_mix", "Probability of mixing", "PowMix runs that differ in mixer.p_mix alone", hyperparameters.p_mix),
    Entry("training", "Training curves", "history.csv in the runs' seed folders", learning_curves.draw),
    Entry(
        "mixing",
        "Distribution of K and of the mixed labels",
        "a PowMix run on a regression task with predictions.csv",
        mixing_law.draw,
    ),
    Entry("forest", "Effects over tasks", "three tasks or more with their baselines (sweeps=atlas)", forest.of_tasks),
    Entry("variance", "Where the variance comes from", "runs of sweeps=variance", variance_sources.draw),
    Entry("regularity", "Regularity", "`powmix-analyze regularity` on these runs", robustness.regularity),
)


def choose(names: Sequence[str]) -> list[Entry]:
    """Entries by name (`figure3` or `3`); `none`, or `all` that need not be named. ValueError names the nearest."""
    if list(names) == ["none"]:
        return []
    by_name = {entry.name: entry for entry in ENTRIES}
    chosen = []
    for name in names:
        key = f"figure{name}" if name.isdigit() else name
        if key == "all":
            return [entry for entry in ENTRIES if not entry.asked]
        refuse(broken({"figures": choice(*by_name, "all", "none")}, {"figures": key}))
        chosen.append(by_name[key])
    return chosen
