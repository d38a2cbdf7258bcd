"""Statistics over clips: intervals, tests, comparisons, calibration, Pareto front, preferences, conclusions."""
