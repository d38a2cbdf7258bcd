"""The campaign of faults: what fails at the door to the disk, and what a power cut leaves; see docs/reliability.md."""
