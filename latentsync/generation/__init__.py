"""The stages from aligned crops to a written video."""
