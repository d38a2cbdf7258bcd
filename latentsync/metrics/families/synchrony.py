"""Measures of sync by networks that compare lips with speech."""

from collections.abc import Callable, Iterable
from contextlib import suppress

import numpy as np
from torch import Tensor

from latentsync.constants import SAMPLES_PER_FRAME, SOUND_RATE_HZ
from latentsync.errors import FaceNotFoundError, MediaError
from latentsync.media.sound import to_int16
from latentsync.metrics import face_tracks, s3fd, sync_accuracy, sync_mini, syncnet
from latentsync.metrics.controls import delayed, shuffled
from latentsync.metrics.definitions import OTHER_CROP, Entry, entry
from latentsync.metrics.families.base import Batch, Faces, Family, Subject, rounded
from latentsync.metrics.families.lips import NO_CLIP_SOUND, NO_VOICE, with_real
from latentsync.metrics.stable_syncnet import StableSyncNet
from latentsync.shapes import Frame, Waveform
from latentsync.weights import state_dict_sha256

EMBEDDING_VERSION = 1  # raise it when a change of the code changes a StableSyncNet's embeddings


class WindowedSync(Family):
    """Measures by a StableSyncNet on windows of aligned crops, of the result and, for comparison, of the real clip."""

    needs = frozenset({"crops", "source_crops"})
    network_name = ""
    network_key = ""  # of `Networks`; "": the family's name

    @classmethod
    def _key(cls) -> str:
        return cls.network_key or cls.name

    def __init__(self, subject: Subject) -> None:
        super().__init__(subject)
        network = self.network
        self.lips = None if network is None else sync_mini.LipEmbedder(network)
        self.source_lips = None if network is None else sync_mini.LipEmbedder(network, self._kept)
        self.has_face: list[np.ndarray] = []
        self.natural = 0
        self._heard: list[tuple[Waveform, Tensor]] = []

    @property
    def network(self) -> StableSyncNet | None:
        return getattr(self.subject.networks, self._key())

    def _kept(self, given: Tensor, compute: Callable[[], Tensor]) -> Tensor:
        """Embeddings of the clip's lips or of speech, stored for other results."""
        weights = self.subject.networks.hashes.get(self._key())
        if self.subject.keep is None or weights is None:
            return compute()
        depends_on = {
            "given": state_dict_sha256({"": given}),
            "weights": weights,
            "device": next(self.network.parameters()).device.type,
            "version": EMBEDDING_VERSION,
        }
        return self.subject.keep("sync embeddings", depends_on, lambda: {"embeddings": compute()})["embeddings"]

    def add(self, batch: Batch) -> None:
        if self.lips is None:
            return
        self.lips.add(batch.crops)
        self.has_face.append(batch.has_face)
        more = min(len(batch), self.subject.num_natural - self.natural)
        if self.subject.clip_sound is not None and more > 0:
            self.source_lips.add(batch.source_crops[:more])
            self.natural += more

    def entries(self) -> dict[str, Entry]:
        subject = self.subject
        if self.network is None:
            return self.without(subject, subject.networks.missing.get(self._key(), "the network was not given"))
        real = self._scores(self.source_lips, subject.clip_sound, NO_CLIP_SOUND)
        entries = with_real(self._scores(self.lips, subject.voice, NO_VOICE), real)
        if subject.controls and subject.voice is not None:
            entries |= self.control_entries()
        return entries

    def control_entries(self) -> dict[str, Entry]:
        """The same lips with voices that must score badly."""
        return {}

    def embedded(self, embedder: sync_mini.LipEmbedder, voice: Waveform) -> tuple[Tensor, Tensor, np.ndarray]:
        """Lips, speech (each is embedded once), and which windows of lips count.

        Raises:
            MediaError: there are fewer frames or less sound than a window.
        """
        speech = next((known for heard, known in self._heard if heard is voice), None)
        if speech is None:
            speech = sync_mini.embed_speech(self.network, voice, self._kept)
            self._heard.append((voice, speech))
        lips = embedder.result()
        return lips, speech, self.seen_windows(lips)

    def seen_windows(self, lips: Tensor) -> np.ndarray:
        """Which of the windows show a face in every frame."""
        has_face = np.concatenate(self.has_face)[: len(lips) + self.lips.window - 1]
        return sync_mini.whole_windows(has_face, self.lips.window)

    def _scores(self, embedder: sync_mini.LipEmbedder, voice: Waveform | None, missing: str) -> dict[str, Entry]:
        names, facts = self.names(self.subject), {"network": self.network_name}
        facts["weights"] = self.subject.networks.hashes.get(self._key())
        if voice is None:
            return {name: entry(name, None, missing, **facts) for name in names}
        try:
            lips, speech, seen = self.embedded(embedder, voice)
            values = self.values(lips, speech, seen)
        except MediaError as error:
            return {name: entry(name, None, str(error), **facts) for name in names}
        counts = {"used": int(seen.sum()), "left_out": int((~seen).sum())}
        return {name: entry(name, values[name], **counts, **facts) for name in names}

    def values(self, lips: Tensor, speech: Tensor, seen: np.ndarray) -> dict[str, float]:
        """The family's numbers, by name.

        Raises:
            MediaError: there are too few windows.
        """
        raise NotImplementedError


class SyncMini(WindowedSync):
    """The embedded model's own SyncNet."""

    name, network_name = "sync_mini", "StableSyncNet of the embedded model"

    def values(self, lips: Tensor, speech: Tensor, seen: np.ndarray) -> dict[str, float]:
        return vars(sync_mini.scores(sync_mini.shift_distances(lips, speech, seen=seen)))

    def control_entries(self) -> dict[str, Entry]:
        other = self._scores(self.lips, shuffled(self.subject.voice, SOUND_RATE_HZ), NO_VOICE)["sync_mini_confidence"]
        late = self._scores(self.lips, delayed(self.subject.voice, SOUND_RATE_HZ), NO_VOICE)["sync_mini_offset"]
        pairs = (("sync_mini_confidence_shuffled", other), ("sync_mini_offset_delayed", late))
        return {name: entry(name, one["value"], one.get("reason"), network=self.network_name) for name, one in pairs}

    def curves(self) -> dict[str, list[float | None]]:
        if self.network is None or self.subject.voice is None:
            return {}
        try:
            lips, speech, seen = self.embedded(self.lips, self.subject.voice)
            by_shift = sync_mini.shift_distances(lips, speech, seen=seen)
        except MediaError:
            return {}
        curves = {"sync_mini_by_shift": rounded(by_shift.numpy()), "sync_mini_by_window": _in_place(lips, speech, seen)}
        if self.subject.clip_sound is not None:
            with suppress(MediaError):
                curves["sync_mini_real_by_window"] = _in_place(
                    *self.embedded(self.source_lips, self.subject.clip_sound)
                )
        return curves


def _in_place(lips: Tensor, speech: Tensor, seen: np.ndarray) -> list[float | None]:
    """The distance of each window of lips from the speech of the same frames; None where it does not count."""
    count = min(len(lips), len(speech))
    distances = 1 - (lips[:count] * speech[:count]).sum(dim=1).numpy()
    distances[~seen[:count]] = np.nan
    return rounded(distances)


class StableSync(WindowedSync):
    """The published StableSyncNet, LatentSync's critic."""

    name, network_name = "stable_syncnet", "StableSyncNet"

    def values(self, lips: Tensor, speech: Tensor, seen: np.ndarray) -> dict[str, float]:
        count = min(len(lips), len(speech))
        cosines = (lips[:count] * speech[:count]).sum(dim=1)[seen[:count]]
        if not len(cosines):
            raise MediaError("no window shows a face in every frame")
        return {"stable_syncnet_cosine": float(cosines.mean())}


class Accuracy(WindowedSync):
    """How often a StableSyncNet tells the right speech of a window from another, see `sync_accuracy.accuracy`."""

    def values(self, lips: Tensor, speech: Tensor, seen: np.ndarray) -> dict[str, float]:
        return {self.name: sync_accuracy.accuracy(lips, speech, seen)}


class SyncMiniAccuracy(Accuracy):
    """Of the embedded model's own SyncNet."""

    name, network_key, network_name = "sync_mini_accuracy", "sync_mini", SyncMini.network_name


class StableSyncAccuracy(Accuracy):
    """Of the published StableSyncNet."""

    name, network_key, network_name = "stable_syncnet_accuracy", "stable_syncnet", StableSync.network_name


class SyncNetV2(Family):
    """LSE-C, LSE-D and offset by the published protocol, of the result and of the real clip.

    Faces are found while the frames are read; their crops are cut when the frames are read again. If S3FD is missing,
    boxes of landmarks replace its boxes, and the names say so.
    """

    name = "syncnet"
    needs = frozenset({"frames", "source_frames", "landmarks"})

    def __init__(self, subject: Subject) -> None:
        super().__init__(subject)
        self.boxes: list[face_tracks.Faces] = []
        self.source_boxes: list[face_tracks.Faces] = []

    @classmethod
    def names(cls, subject: Subject) -> list[str]:
        stands_in = subject.networks.syncnet is not None and subject.networks.s3fd is None
        return [name + OTHER_CROP * stands_in for name in super().names(subject)]

    def add(self, batch: Batch) -> None:
        if self.subject.networks.syncnet is None:
            return
        self.boxes += self._boxes_of(batch.frames, batch.landmarks)
        natural = max(0, min(len(batch), self.subject.num_natural - len(self.source_boxes)))
        if self.subject.clip_sound is not None and natural:
            self.source_boxes += self._boxes_of(batch.source_frames[:natural], batch.source_landmarks[:natural])

    def _boxes_of(self, frames: list[Frame], landmarks: Faces) -> list[face_tracks.Faces]:
        """Boxes of the faces in each frame."""
        if (finder := self.subject.networks.s3fd) is not None:
            return [s3fd.faces_of(finder, frame) for frame in frames]
        return [face_tracks.landmark_boxes([face] if np.isfinite(face).all() else []) for face in landmarks]

    def entries(self) -> dict[str, Entry]:
        subject = self.subject
        if subject.networks.syncnet is None:
            return self.without(subject, subject.networks.missing.get(self.name, "the network was not given"))
        real = self._scores(self.source_boxes, subject.clip_sound, subject.source_again, NO_CLIP_SOUND)
        return with_real(self._scores(self.boxes, subject.voice, subject.frames_again, NO_VOICE), real)

    def _scores(
        self,
        boxes: list[face_tracks.Faces],
        voice: Waveform | None,
        frames: Callable[[], Iterable[Frame]] | None,
        missing: str,
    ) -> dict[str, Entry]:
        names, networks = self.names(self.subject), self.subject.networks
        crops = s3fd.PROTOCOL if networks.s3fd is not None else "boxes of MediaPipe's landmarks"
        facts = {
            "network": "SyncNet v2",
            "weights": networks.hashes.get(self.name),
            "detail": f"{crops}; {face_tracks.PROTOCOL}; no cut of scenes",
        }
        if voice is None or frames is None:
            reason = missing if voice is None else "the frames cannot be read again"
            return {name: entry(name, None, reason, **facts) for name in names}
        try:
            tracks = face_tracks.find_tracks(boxes)
            track_scores = [self._track_scores(frames, track, voice) for track in tracks]
        except (MediaError, FaceNotFoundError) as error:
            return {name: entry(name, None, str(error), **facts) for name in names}
        counts = {"used": sum(map(len, tracks)), "left_out": max(0, len(boxes) - sum(map(len, tracks)))}
        means = [np.mean([getattr(score, name) for score in track_scores]) for name in ("lse_c", "lse_d", "offset")]
        values = [float(means[0]), float(means[1]), int(means[2])]
        return {name: entry(name, value, **counts, **facts) for name, value in zip(names, values, strict=True)}

    def _track_scores(
        self, frames: Callable[[], Iterable[Frame]], track: face_tracks.FaceTrack, voice: Waveform
    ) -> syncnet.SyncScores:
        crops = face_tracks.crop_track(frames(), track)
        samples = to_int16(voice)[track.start * SAMPLES_PER_FRAME :]
        samples = samples[: len(track) * SAMPLES_PER_FRAME]
        embeddings = syncnet.clip_embeddings(self.subject.networks.syncnet, crops, samples)
        return syncnet.scores(syncnet.window_distances(*embeddings))
