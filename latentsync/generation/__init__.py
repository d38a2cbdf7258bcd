"""The stages between aligned crops and a written video."""
