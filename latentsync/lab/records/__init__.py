"""What is kept: finished records, their identity, their labels, the notes of sweeps."""
