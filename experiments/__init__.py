"""Experiments with `latentsync`: sweeps, folder jobs, records, tracking, figures."""
