"""Measures by how much the lips of a video lag its sound, and writes a copy in which they do not."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from fractions import Fraction
from pathlib import Path

from latentsync.constants import VIDEO_RATE_HZ
from latentsync.errors import MediaError
from latentsync.faces.landmarks import LandmarkDetector
from latentsync.lab.measuring.result import SYNCNET, Result, measured
from latentsync.lab.options.schema import MetricsConfig
from latentsync.media.moved import FORMATS, check_target, copy_with_sound_moved
from latentsync.metrics.definitions import Entry
from latentsync.metrics.sync_mini import MAX_SHIFT

FAMILIES = ("syncnet", "sync_mini", "landmark_sync")
# The least confidence at which a network's offset is believed. 3 is the bound of LatentSync's own data preparation.
# 0.2: the embedded SyncNet gives 0.26 and more for clips like those it knows, and up to 0.12 with wrong offsets for
# others.
LEAST_LSE_C = 3.0
LEAST_SYNC_MINI = 0.2
SUFFIX = "_resynced"


class _Alone(Result):
    """A video that is measured without a clip: its sound is the voice."""

    clip_sound = None


@dataclass(frozen=True)
class SyncMeasure:
    """The offset of the lips and the sound of a video.

    Attributes:
        network: what measured it.
        offset: frames of 1/25 s; positive if the lips come later than the sound.
        confidence: of the network; `least` is what is needed to believe it.
        lag: the same offset by landmarks and loudness alone, which is coarse; None if there is none.
        peak: the correlation at that lag.
    """

    network: str
    offset: int
    confidence: float
    least: float
    lag: int | None
    peak: float | None

    def __str__(self) -> str:
        coarse = "" if self.lag is None else f"; landmarks and loudness: {self.lag:+d} frames, r = {self.peak:.2f}"
        return (
            f"{self.offset:+d} frames ({self.offset * 1000 / VIDEO_RATE_HZ:+.0f} ms; {self.network}, confidence "
            f"{self.confidence:.2f}{coarse})"
        )


@dataclass(frozen=True)
class Resync:
    """What was measured, and the mended copy; `output` and `after` are None if nothing was to be done."""

    before: SyncMeasure
    output: Path | None = None
    after: SyncMeasure | None = None


def resync(video: str | Path, output: str | Path | None = None, detector: LandmarkDetector | None = None) -> Resync:
    """Measures the offset of sound and lips, and writes a copy with the sound moved by it; nothing is encoded again.

    The standard SyncNet measures it if its weights are on this machine, else the embedded one, which knows speakers
    like the shipped ones only.

    Args:
        video: one face that speaks, with its sound.
        output: the copy; None: NAME_resynced beside the video, in its container if that stores times, else as .mkv.
        detector: finds landmarks; None: MediaPipe's.

    Raises:
        MediaError: the video cannot be read or copied, or is too short; or the offset cannot be known: the
            confidence is too low, or the offset is as large as any that is looked for (15 frames).
        FaceNotFoundError: it shows no face.
        OptionError: the output's name does not fit.
    """
    video = Path(video)
    target = default_output(video) if output is None else Path(output)
    check_target(video, target)
    if detector is None:
        from latentsync.faces.landmarks import MediaPipeLandmarks

        detector = MediaPipeLandmarks()
    alone = _Alone(**vars(Result.of_files(video, video, video, detector)))
    before = checked(video, sync_measure(alone, detector))
    if before.offset == 0:
        return Resync(before)
    copy_with_sound_moved(video, target, Fraction(before.offset) / Fraction(VIDEO_RATE_HZ))
    after = sync_measure(replace(alone, result=target, clip=target, voice=target), detector)
    return Resync(before, target, after)


def default_output(video: Path) -> Path:
    """NAME_resynced beside the video."""
    suffix = video.suffix if video.suffix.lower() in FORMATS else ".mkv"
    return video.with_name(f"{video.stem}{SUFFIX}{suffix}")


def sync_measure(video: Result, detector: LandmarkDetector) -> SyncMeasure:
    """The offset of a video, by the best network that is on this machine.

    Raises:
        MediaError: no network could measure it.
    """
    return of_entries(measured(video, MetricsConfig.of(FAMILIES), detector, relation="change").entries)


def of_entries(entries: Mapping[str, Entry]) -> SyncMeasure:
    """The offset from the metrics of the families `FAMILIES`.

    Raises:
        MediaError: no network has a value.
    """
    lag, peak = (entries[f"landmark_sync_{name}"]["value"] for name in ("lag", "peak"))
    standard = "_mediapipe_crop" if "lse_c_mediapipe_crop" in entries else ""
    for network, offset, confidence, least in (
        ("SyncNet v2", f"lse_offset{standard}", f"lse_c{standard}", LEAST_LSE_C),
        ("embedded SyncNet", "sync_mini_offset", "sync_mini_confidence", LEAST_SYNC_MINI),
    ):
        if entries[offset]["value"] is not None:
            value = float(entries[confidence]["value"])
            return SyncMeasure(network, int(entries[offset]["value"]), value, least, lag, peak)
    raise MediaError(f"the offset of sound and lips cannot be measured: {entries['sync_mini_offset']['reason']}")


def checked(video: Path, measure: SyncMeasure) -> SyncMeasure:
    """The measure, if it can be believed.

    Raises:
        MediaError: it cannot; the message gives value, bound and remedy.
    """
    if measure.confidence < measure.least:
        needs_standard = measure.network != "SyncNet v2"
        remedy = (
            f"the embedded SyncNet knows drawn speakers only, so for people run `latentsync weights fetch {SYNCNET}`"
            if needs_standard
            else "give a longer piece in which one face speaks alone"
        )
        raise MediaError(
            f"{video}: the offset cannot be known, because the confidence of the {measure.network} is "
            f"{measure.confidence:.2f}, and at least {measure.least:g} is needed; {remedy}"
        )
    if abs(measure.offset) >= MAX_SHIFT:
        raise MediaError(
            f"{video}: the offset is {measure.offset:+d} frames or more, and only offsets below {MAX_SHIFT} frames "
            f"({MAX_SHIFT / VIDEO_RATE_HZ:g} s) can be measured; move the sound by about that much first"
        )
    return measure
