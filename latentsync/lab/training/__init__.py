"""Trainings: their options, run and tracker, and the preparation of their clips."""
