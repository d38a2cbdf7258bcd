"""A runs folder in a browser: a small server on the loopback address. It only reads, and asks nothing of the network.

`guard` decides what is answered at all, `server` has the addresses, `columns` and `details` what they send, `live` the
state of a sweep that runs, and `helper` the process that does what needs large packages.
"""
