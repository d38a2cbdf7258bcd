"""Sound to one window of Whisper states for each video frame."""

from latentsync.audio.features import Audio2Feature

__all__ = ["Audio2Feature"]
