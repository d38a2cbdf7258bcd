"""Statistics over clips: intervals, tests, comparisons, calibration, the Pareto front, preferences, conclusions."""
