"""The campaign of faults (`make test-faults`): rare faults on purpose, counted in a table."""
