"""Sweeps over many cells: request, plan, costs, notes, summary, preview and status."""
