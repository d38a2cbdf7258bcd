"""Training of the three networks: a data set of aligned clips, one task for each network, and one loop for all.

options.py, order.py, checkpoint.py, journal.py, ema.py and loop.py know no faces and no networks; they run any `Task`.
"""
