"""Evaluations: of the embedded model on held-out clips, and of the metrics on damaged clips."""
