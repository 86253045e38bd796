"""Searches over variants: a Hydra sweeper whose Optuna study continues, is shared, prunes and spreads over GPUs.

`report` tells the search of any Hydra application how a job goes (docs/search.md).
Neither torch nor Optuna is imported before it is needed.
"""

from powmix.search.link import report

__all__ = ["report"]
