"""Searches over variants: a Hydra sweeper whose Optuna study continues, is shared, prunes and spreads over GPUs."""
