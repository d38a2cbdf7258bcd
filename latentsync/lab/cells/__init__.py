"""Cells: one setting, run on each of its pairs."""
