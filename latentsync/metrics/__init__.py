"""Measures of a lip-synced video: arrays in, numbers out. Nothing here knows of paths, pipelines or trackers.

Each module states its goal, conventions and units, has `validate()` for its inputs and one pure function per measure;
`definitions` is the table of all of them, `families` runs them over the frames of a video, and `evaluate` gathers what
they say. A value names the network and protocol that made it; a value that has no meaning for an input is missing with
a reason, never a number.
"""
