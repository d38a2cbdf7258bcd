"""A runs folder in a browser: a small server on the loopback address."""
