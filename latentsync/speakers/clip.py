"""A person says a sentence: frames, sound and the exact truth about both, and the files that hold them.

Head motion, blinks and brows come from a numpy Generator each, so that none depends on how often another was asked.
"""

import json
import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
from jaxtyping import Float

from latentsync.constants import SAMPLES_PER_FRAME, SOUND_RATE_HZ
from latentsync.errors import MediaError, OptionError
from latentsync.files import whole_files, write_text
from latentsync.media.encoder import instructions
from latentsync.media.sound import FULL_SCALE, write_wav
from latentsync.speakers.identity import Identity
from latentsync.speakers.mouth import mouth_geometry
from latentsync.speakers.painter import VIEW_MM, Expression, Frame, Painter, Pose
from latentsync.speakers.recording import Recording
from latentsync.speakers.surface import mouth_y
from latentsync.speakers.visemes import FPS, VOWELS, MouthShape, frame_phones, mouth_track, viseme_of
from latentsync.speakers.voice import Speech, Voice, speak

COMMENT = "Synthetic: a painted person who does not exist, speaking with a synthesised voice (latentsync.speakers)."
COMMENT_GIVEN = "Synthetic: a painted person who does not exist, over the recording of a voice (latentsync.speakers)."
CRF = 20
PRESET = "slow"  # of x264; "veryfast" saves a third of painting and encoding a 256 px clip, at much the same size
AAC_BIT_RATE = 64_000
BLINK_S = (0.08, 0.04, 0.14)  # closing, shut, opening
MOTION_SEED, BLINK_SEED, BROW_SEED, GAZE_SEED = range(21, 25)
MANNER_SEED = 27
LIVELY_LIMITS = (7.0, 12.0, 6.0, 9.0, 4.0, 0.04)  # roll, yaw, pitch in degrees, x and y in mm, share of the scale

RANGE_DB = 30.0  # of the levels that the mouth's opening follows

Series = Float[np.ndarray, "f"]
Motion = Callable[[int, int, Series], list[Pose]]  # of a seed, a number of frames, and their loudness


@dataclass(frozen=True)
class FrameTruth:
    """What a frame shows, exactly. Lengths in px of the frame, angles in degrees."""

    time_s: float
    phone: str
    viseme: str
    lip_gap_px: float
    mouth_width_px: float
    mouth_x_px: float
    mouth_y_px: float
    eyes: float
    brows: float
    roll: float
    yaw: float
    pitch: float
    x_px: float
    y_px: float
    scale: float


@dataclass(frozen=True)
class SpeakerClip:
    """A clip that is painted when it is iterated.

    Attributes:
        sentence, identity, voice, seed: what was asked for.
        speech: the sound, 16 kHz; there are ceil(seconds * 25) frames, so the last may outlast it by under 40 ms.
        recording: what was done to the sound after it was spoken, or None.
        truth: one entry per frame.
    """

    sentence: str
    identity: Identity
    voice: Voice | None
    speech: Speech
    size_px: int
    seed: int
    poses: tuple[Pose, ...]
    expressions: tuple[Expression, ...]
    shapes: tuple[MouthShape, ...]
    truth: tuple[FrameTruth, ...]
    painter: Painter
    recording: Recording | None = None

    @property
    def comment(self) -> str:
        """What the files say about their making."""
        return COMMENT if self.voice is not None else COMMENT_GIVEN

    def frames(self) -> Iterator[Frame]:
        """The frames in order, painted one at a time; each call starts over."""
        for index, state in enumerate(zip(self.poses, self.expressions, self.shapes, strict=True)):
            yield self.painter.paint(*state, noise_index=index)


def render_clip(
    identity: Identity,
    sentence: str,
    voice: Voice | None,
    seed: int,
    size_px: int = 512,
    intensity: float = 1.0,
    painter: Painter | None = None,
    view_mm: float = VIEW_MM,
    view_top_mm: float | None = None,
    liveliness: float = 0.0,
    speech: Speech | None = None,
    recording: Recording | None = None,
    motion: Motion | None = None,
) -> SpeakerClip:
    """The clip in which `identity` says `sentence`.

    `seed` drives motion, blinks and brows; `intensity` scales the articulation (1 is plain speech),
    `liveliness` 0..1 the variety of the head's motion and the smile (0 is a slight sway). `view_mm` and
    `view_top_mm` frame the picture (see `Painter`). A `painter` of the same identity, size and framing may be handed
    in, since making one takes up to a second. Where a `speech` is at hand, such as a real recording's, nothing is
    synthesised, and `voice` only tells where it is from (None: unknown). `motion` moves the head in place of
    `head_motion`. The mouth follows the speech as it was spoken; the clip's sound is the speech as `recording` leaves
    it.
    """
    if speech is None:
        if voice is None:
            raise OptionError(f"there is neither a voice nor a speech for the sentence {sentence!r}; give one of them")
        speech = speak(sentence, voice)
    count = math.ceil(len(speech.sound) * FPS / SOUND_RATE_HZ)
    loud = loudness(speech, count)
    shapes = mouth_track(speech.phones, count, intensity * (0.22 + 0.85 * loud**2))
    poses = motion(seed, count, loud) if motion else head_motion(seed, count, loud, liveliness)
    expressions = expression_track(seed, speech, count, loud, liveliness)
    painter = painter or Painter(identity, size_px, view_mm, view_top_mm)
    phones = frame_phones(speech.phones, count)
    truth = tuple(
        _truth(painter, index, phones[index], poses[index], expressions[index], shapes[index]) for index in range(count)
    )
    return SpeakerClip(
        sentence,
        identity,
        voice,
        speech if recording is None else replace(speech, sound=recording.apply(speech.sound)),
        size_px,
        seed,
        tuple(poses),
        tuple(expressions),
        tuple(shapes),
        truth,
        painter,
        recording,
    )


def loudness(speech: Speech, count: int) -> Series:
    """Level of each frame, 0..1 over the upper 30 dB of the speech, smoothed over three frames.

    Lip aperture follows the sound's envelope in natural speech (Chandrasekaran et al., "The natural statistics of
    audiovisual speech", PLOS Computational Biology, 2009), which targets per phone alone do not show.
    """
    hop = SAMPLES_PER_FRAME
    padded = np.zeros(count * hop)
    padded[: len(speech.sound)] = speech.sound / FULL_SCALE
    level_db = 10 * np.log10((padded.reshape(count, hop) ** 2).mean(axis=1) + 1e-6)
    level = np.clip((level_db - np.percentile(level_db, 95) + RANGE_DB) / RANGE_DB, 0, 1.1)
    return np.convolve(np.pad(level, 1, mode="edge"), [0.25, 0.5, 0.25], "valid")


def drift(draw: np.random.Generator, times: Series, amplitude: float, slowest_hz: float, fastest_hz: float) -> Series:
    """A smooth wander: five sines of random frequency and phase, stronger where slower."""
    rates = np.exp(draw.uniform(np.log(slowest_hz), np.log(fastest_hz), 5))
    phases, weights = draw.uniform(0, 2 * np.pi, 5), (slowest_hz / rates) ** 0.7
    waves = np.sin(2 * np.pi * rates[:, None] * times + phases[:, None]) * weights[:, None]
    return amplitude * waves.sum(axis=0) / np.sqrt((weights**2).sum())


def held(draw: np.random.Generator, count: int, reach: float) -> Series:
    """A posture that is held for seconds and then changed slowly; within +-`reach`, about 0 at times."""
    times = np.arange(count) / FPS

    def target() -> float:
        return reach * float(draw.uniform(-1, 1)) if draw.random() < 0.65 else 0.0

    held = target()
    track = np.full(count, held)
    start = float(draw.uniform(0.4, 2.5))
    while start < count / FPS:
        after, took = target(), float(draw.uniform(0.6, 1.4))
        t = np.clip((times - start) / took, 0, 1)
        track += (after - held) * t * t * (3 - 2 * t)
        held, start = after, start + took + float(draw.uniform(0.8, 3.0))
    return track


def within(track: Series, bound: float) -> Series:
    """The track bent softly so that it stays within +-`bound`."""
    return bound * np.tanh(track / bound)


def head_motion(seed: int, count: int, loud: Series, liveliness: float = 0.0) -> list[Pose]:
    """A listener's slight sway, with small nods on loud syllables.

    `liveliness` 0..1 brings in what tells one speaker's manner from another's: more or less sway (a factor of 0.4 to
    1.6), slow turns of up to 12 degrees to either side, leans, and coming nearer or farther by up to 4 %.
    """
    draw = np.random.default_rng([seed, MOTION_SEED])
    times = np.arange(count) / FPS
    nod = np.convolve(np.pad(loud, 4, mode="edge"), np.hanning(11)[1:-1] / np.hanning(11).sum(), "valid")
    roll, yaw = drift(draw, times, 1.5, 0.12, 0.6), drift(draw, times, 3.4, 0.12, 0.55)
    pitch = drift(draw, times, 1.6, 0.15, 0.7) + 2.2 * (nod - nod.mean())
    x_mm, y_mm = drift(draw, times, 2.6, 0.12, 0.5) + 0.5 * yaw, drift(draw, times, 1.3, 0.15, 0.6)
    nearer = drift(draw, times, 0.008, 0.1, 0.4)
    if liveliness:
        manner = np.random.default_rng([seed, MANNER_SEED])
        sway = 1 + liveliness * (float(manner.uniform(0.4, 1.6)) - 1)
        tracks, limits = (roll, yaw, pitch, x_mm, y_mm, nearer), LIVELY_LIMITS
        generators = manner.spawn(len(tracks))
        roll, yaw, pitch, x_mm, y_mm, nearer = (
            within(sway * track + liveliness * held(own, count, limit), limit)
            for track, own, limit in zip(tracks, generators, limits, strict=True)
        )
    scale = 1 + nearer
    # Rounded so that the truth file holds exactly what was painted.
    rows = np.round(np.stack([roll, yaw, pitch, x_mm, y_mm, scale], axis=1), 5)
    return [Pose(*map(float, row)) for row in rows]


def blink_track(seed: int, count: int) -> Series:
    """How open the eyes are, 1 open .. 0 shut; blinks come 1.6 to 4 s apart."""
    draw = np.random.default_rng([seed, BLINK_SEED])
    openness = np.ones(count)
    times = (np.arange(count) + 0.5) / FPS
    closing, shut, opening = BLINK_S
    start = float(draw.uniform(0.6, 1.8))
    while start < count / FPS:
        knots = np.cumsum([start, closing, shut, opening])
        openness = np.minimum(openness, np.interp(times, knots, [1.0, 0.0, 0.0, 1.0]))
        start += float(draw.uniform(1.6, 4.0))
    return openness


def stressed_vowels(speech: Speech) -> list[float]:
    """Middle times in s of the vowels that are both loud and long: where a speaker's brows rise."""
    scores = []
    for phone in speech.phones:
        if phone.name in VOWELS:
            start, stop = (int(time_s * SOUND_RATE_HZ) for time_s in (phone.start_s, phone.end_s))
            part = speech.sound[start:stop].astype(np.float64)
            power = float(np.sqrt((part**2).mean())) if len(part) else 0.0
            scores.append((power * (phone.end_s - phone.start_s) ** 0.5, (phone.start_s + phone.end_s) / 2))
    scores.sort(reverse=True)
    return sorted(time for _, time in scores[: max(1, len(scores) // 3)]) if scores else []


def expression_track(seed: int, speech: Speech, count: int, loud: Series, liveliness: float = 0.0) -> list[Expression]:
    """Eyes, gaze, brows and a little smile for each frame; `liveliness` 0..1 makes gaze and smile come and go."""
    draw, gaze_draw = np.random.default_rng([seed, BROW_SEED]), np.random.default_rng([seed, GAZE_SEED])
    times = (np.arange(count) + 0.5) / FPS
    brows = np.zeros(count)
    for peak_s in stressed_vowels(speech):
        height = float(draw.uniform(0.15, 0.8))
        brows = np.maximum(brows, height * np.exp(-0.5 * ((times - peak_s + 0.04) / 0.16) ** 2))
    eyes = blink_track(seed, count)
    gaze_x, gaze_y = drift(gaze_draw, times, 0.45, 0.3, 1.2), drift(gaze_draw, times, 0.25, 0.3, 1.0)
    smile = 0.12 + 0.10 * np.clip(drift(draw, times, 1.0, 0.15, 0.4), -1, 1)
    if liveliness:
        smile_draw, x_draw, y_draw = np.random.default_rng([seed, MANNER_SEED, 1]).spawn(3)
        smile = np.maximum(smile + liveliness * held(smile_draw, count, 0.30), 0)
        gaze_x = gaze_x + liveliness * held(x_draw, count, 2.2)
        gaze_y = gaze_y + liveliness * held(y_draw, count, 0.9)
    return [
        Expression(*_rounded(eyes[i]), (*_rounded(gaze_x[i], gaze_y[i]),), *_rounded(brows[i], smile[i]))
        for i in range(count)
    ]


def _rounded(*values: float) -> tuple[float, ...]:
    return tuple(round(float(value), 4) for value in values)


def _truth(
    painter: Painter, index: int, phone: str, pose: Pose, expression: Expression, shape: MouthShape
) -> FrameTruth:
    """Lengths follow from the drawn geometry: the points are carried into the frame as the painter carries them."""
    geometry = mouth_geometry(painter.identity, shape, expression.smile)
    height = mouth_y(painter.identity)
    centre = painter.to_px((0.0, height), pose)
    corners = [painter.to_px((side * geometry.half_width, height), pose) for side in (-1, 1)]
    return FrameTruth(
        time_s=round(index / FPS, 2),
        phone=phone,
        viseme=viseme_of(phone),
        lip_gap_px=round(painter.gap_px(geometry, pose), 2),
        mouth_width_px=round(float(np.hypot(*(corners[1] - corners[0]))), 2),
        mouth_x_px=round(float(centre[0]), 2),
        mouth_y_px=round(float(centre[1]), 2),
        eyes=expression.eyes,
        brows=expression.brows,
        roll=round(pose.roll, 3),
        yaw=round(pose.yaw, 3),
        pitch=round(pose.pitch, 3),
        x_px=round(pose.x_mm / painter.px_mm, 2),
        y_px=round(pose.y_mm / painter.px_mm, 2),
        scale=round(pose.scale, 5),
    )


def write_clip(clip: SpeakerClip, path: Path, crf: int = CRF, preset: str = PRESET) -> None:
    """Write `path` (.mp4) and beside it the sound (.wav, 16 kHz mono 16 bit) and the truth (.json).

    The three files get their names together, so that a video has its own sound and truth beside it.
    """
    path = Path(path)
    if path.suffix != ".mp4":
        raise MediaError(f"the clip is to be written to {path.name}; give a name that ends in .mp4")
    sound, truth = path.with_suffix(".wav"), path.with_suffix(".json")
    with whole_files(path.parent, (sound.name, truth.name, path.name), proof=path.name) as part:
        write_wav(part / sound.name, clip.speech.sound)
        write_text(part / truth.name, truth_json(clip))
        _encode(clip, part / path.name, crf, preset)


def truth_json(clip: SpeakerClip) -> str:
    """The truth as JSON: constants, phones, and a table of one row per frame (columns named once)."""
    columns = list(FrameTruth.__dataclass_fields__)
    rows = [[getattr(frame, name) for name in columns] for frame in clip.truth]
    head = {
        "comment": clip.comment,
        "sentence": clip.sentence,
        "voice": _voice_facts(clip.voice),
        "identity": vars(clip.identity),
        "size_px": clip.size_px,
        "view_mm": clip.painter.view_mm,
        "view_top_mm": clip.painter.view_top_mm,
        "seed": clip.seed,
        "fps": FPS,
        "rate_hz": SOUND_RATE_HZ,
        "samples": len(clip.speech.sound),
        "frames": len(rows),
        "phones": [[p.name, round(p.start_s, 4), round(p.end_s, 4)] for p in clip.speech.phones],
        "columns": columns,
    }
    if clip.recording is not None:
        head["recording"] = vars(clip.recording)
    head |= clip.painter.facts(len(rows))
    text = json.dumps(head, indent=1)
    return text[:-2] + ',\n "truth": [\n' + ",\n".join("  " + json.dumps(row) for row in rows) + "\n ]\n}\n"


def _voice_facts(voice: Voice | None) -> dict | None:
    """The voice's fields; flite is not named, so that the shipped samples' truth stays as it is."""
    if voice is None:
        return None
    return {name: value for name, value in vars(voice).items() if (name, value) != ("engine", "flite")}


def _encode(clip: SpeakerClip, part: Path, crf: int, preset: str) -> None:
    with av.open(str(part), "w", format="mp4", options={"movflags": "+faststart"}) as container:
        container.metadata["comment"] = clip.comment
        container.metadata["title"] = clip.sentence
        video = container.add_stream("libx264", rate=FPS)
        video.width = video.height = clip.size_px
        video.pix_fmt = "yuv420p"
        video.options = {"crf": str(crf), "preset": preset, **instructions()}
        video.codec_context.color_range, video.codec_context.colorspace = 1, 1  # limited range, BT.709
        video.codec_context.color_primaries = video.codec_context.color_trc = 1
        sound = container.add_stream("aac", rate=SOUND_RATE_HZ, layout="mono")
        sound.bit_rate = AAC_BIT_RATE
        for index, pixels in enumerate(clip.frames()):
            frame = av.VideoFrame.from_ndarray(pixels, format="rgb24").reformat(
                format="yuv420p", dst_colorspace="ITU709", dst_color_range="MPEG"
            )
            frame.pts, frame.time_base = index, Fraction(1, FPS)
            container.mux(video.encode(frame))
        container.mux(video.encode())
        _encode_sound(container, sound, clip.speech.sound)


def _encode_sound(container: av.container.OutputContainer, stream: av.AudioStream, sound: np.ndarray) -> None:
    frame = av.AudioFrame.from_ndarray(sound[None], format="s16", layout="mono")
    frame.sample_rate, frame.pts, frame.time_base = SOUND_RATE_HZ, 0, Fraction(1, SOUND_RATE_HZ)
    resampler = av.AudioResampler(format="fltp", layout="mono", rate=SOUND_RATE_HZ, frame_size=1024)
    for given in (frame, None):
        for part in resampler.resample(given):
            container.mux(stream.encode(part))
    container.mux(stream.encode())
