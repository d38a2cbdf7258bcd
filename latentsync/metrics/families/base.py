"""The inputs and outputs of a family of measures.

A family sees a result in batches of consecutive frames, together with the clip. So every video is decoded once for all
measures, and memory does not depend on its length.
"""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, fields
from typing import Any, ClassVar, Protocol

import numpy as np
from jaxtyping import Bool, Float
from torch import Tensor

from latentsync.constants import SOUND_RATE_HZ
from latentsync.metrics.definitions import DEFINITIONS, Entry, entry
from latentsync.metrics.s3fd import S3FD
from latentsync.metrics.stable_syncnet import StableSyncNet
from latentsync.metrics.syncnet import SyncNet
from latentsync.shapes import Affine, Crops, Frame, Waveform

BATCH_FRAMES = 16
RELATIONS = {"own": "", "leaky": "leaky_", "change": "change_"}
NOT_OWN = "the voice is not the clip's own, so the clip is no reference for the lips"

Faces = Float[np.ndarray, "b 468 2"]  # landmarks in px, float32; NaN without a face


@dataclass(frozen=True)
class Batch:
    """Consecutive frames of a result and of the clip, frame by frame; parts that no family needs are None.

    Attributes:
        has_face: in which frames the clip shows a face.
        crops, source_crops: the aligned face of every frame; if none was found, the crop at its expected place.
        landmarks, source_landmarks: of the faces, px.
        frames, source_frames: whole frames.
        matrices: the affines of the crops.
    """

    has_face: Bool[np.ndarray, " b"]
    crops: Crops | None = None
    source_crops: Crops | None = None
    landmarks: Faces | None = None
    source_landmarks: Faces | None = None
    frames: list[Frame] | None = None
    source_frames: list[Frame] | None = None
    matrices: list[Affine] | None = None

    def __len__(self) -> int:
        return len(self.has_face)


PARTS = tuple(part.name for part in fields(Batch) if part.name not in ("has_face", "matrices"))


@dataclass(frozen=True)
class Networks:
    """The networks of the measures (except LPIPS), each in evaluation mode, and why one is missing.

    Attributes:
        identity: dlib's face recogniser.
        s3fd: finds faces for `syncnet`. None: MediaPipe's landmarks are used, and the measures' names say so.
        hashes: first digits of the SHA-256 of each network's weights, by name.
        missing: why a network is missing, by name.
    """

    sync_mini: StableSyncNet | None = None
    stable_syncnet: StableSyncNet | None = None
    syncnet: SyncNet | None = None
    s3fd: S3FD | None = None
    identity: Any | None = None
    hashes: dict[str, str] = field(default_factory=dict)
    missing: dict[str, str] = field(default_factory=dict)


class Keep(Protocol):
    """Gives stored tensors, and computes those that are not stored."""

    def __call__(
        self, stage: str, depends_on: Mapping[str, object], compute: Callable[[], dict[str, Tensor]]
    ) -> dict[str, Tensor]:
        """The tensors of a stage.

        Args:
            depends_on: everything that determines them, as JSON values.
            compute: makes them if they are not stored.
        """
        ...


@dataclass(frozen=True)
class Subject:
    """One result: the facts about it besides its frames.

    Attributes:
        size_px: side of the crops.
        voice: the voice of the result, mono, 16 kHz; None: unknown.
        clip_sound: the clip's own sound, for the score of the real clip; None: it has none.
        relation: "own": the voice is the clip's own and the model saw other frames as references, so the clip shows the
            right result. "leaky": the same, but the model saw the frame itself. "change": another voice.
        num_natural: how many frames from the beginning show the clip in its own order, before it runs backwards.
        window: frames that the network generates together; None: unknown.
        mask: name of the mouth mask.
        controls: whether measures of sync are repeated with a shuffled and a delayed voice.
        frames_again, source_again: read the frames of result and clip again from the first on, for measures that must
            know all faces before they crop one; None: such measures have no value.
        keep: stores values that depend on the clip or on a voice alone, for later results; None: nothing is stored.
        device: where the networks of these measures run.

    Raises:
        ValueError: the relation is unknown, or a sound is not (n,).
    """

    size_px: int
    voice: Waveform | None = None
    clip_sound: Waveform | None = None
    relation: str = "change"
    num_natural: int = 0
    window: int | None = None
    mask: str = "mask"
    networks: Networks = Networks()
    controls: bool = False
    frames_again: Callable[[], Iterable[Frame]] | None = None
    source_again: Callable[[], Iterable[Frame]] | None = None
    keep: Keep | None = None
    device: str = "cpu"

    def __post_init__(self) -> None:
        if self.relation not in RELATIONS:
            raise ValueError(f"relation is {self.relation!r}; choose one of {', '.join(RELATIONS)}")
        for name in ("voice", "clip_sound"):
            if (sound := getattr(self, name)) is not None and sound.ndim != 1:
                raise ValueError(f"{name} has shape {sound.shape}; it must be (n,), mono at {SOUND_RATE_HZ} Hz")

    @property
    def prefix(self) -> str:
        """The prefix of measures that compare the result with the clip's lips."""
        return RELATIONS[self.relation]


class Family:
    """Measures that are computed together.

    Attributes:
        name: see `definitions.Definition.family`.
        needs: which `PARTS` of a batch it reads.
        against_lips: whether the clip's lips are its reference, so that its names have the relation's prefix.
    """

    name: ClassVar[str]
    needs: ClassVar[frozenset[str]] = frozenset()
    against_lips: ClassVar[bool] = False

    def __init__(self, subject: Subject) -> None:
        self.subject = subject

    def add(self, batch: Batch) -> None:
        """Sees the next frames."""
        raise NotImplementedError

    def entries(self) -> dict[str, Entry]:
        """The values, when all frames have been seen."""
        raise NotImplementedError

    def curves(self) -> dict[str, list[float | None]]:
        """The curves behind the values, by name: a number for each frame, window or shift."""
        return {}

    @classmethod
    def names(cls, subject: Subject) -> list[str]:
        """The measures that it always reports, with a value or a reason."""
        prefix = subject.prefix if cls.against_lips else ""
        return [prefix + name for name, definition in DEFINITIONS.items() if definition.family == cls.name]

    @classmethod
    def without(cls, subject: Subject, reason: str) -> dict[str, Entry]:
        """All of its measures with a reason and no value."""
        return {name: entry(name, None, reason) for name in cls.names(subject)}


def rounded(values: Iterable[float] | np.ndarray, digits: int = 4) -> list[float | None]:
    """Rounded numbers for a curve; None for those that are not finite."""
    return [round(float(value), digits) if np.isfinite(value) else None for value in values]


def mean_entry(name: str, values: np.ndarray, left_out: int, none: str, **facts: Any) -> Entry:
    """The mean of the finite values; the others count as left out. If there are none, `none` is the reason."""
    known = values[np.isfinite(values)]
    counts = {"used": len(known), "left_out": left_out + len(values) - len(known)}
    return entry(name, float(known.mean()) if len(known) else None, none, **counts, **facts)
