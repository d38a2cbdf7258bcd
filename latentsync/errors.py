"""The errors a user can cause. Each message is one sentence with the value, the bound and the remedy.

Every error derived from `LatentSyncError` comes from the input or the set-up: commands print its message without a
traceback, and a folder or sweep goes on with the next pair. Any other exception is a bug of this program.
"""


class LatentSyncError(Exception):
    """Base of all errors that the user can fix by changing the input, the options or the set-up."""


class OptionError(LatentSyncError, ValueError):
    """An option has a value out of its range, or two options contradict each other."""


class MediaError(LatentSyncError):
    """A video or sound file is missing, unreadable, empty or too short."""


class FaceNotFoundError(LatentSyncError):
    """No face was found, but one is needed."""


class WeightsError(LatentSyncError):
    """A weight file is missing, damaged, or does not fit the network it is meant for."""


class MemoryShortageError(LatentSyncError):
    """The device has too little memory for the chosen sizes."""
