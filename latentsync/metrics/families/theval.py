"""Lips compared with the real clip as viewers compare them; see `latentsync.metrics.theval`."""

from latentsync.audio.speech import LEAST_SILENCE_S, silent_stretches
from latentsync.constants import SOUND_RATE_HZ
from latentsync.metrics import sync, theval
from latentsync.metrics.definitions import Entry, entry
from latentsync.metrics.families.base import NOT_OWN, Faces
from latentsync.metrics.families.lips import NO_CLIP_SOUND, NO_VOICE, Landmarks, with_real
from latentsync.shapes import Waveform

# The real clip's value below which a share of it means nothing: an eye distance is about 60 px in a crop of 256 px.
# A mouth that does not move has a deviation of 0.0001 to 0.001 by noise of camera, codec and landmarks (docs/log.md).
# Three times as much becomes larger by it by less than 6 %.
LEAST_REAL = {"lip_dynamics": 0.01, "silent_lip_deviation": 0.003, "lip_loudness_distance": 0.01}
SCORE = "_score"


class Theval(Landmarks):
    """Lip dynamics, lips in silence and lips against loudness, each with its likeness to the real clip."""

    name = "theval"

    def entries(self) -> dict[str, Entry]:
        subject = self.subject
        natural = self.source_faces[: subject.num_natural]
        real = self._values(natural, subject.clip_sound, NO_CLIP_SOUND)
        entries = with_real(self._values(self.faces, subject.voice, NO_VOICE), real)
        return entries | {f"{name}{SCORE}": self._score(name, entries) for name in LEAST_REAL}

    def _values(self, faces: Faces, voice: Waveform | None, missing: str) -> dict[str, Entry]:
        gap = sync.lip_gap(faces)
        seen = int((gap == gap).sum())
        counts = {"used": seen, "left_out": len(gap) - seen}
        too_few = f"{seen} frames show a face; at least {sync.LEAST_FRAMES + 1} in a row are needed"
        entries = {"lip_dynamics": entry("lip_dynamics", theval.lip_dynamics(gap), too_few, **counts)}
        if voice is None:
            return entries | {name: entry(name, None, missing) for name in LEAST_REAL if name not in entries}
        deviation, used = theval.silent_deviation(gap, silent_stretches(voice))
        entries["silent_lip_deviation"] = entry(
            "silent_lip_deviation", deviation,
            f"{used} frames with a face lie in silences of {LEAST_SILENCE_S} s; {theval.LEAST_SILENT} are needed",
            used=used, left_out=len(gap) - used,
        )  # fmt: skip
        distance = theval.loudness_distance(gap, sync.log_energy(voice, SOUND_RATE_HZ, len(gap)))
        entries["lip_loudness_distance"] = entry(
            "lip_loudness_distance", distance, "the lips or the voice do not move, or too few frames show a face",
            **counts,
        )  # fmt: skip
        return entries

    @staticmethod
    def _score(name: str, entries: dict[str, Entry]) -> Entry:
        own, real, least = entries[name], entries[f"{name}_real"], LEAST_REAL[name]
        if own["value"] is None or real["value"] is None:
            reason = own.get("reason") or f"the real clip has no value: {real.get('reason')}"
            return entry(name + SCORE, None, reason)
        if real["value"] < least:
            size = f"the real clip's value is {real['value']:.2g}, below {least:g}, where noise counts"
            reason = f"{size}; a share of it would mean nothing"
            return entry(name + SCORE, None, reason)
        return entry(name + SCORE, theval.likeness(own["value"], real["value"]))


class LipDtw(Landmarks):
    """The lip gap against the clip's, with a small lag forgiven."""

    name, against_lips = "lip_dtw", True

    def entries(self) -> dict[str, Entry]:
        name = f"{self.subject.prefix}lip_gap_dtw"
        if self.subject.relation == "change":
            return {name: entry(name, None, NOT_OWN)}
        series, truth = sync.lip_gap(self.faces), sync.lip_gap(self.source_faces)
        used = int(((series == series) & (truth == truth)).sum())
        reason = f"{used} frames show both faces; at least {sync.LEAST_FRAMES} are needed"
        return {name: entry(name, theval.gap_dtw(series, truth), reason, used=used, left_out=len(series) - used)}
