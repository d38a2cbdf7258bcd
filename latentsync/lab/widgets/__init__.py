"""Widgets for notebooks: explorer, blind rating, comparison."""
