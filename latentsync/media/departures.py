"""What readers change in a clip and a voice: for identities and keys as names, for people as sentences.

A file that cannot be read has none here; what reads it gives the error.
"""

from pathlib import Path

from latentsync.errors import MediaError
from latentsync.media.conversions import Conversion
from latentsync.media.frames import probe
from latentsync.media.sound import sound_conversions


def clip_departures(path: Path) -> list[str]:
    """The names of what is changed in a clip's pixels."""
    return [one.name for one in _of_clip(path) if one.changes]


def voice_departures(path: Path, track: int | None = None) -> list[str]:
    """The names of what is changed in a voice's samples."""
    return [one.name for one in _of_voice(path, track) if one.changes]


def read_with(names: list[str]) -> dict[str, list[str]]:
    """The entry of a key for what a reader changes in a file; none for most files."""
    return {"read_with": names} if names else {}


def departures(clip: Path, voice: Path, track: int | None = None) -> dict[str, dict[str, list[str]]]:
    """The entry of both files in an identity; empty if nothing is changed, as in most pairs."""
    named = {"clip": clip_departures(clip), "voice": voice_departures(voice, track)}
    return {"read_with": {kind: names for kind, names in named.items() if names}} if any(named.values()) else {}


def reading_notes(clip: Path, voice: Path, track: int | None = None) -> tuple[str, ...]:
    """Sentences for the line and the record of a result."""
    of_clip = (f"the clip {one.note}" for one in _of_clip(clip))
    return (*of_clip, *(f"the voice {one.note}" for one in _of_voice(voice, track)))


def _of_clip(path: Path) -> tuple[Conversion, ...]:
    try:
        return probe(path).conversions
    except MediaError:
        return ()


def _of_voice(path: Path, track: int | None) -> tuple[Conversion, ...]:
    try:
        return sound_conversions(path, track)
    except MediaError:
        return ()
