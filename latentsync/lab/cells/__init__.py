"""Cells: one setting, made for each of its pairs."""
