"""Studies, which run many trainings: cross-validation with its ensemble and its trust score, and sweeps of recipes."""
