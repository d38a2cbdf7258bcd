"""Measures of a lip-synced video: arrays in, numbers out. Nothing here knows paths, pipelines or trackers.

Each module states its goal, conventions and units, has `validate()` for its inputs and one pure function per measure.
`definitions` is the table of all measures, `families` computes them over the frames of a video, and `evaluate` collects
the values. A value names the network and the protocol that made it. Where a measure has no meaning for an input, there
is a reason and no number.
"""
