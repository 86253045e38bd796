"""What a search found: the best trial, its folder, the command that reruns it, and whether it beats the baseline."""

import shlex
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

from optuna.study import Study, StudyDirection
from optuna.trial import FrozenTrial, TrialState

from powmix.search.space import over
from powmix.search.trials import ERROR, FAILED, LABEL, OVERRIDES, VALUE, status_of

BASELINE = "baseline"


@dataclass(frozen=True)
class Summary:
    """The state of a finished search; `lines()` is what the user reads, `record()` what a program reads.

    command, fixed: the words and the overrides that every trial shares; baseline: what the warm start of that name is
    called, None to compare with none.
    """

    study: Study
    trials: Sequence[FrozenTrial]
    sweep_dir: Path
    command: Sequence[str]
    fixed: Sequence[str]
    baseline: str | None

    @property
    def best(self) -> FrozenTrial | None:
        """The best complete trial, those outside the space included."""
        complete = [trial for trial in self.trials if value_of(trial) is not None]
        sign = -1 if self.study.direction == StudyDirection.MAXIMIZE else 1
        # Ties go to the earlier trial, so that the baseline wins over a search that only equals it.
        return min(complete, key=lambda trial: (sign * cast(float, value_of(trial)), trial.number), default=None)

    def counts(self) -> dict[str, int]:
        """How many trials ended in each way, e.g. {"complete": 10, "pruned": 1, "failed": 1}."""
        return dict(Counter(status_of(trial) for trial in self.trials))

    def lines(self) -> list[str]:
        counted = ", ".join(f"{count} {status}" for status, count in sorted(self.counts().items()))
        lines = [f"search {self.study.study_name}: {len(self.trials)} trials: {counted}"]
        lines += [f"  trial {t.number} {status_of(t)}: {_first_line(t)}" for t in self.trials if _went_wrong(t)]
        best = self.best
        if best is None:
            return [*lines, "no trial was completed, so there is no best one"]
        return [
            *lines,
            f"best: trial {best.number}, {value_of(best):.6g} ({_name(best)})",
            f"  folder: {_from_here(self._folder(best))}",
            f"  rerun:  {self.rerun(best)}",
            *self._verdict(best),
        ]

    def rerun(self, trial: FrozenTrial) -> str:
        """The command that runs this trial's configuration outside the search."""
        overrides = trial.user_attrs.get(OVERRIDES, [])
        return shlex.join([*self.command, *over(self.fixed, overrides)])

    def record(self) -> dict:
        """The stock sweeper's `best_params` and `best_value`, and what this one knows beside them."""
        best = self.best
        found: dict[str, Any] = {} if best is None else {"best_params": best.params, "best_value": value_of(best)}
        if best is not None:
            found |= {"best_trial": best.number, "best_folder": str(self._folder(best)), "rerun": self.rerun(best)}
        labels = {t.user_attrs[LABEL]: {"trial": t.number, "value": value_of(t)} for t in self.trials if _label(t)}
        return {"name": "optuna_study", **found, "counts": self.counts(), "warm_start": labels}

    def _folder(self, trial: FrozenTrial) -> Path:
        return self.sweep_dir / str(trial.number)

    def _verdict(self, best: FrozenTrial) -> list[str]:
        name = self.baseline
        if name is None:
            return []
        baseline = next((trial for trial in self.trials if _label(trial) == BASELINE), None)
        if baseline is None:
            return [f"{name} is not among the trials: no word on whether mixing helps"]
        value = value_of(baseline)
        if value is None:
            return [f"{name} (trial {baseline.number}) did not finish: no word on whether mixing helps"]
        if best.number == baseline.number:
            return [f"{name} (trial {baseline.number}, {value:.6g}) was not beaten by any trial"]
        gain = abs(cast(float, value_of(best)) - value)
        return [
            f"{name}: trial {baseline.number}, {value:.6g}; the best trial is better by {gain:.3g} on the "
            f"validation objective",
            f"  the best of {len(self.trials)} trials looks better than it is: rerun both with fresh seeds",
        ]


def value_of(trial: FrozenTrial) -> float | None:
    """The objective of a complete trial; one outside the space keeps it beside (powmix.search.trials)."""
    return trial.value if trial.state == TrialState.COMPLETE else trial.user_attrs.get(VALUE)


def _from_here(folder: Path) -> Path:
    """Seen from the current folder, where it lies beneath it."""
    return folder.relative_to(Path.cwd()) if folder.is_relative_to(Path.cwd()) else folder


def _label(trial: FrozenTrial) -> str | None:
    return trial.user_attrs.get(LABEL)


def _name(trial: FrozenTrial) -> str:
    values = ", ".join(
        f"{name}={value:.4g}" if isinstance(value, float) else f"{name}={value}" for name, value in trial.params.items()
    )
    return ": ".join(part for part in (_label(trial), values or " ".join(trial.user_attrs.get(OVERRIDES, []))) if part)


def _went_wrong(trial: FrozenTrial) -> bool:
    return status_of(trial) in FAILED


def _first_line(trial: FrozenTrial) -> str:
    return str(trial.user_attrs.get(ERROR, "")).strip().splitlines()[0] if trial.user_attrs.get(ERROR) else ""
