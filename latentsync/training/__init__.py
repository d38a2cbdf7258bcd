"""Training of the three networks: a data set of aligned clips, one task for each network, and one loop for all.

task.py, options.py, order.py, checkpoint.py, journal.py, ema.py, learner.py, validation.py, shortage.py and loop.py
know no faces and no networks; they train any `Task`.
"""
