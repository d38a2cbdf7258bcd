"""Finished records on disk: their storage, identity, labels and inputs, and the notes of sweeps."""
