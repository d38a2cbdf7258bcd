"""How fast the networks and the pipeline run here: options, what is timed, the measurement, and comparisons."""
