"""What each metric is called in the paper, which way is better and how its numbers are printed."""

from collections.abc import Collection
from dataclasses import dataclass


@dataclass(frozen=True)
class Metric:
    """One column of a table; values on disk are fractions, `scale` turns them into what is printed."""

    key: str
    label: str
    higher_is_better: bool = True
    scale: float = 1.0
    decimals: int = 3

    @property
    def arrow(self) -> str:
        return "↑" if self.higher_is_better else "↓"

    @property
    def sign(self) -> int:
        """+1 where larger is better, -1 where smaller is."""
        return 1 if self.higher_is_better else -1

    def show(self, value: float) -> str:
        return f"{value * self.scale:.{self.decimals}f}"

    def show_difference(self, value: float) -> str:
        """Signed, with a true minus; zero alone has no sign, so that +0.000 is known to be above it."""
        if value == 0:
            return self.show(0.0)
        return f"{value * self.scale:+.{self.decimals}f}".replace("-", "−")

    def rounded(self, value: float) -> float:
        """The value as a reader sees it: what `best` and `worse than the baseline` are decided on."""
        return round(value * self.scale, self.decimals)


def _percent(key: str, label: str) -> Metric:
    return Metric(key, label, scale=100.0, decimals=2)


MAE = Metric("MAE", "MAE", higher_is_better=False)
CORR = Metric("Corr", "Corr")

# Table 2's columns in its order; SIMS has the first four there, the others are ours.
# Acc-2 and F1 of MOSI and MOSEI leave out neutral examples (Non0).
COLUMNS = {
    "mosi": (
        _percent("Non0_acc_2", "Acc-2"),
        _percent("Non0_F1_score", "F1"),
        MAE,
        CORR,
        _percent("Mult_acc_5", "Acc-5"),
        _percent("Mult_acc_7", "Acc-7"),
    ),
    "sims": (
        _percent("Mult_acc_2", "Acc-2"),
        _percent("F1_score", "F1"),
        MAE,
        CORR,
        _percent("Mult_acc_5", "Acc-5"),
        _percent("Mult_acc_3", "Acc-3"),
    ),
    "classification": (_percent("Accuracy", "Acc"), _percent("Weighted_F1", "F1")),
}

OTHERS = (
    _percent("Has0_acc_2", "Acc-2 (Has0)"),
    _percent("Has0_F1_score", "F1 (Has0)"),
    Metric("Loss", "Loss", higher_is_better=False),
)

MODALITIES = {"text": "Text", "audio": "Audio", "vision": "Vision", "fusion": "Fusion"}
MIXERS = {
    "none": "no mixing",
    "manifold_mixup": "Manifold MixUp",
    "multimix": "MultiMix",
    "powmix": "PowMix",
    "c_mixup": "C-Mixup",
    "regmixup": "RegMixup",
    "modality_dropout": "Modality dropout",
}
MODELS = {
    "mult": "MulT",
    "lf_dnn": "LF-DNN",
    "tfn": "TFN",
    "misa": "MISA",
    "self_mm": "Self-MM",
    "mag_bert": "MAG-BERT",
}
DATASETS = {"mosi": "MOSI", "mosei": "MOSEI", "sims": "SIMS", "synthetic": "Synthetic"}


def convention(keys: Collection[str]) -> str:
    """Which set of columns a run's metrics follow, told from their names alone."""
    if "Accuracy" in keys:
        return "classification"
    return "sims" if "Mult_acc_3" in keys else "mosi"


def metric(key: str) -> Metric:
    """The metric of that name on disk; an unknown one is printed as it is, larger being better."""
    known = {m.key: m for columns in COLUMNS.values() for m in columns} | {m.key: m for m in OTHERS}
    return known.get(key, Metric(key, key))
