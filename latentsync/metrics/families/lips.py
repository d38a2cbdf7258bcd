"""Measures from landmarks: lips against loudness, against the clip's lips and in silence; trembling; identity."""

import numpy as np

from latentsync.constants import MESH_POINTS, SOUND_RATE_HZ
from latentsync.metrics import articulation, identity, sync, temporal
from latentsync.metrics.controls import delayed, shuffled
from latentsync.metrics.definitions import Entry, entry
from latentsync.metrics.families.base import NOT_OWN, Batch, Faces, Family, Subject, mean_entry, rounded
from latentsync.shapes import Waveform

NO_VOICE = "no voice was given"
NO_CLIP_SOUND = "the clip has no sound of its own"
IDENTITY_EVERY = 10  # frames: the embedding takes a quarter of a second
NOBODY = np.empty((0, MESH_POINTS, 2), np.float32)


def with_real(entries: dict[str, Entry], real: dict[str, Entry]) -> dict[str, Entry]:
    """Adds the real clip's entries as NAME_real, and the differences as NAME_minus_real."""
    all_entries = dict(entries)
    for name, one in entries.items():
        other = real[name]
        facts = {key: other[key] for key in ("network", "weights", "used", "left_out") if key in other}
        all_entries[f"{name}_real"] = entry(f"{name}_real", other["value"], other.get("reason"), **facts)
        known = one["value"] is not None and other["value"] is not None
        value = one["value"] - other["value"] if known else None
        reason = one.get("reason") or f"the real clip has no value: {other.get('reason')}"
        all_entries[f"{name}_minus_real"] = entry(f"{name}_minus_real", value, reason, network=facts.get("network"))
    return all_entries


class Landmarks(Family):
    """Stores the landmarks of all frames: 3.7 kB for each frame of each video."""

    needs = frozenset({"landmarks", "source_landmarks"})

    def __init__(self, subject: Subject) -> None:
        super().__init__(subject)
        self.parts: list[Faces] = []
        self.source_parts: list[Faces] = []

    def add(self, batch: Batch) -> None:
        self.parts.append(batch.landmarks)
        if batch.source_landmarks is not None:
            self.source_parts.append(batch.source_landmarks)

    @property
    def faces(self) -> Faces:
        return np.concatenate([*self.parts, NOBODY])

    @property
    def source_faces(self) -> Faces:
        return np.concatenate([*self.source_parts, NOBODY])


class LandmarkSync(Landmarks):
    """Lip gap against loudness."""

    name = "landmark_sync"

    def entries(self) -> dict[str, Entry]:
        subject = self.subject
        natural = self.source_faces[: subject.num_natural]
        real = self._scores(natural, subject.clip_sound, NO_CLIP_SOUND)
        entries = with_real(self._scores(self.faces, subject.voice, NO_VOICE), real)
        if subject.controls and subject.voice is not None:
            other = self._scores(self.faces, shuffled(subject.voice, SOUND_RATE_HZ), NO_VOICE)["landmark_sync_peak"]
            late = self._scores(self.faces, delayed(subject.voice, SOUND_RATE_HZ), NO_VOICE)["landmark_sync_lag"]
            for name, one in (("landmark_sync_peak_shuffled", other), ("landmark_sync_lag_delayed", late)):
                entries[name] = entry(name, one["value"], one.get("reason"))
        return entries

    def _curve(self, faces: Faces, voice: Waveform) -> sync.SyncCurve:
        return sync.lip_energy_correlation(sync.lip_gap(faces), sync.log_energy(voice, SOUND_RATE_HZ, len(faces)))

    def _scores(self, faces: Faces, voice: Waveform | None, missing: str) -> dict[str, Entry]:
        names = {name: name.removeprefix("landmark_sync_") for name in self.names(self.subject)}
        if voice is None or not len(faces):
            return {name: entry(name, None, missing if voice is None else "there is no frame") for name in names}
        curve = self._curve(faces, voice)
        counts = {"used": curve.num_used, "left_out": curve.num_left_out}
        return {name: entry(name, getattr(curve, part), curve.reason, **counts) for name, part in names.items()}

    def curves(self) -> dict[str, list[float | None]]:
        curves = {"lip_gap": rounded(sync.lip_gap(self.faces))}
        if len(self.source_faces):
            curves["lip_gap_source"] = rounded(sync.lip_gap(self.source_faces))
        if (voice := self.subject.voice) is not None and len(self.faces):
            curves["loudness_db"] = rounded(sync.log_energy(voice, SOUND_RATE_HZ, len(self.faces)), 2)
            curves["landmark_sync"] = rounded(self._curve(self.faces, voice).correlation)
        return curves


class Mouth(Landmarks):
    """Lips against the clip's lips, if these speak the same words."""

    name, against_lips = "mouth", True

    def entries(self) -> dict[str, Entry]:
        faces, given, prefix = self.faces, self.source_faces, self.subject.prefix
        name = f"{prefix}mouth_landmark_distance"
        entries = {name: mean_entry(name, articulation.mouth_distances(faces, given), 0, "no frame shows both faces")}
        for short, of in (("lip_gap_correlation", sync.lip_gap), ("lip_width_correlation", articulation.lip_width)):
            name, value, reason = prefix + short, None, NOT_OWN
            series, truth = of(faces), of(given)
            seen = int((np.isfinite(series) & np.isfinite(truth)).sum())
            if self.subject.relation != "change":
                try:
                    value = articulation.gap_correlation(series, truth)
                except ValueError as error:
                    reason = str(error)
            entries[name] = entry(name, value, reason, used=seen, left_out=len(faces) - seen)
        return entries


class Silence(Landmarks):
    """Lips while the voice is silent."""

    name = "silence"
    needs = frozenset({"landmarks"})

    def entries(self) -> dict[str, Entry]:
        name, voice, faces = "silent_lip_motion", self.subject.voice, self.faces
        if voice is None or not len(faces):
            return {name: entry(name, None, NO_VOICE if voice is None else "there is no frame")}
        value, used = articulation.silent_motion(sync.lip_gap(faces), sync.log_energy(voice, SOUND_RATE_HZ, len(faces)))
        frames = "1 frame" if used == 1 else f"{used} frames"
        reason = f"the voice is silent in {frames} with a face; {articulation.LEAST_SILENT} are needed"
        return {name: entry(name, value, reason, used=used, left_out=len(faces) - used)}


class Jitter(Landmarks):
    """How much chin and jaw tremble."""

    name = "jitter"

    def entries(self) -> dict[str, Entry]:
        value = temporal.landmark_jitter_ratio(self.faces, self.source_faces) if len(self.faces) else None
        seen = int(np.isfinite(self.faces[:, 0, 0]).sum())
        reason = "too few consecutive frames show a face, or the clip stands still"
        counts = {"used": seen, "left_out": len(self.faces) - seen}
        return {"landmark_jitter_ratio": entry("landmark_jitter_ratio", value, reason, **counts)}


class Identity(Family):
    """Whether a face recogniser sees the same person."""

    name = "identity"
    needs = frozenset({"frames", "source_frames", "landmarks", "source_landmarks"})

    def __init__(self, subject: Subject) -> None:
        super().__init__(subject)
        self.seen, self.values, self.left_out = 0, [], 0

    def add(self, batch: Batch) -> None:
        network, first = self.subject.networks.identity, -self.seen % IDENTITY_EVERY
        self.seen += len(batch)
        for i in range(first, len(batch), IDENTITY_EVERY) if network is not None else ():
            pairs = (batch.frames[i], batch.landmarks[i]), (batch.source_frames[i], batch.source_landmarks[i])
            if not all(np.isfinite(face).all() for _, face in pairs):
                self.left_out += 1
                continue
            result, given = (identity.embedding(network, *pair) for pair in pairs)
            self.values.append((identity.cosine(result, given), float(np.linalg.norm(result - given))))

    def entries(self) -> dict[str, Entry]:
        networks, names = self.subject.networks, self.names(self.subject)
        if networks.identity is None:
            return self.without(self.subject, networks.missing.get(self.name, "the network was not given"))
        facts = {"network": "dlib face recognition v1", "weights": networks.hashes.get(self.name)}
        values = np.array(self.values).reshape(-1, 2).T
        return {
            name: mean_entry(name, part, self.left_out, "no frame shows both faces", **facts)
            for name, part in zip(names, values, strict=True)
        }
