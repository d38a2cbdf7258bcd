"""The errors a user can cause. Each message is one sentence with the value, the bound and the remedy.

Whatever derives from `LatentSyncError` is a matter of input or set-up: command lines print its message without a
traceback, and a folder or sweep goes on with the next pair. Anything else is a defect of this program.
"""


class LatentSyncError(Exception):
    """Base of all errors that a change of input, options or set-up mends."""


class OptionError(LatentSyncError, ValueError):
    """An option has a value out of its range, or two options contradict each other."""


class MediaError(LatentSyncError):
    """A video or sound file is missing, unreadable, empty or too short."""


class FaceNotFoundError(LatentSyncError):
    """No face was found where one is needed."""


class WeightsError(LatentSyncError):
    """A weight file is missing, damaged, or does not fit the network it is meant for."""


class MemoryShortageError(LatentSyncError):
    """The device has too little memory for the chosen sizes."""
