"""What a training is measured by: one row per metric, and the statistics over seeds."""
