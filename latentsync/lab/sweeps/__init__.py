"""Sweeps: many cells; their request, plan, costs, notes, summary, preview and status."""
