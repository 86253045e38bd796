"""One mixer over several tasks: a random-effects meta-analysis, with every task's effect drawn towards the others'."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from powmix.metrics.statistics import LEVEL, Interval

GRID = 400
"""Values of tau that a task's mean is averaged over."""


@dataclass(frozen=True)
class Shrunken:
    """Effects of T tasks whose true effects are taken as drawn from N(overall, tau^2).

    means, intervals: of each task's true effect. overall, interval: the mean over such tasks. tau: how much true
    effects differ between tasks, as a standard deviation.
    """

    means: tuple[float, ...]
    intervals: tuple[Interval, ...]
    overall: float
    interval: Interval
    tau: float


def shrunken(effects: Sequence[float], standard_errors: Sequence[float]) -> Shrunken:
    """T >= 3 effects in one unit, with their standard errors (above 0) -> what they say of each other.

    tau: restricted maximum likelihood. The overall mean's interval is Hartung and Knapp's, never narrower than with
    known variances (Röver, Knapp and Friede 2015). A task's mean given tau lies error^2 / (error^2 + tau^2) of the way
    from its own effect to the overall mean; it is averaged over what the likelihood says of tau (flat prior, Gelman et
    al. 2013, section 5.4), for tau is poorly known from few tasks. ValueError for fewer than three tasks, lengths that
    differ, or a standard error that is not above 0.
    """
    from scipy.special import stdtrit

    y_T, v_T = np.asarray(effects, dtype=float), np.asarray(standard_errors, dtype=float) ** 2
    if y_T.shape != v_T.shape or y_T.ndim != 1 or len(y_T) < 3:
        raise ValueError(
            f"shrunken: needs 3 tasks or more, an effect and a standard error each; got {y_T.size} and {v_T.size}"
        )
    if not (np.isfinite(y_T).all() and np.isfinite(v_T).all() and (v_T > 0).all()):
        raise ValueError(f"shrunken: effects must be numbers, standard errors above 0; got {list(standard_errors)}")
    most = 3 * max(float(np.ptp(y_T)), float(np.sqrt(v_T.min())))
    tau_G = np.linspace(0, most, GRID)
    tau = _likeliest(tau_G, y_T, v_T)
    _, [overall], [variance] = _given(np.array([tau]), y_T, v_T)
    variance *= max(1.0, float(((y_T - overall) ** 2 / (v_T + tau**2)).sum()) / (len(y_T) - 1))
    half = float(stdtrit(len(y_T) - 1, 0.5 + LEVEL / 2) * np.sqrt(variance))
    means, intervals = _tasks(tau_G, y_T, v_T)
    return Shrunken(means, intervals, float(overall), (float(overall) - half, float(overall) + half), tau)


def _likeliest(tau_G: np.ndarray, y_T: np.ndarray, v_T: np.ndarray) -> float:
    """The tau of the least restricted deviance: on the grid first, for there may be several minima."""

    from scipy import optimize

    def deviance(tau: float) -> float:
        return float(_given(np.array([tau]), y_T, v_T)[0][0])

    i = int(_given(tau_G, y_T, v_T)[0].argmin())
    low, high = tau_G[max(i - 1, 0)], tau_G[min(i + 1, GRID - 1)]
    found = optimize.minimize_scalar(deviance, bounds=(low, high), method="bounded", options={"xatol": 1e-9 * high})
    return float(found.x) if found.fun < deviance(0.0) else 0.0


def _given(tau_G: np.ndarray, y_T: np.ndarray, v_T: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """For each tau: the restricted deviance, the overall mean and its variance."""
    w_GT = 1 / (v_T + tau_G[:, None] ** 2)
    variance_G = 1 / w_GT.sum(axis=1)
    mean_G = (w_GT * y_T).sum(axis=1) * variance_G
    misfit_G = (w_GT * (y_T - mean_G[:, None]) ** 2).sum(axis=1)
    return misfit_G - np.log(w_GT).sum(axis=1) - np.log(variance_G), mean_G, variance_G


def _tasks(tau_G: np.ndarray, y_T: np.ndarray, v_T: np.ndarray) -> tuple[tuple[float, ...], tuple[Interval, ...]]:
    """Each task's mean and interval, averaged over tau."""
    from scipy.special import ndtri

    deviance_G, mean_G, variance_G = _given(tau_G, y_T, v_T)
    weight_G = np.exp((deviance_G.min() - deviance_G) / 2)
    weight_G /= weight_G.sum()
    pull_GT = v_T / (v_T + tau_G[:, None] ** 2)
    mean_GT = pull_GT * mean_G[:, None] + (1 - pull_GT) * y_T
    variance_GT = (1 - pull_GT) * v_T + pull_GT**2 * variance_G[:, None]
    mean_T = weight_G @ mean_GT
    std_T = np.sqrt(weight_G @ (variance_GT + (mean_GT - mean_T) ** 2))
    limit = float(ndtri(0.5 + LEVEL / 2))
    ends = zip((mean_T - limit * std_T).tolist(), (mean_T + limit * std_T).tolist())
    return tuple(mean_T.tolist()), tuple(ends)
