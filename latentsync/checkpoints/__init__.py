"""Files to networks, exactly or not at all."""
