"""A flash and a beep at the same instant stay together in every container, however the file's clock runs."""

from collections.abc import Callable
from fractions import Fraction
from itertools import pairwise
from pathlib import Path

import av
import numpy as np
import pytest

from latentsync.errors import MediaError
from latentsync.media import VideoWriter, probe, probe_sound, read_frames, read_sound
from latentsync.media.sound import PlacedSound, resampled
from latentsync.training.sound import spooled_sound

pytestmark = pytest.mark.slow

EVENTS_S, LENGTH_S, RATE_HZ, HALF_FRAME_S = (0.6, 1.4), 2.0, 48000, 0.02
CONTAINERS = [
    ("mp4", "libx264", "aac"),
    ("mp4", "libx264", "libmp3lame"),
    ("mp4", "mpeg4", "libopus"),
    ("mp4", "libx264", "flac"),
    ("mov", "mpeg4", "pcm_s16le"),
    ("mkv", "libx264", "aac"),
    ("mkv", "libx264", "libmp3lame"),
    ("mkv", "mpeg4", "flac"),
    ("mkv", "libx264", "pcm_s16le"),
    ("webm", "libvpx-vp9", "libopus"),
    ("ts", "libx264", "aac"),
    ("ts", "libx264", "libopus"),
    ("flv", "libx264", "libmp3lame"),
    ("flv", "libx264", "aac"),
    ("mpg", "mpeg2video", "mp2"),
    ("nut", "libx264", "aac"),
]
UNTIMED = [("avi", "mpeg4", "libmp3lame"), ("avi", "mpeg4", "aac"), ("avi", "libx264", "pcm_s16le")]  # no time stamps
FAST = {"libvpx-vp9": {"deadline": "realtime", "cpu-used": "8"}, "libx264": {"preset": "veryfast", "bf": "2"}}


def is_event(times: np.ndarray) -> np.ndarray:
    return np.any([(times >= event - 1e-6) & (times < event + 0.08) for event in EVENTS_S], axis=0)


def packets_of_sound(stream: av.AudioStream, start_s: float, rate_hz: int) -> list[av.Packet]:
    """A beep of 1 kHz at each event, from `start_s` on, encoded with the times of the events' clock."""
    clock = np.arange(round(start_s * rate_hz), round(LENGTH_S * rate_hz)) / rate_hz
    samples = np.where(is_event(clock), 0.8 * np.sin(2000 * np.pi * clock), 0)
    frame = av.AudioFrame.from_ndarray((samples * 32767).astype(np.int16)[None], format="s16", layout="mono")
    frame.sample_rate, fifo, packets, place = rate_hz, av.AudioFifo(), [], round(start_s * rate_hz)
    for part in av.AudioResampler(stream.format.name, "mono", rate_hz).resample(frame):
        part.pts = None
        fifo.write(part)
    while (piece := fifo.read(stream.codec_context.frame_size or 1024, partial=True)) is not None:
        piece.pts, piece.time_base = place, Fraction(1, rate_hz)
        place += piece.samples
        packets += stream.encode(piece)
    return packets + stream.encode()


def write(
    path: Path,
    codecs: tuple[str | None, str],
    picture_s: float = 0,
    sound_s: float = 0,
    keep: Callable[[Fraction], bool] = lambda time: True,
    rate_hz: int = RATE_HZ,
) -> Path:
    """A file of flashes and beeps.

    Args:
        codecs: of pictures (None: sound only) and sound.
        picture_s, sound_s: when each begins on the clock of the events.
        keep: whether a sound packet of this time is stored.
    """
    with av.open(str(path), "w") as output:
        video = output.add_stream(codecs[0], rate=25, options=FAST.get(codecs[0])) if codecs[0] else None
        sound = output.add_stream(codecs[1], rate=rate_hz, layout="mono")
        packets = [one for one in packets_of_sound(sound, sound_s, rate_hz) if keep(one.pts * one.time_base)]
        if video is not None:
            video.width, video.height, video.pix_fmt = 64, 48, "yuv420p"
            for number in range(round(picture_s * 25), round(LENGTH_S * 25)):
                level = 235 if is_event(np.array([number / 25]))[0] else 16
                frame = av.VideoFrame.from_ndarray(np.full((48, 64, 3), level, np.uint8), format="rgb24")
                frame.pts, frame.time_base = number, Fraction(1, 25)
                packets += video.encode(frame)
            packets += video.encode()
        for packet in sorted(packets, key=lambda one: one.dts * one.time_base):
            output.mux(packet)
    return path


def starts(is_on: np.ndarray, rate_hz: float, apart_s: float) -> list[float]:
    """The times in s at which something begins after a pause."""
    places = np.flatnonzero(is_on)
    first = [b for a, b in pairwise([-(10**9), *places]) if b - a > apart_s * rate_hz]
    return [float(place / rate_hz) for place in first]


def flashes(path: Path) -> list[float]:
    return starts(np.array([frame.mean() > 120 for frame in read_frames(path)]), 25, 0.06)


def beeps(path: Path) -> list[float]:
    return starts(np.abs(read_sound(path)) > 0.2, 16000, 0.2)


def check(path: Path, expected: list[float]) -> None:
    """Flashes and beeps are read at the expected times after the first picture."""
    assert flashes(path) == pytest.approx(expected, abs=0.001)
    assert beeps(path) == pytest.approx(flashes(path), abs=HALF_FRAME_S)


def around_hole(time: Fraction) -> bool:
    """Whether a packet of this time is stored where 0.4 s are left out."""
    return not 0.76 < time < 1.2


KINDS = {
    "plain": {},
    "late sound, hole": {"sound_s": 0.4, "keep": around_hole},
    "late pictures": {"picture_s": 0.4},
}


@pytest.mark.parametrize("container", CONTAINERS, ids="-".join)
def test_flash_and_beep_stay_together(tmp_path, container):
    for kind, facts in KINDS.items():
        if container[0] == "mov":  # it has no place for a hole in PCM
            facts = {name: fact for name, fact in facts.items() if name != "keep"}
        path = write(tmp_path / f"{kind}.{container[0]}", container[1:], **facts)
        check(path, [event - facts.get("picture_s", 0) for event in EVENTS_S])
        assert probe_sound(path).duration_s == pytest.approx(LENGTH_S - facts.get("picture_s", 0), abs=0.05)
        assert not (facts and probe_sound(path).is_gapless)


@pytest.mark.parametrize("container", UNTIMED, ids="-".join)
def test_flash_and_beep_stay_together_without_time_stamps(tmp_path, container):
    path = write(tmp_path / f"a.{container[0]}", container[1:], rate_hz=44100)
    assert beeps(path) == pytest.approx(flashes(path), abs=HALF_FRAME_S)
    assert len(beeps(path)) == len(EVENTS_S)


@pytest.mark.parametrize(
    ("ending", "codecs"),
    [("ts", ("libx264", "aac")), ("ts", ("libx264", "libmp3lame")), ("mpg", ("mpeg2video", "mp2"))],
)
def test_joined_streams_go_on_where_the_clock_jumps(tmp_path, ending, codecs):
    parts = [
        write(tmp_path / f"{number}.{ending}", codecs, **facts)
        for number, facts in enumerate([{}, {"sound_s": 0.4}, {}])
    ]
    joined = tmp_path / f"joined.{ending}"
    joined.write_bytes(b"".join(part.read_bytes() for part in parts))
    seen, heard = flashes(joined), beeps(joined)
    assert len(seen) == len(heard) == 3 * len(EVENTS_S)
    assert heard == pytest.approx(seen, abs=HALF_FRAME_S)
    assert probe(joined).duration_s == pytest.approx(3 * LENGTH_S, abs=0.3)
    assert seen[0] == pytest.approx(EVENTS_S[0]) and 3 * LENGTH_S - 0.7 < seen[-1] < 3 * LENGTH_S
    middle = list(read_frames(joined, start=70, stop=80))
    np.testing.assert_array_equal(middle, list(read_frames(joined))[70:80])


@pytest.mark.parametrize(("step_s", "goes_on"), [(400, True), (5, False)])
def test_a_long_step_of_a_transport_streams_clock_is_a_jump_and_a_short_one_a_hole(tmp_path, step_s, goes_on):
    plain, stepped = write(tmp_path / "plain.ts", ("mpeg2video", "mp2")), tmp_path / "stepped.ts"
    with av.open(str(plain)) as source, av.open(str(stepped), "w") as target:
        streams = {stream.index: target.add_stream_from_template(stream) for stream in source.streams}
        for packet in source.demux():
            if packet.dts is not None:
                late = round(step_s / packet.time_base) if packet.dts * packet.time_base > 1.1 else 0
                packet.stream, packet.pts, packet.dts = (
                    streams[packet.stream_index],
                    packet.pts + late,
                    packet.dts + late,
                )
                target.mux(packet)
    expected = [event + (0 if goes_on or event < 1.1 else step_s) for event in EVENTS_S]
    assert flashes(stepped) == pytest.approx(expected, abs=0.081)
    assert beeps(stepped) == pytest.approx(flashes(stepped), abs=HALF_FRAME_S)


def test_an_edit_list_begins_pictures_and_sound_in_their_middle(tmp_path):
    path = write(tmp_path / "a.mp4", ("libx264", "aac"))
    content, place = bytearray(path.read_bytes()), 0
    with av.open(str(path)) as container:
        bases = [stream.time_base for stream in container.streams]
    for (
        base
    ) in bases:  # elst: version and flags, number, then duration in the movie's ms and start in the track's units
        place = content.index(b"elst", place + 1)
        start = place + 16
        later = int.from_bytes(content[start : start + 4], "big") + round(0.4 / base)
        content[start : start + 4] = later.to_bytes(4, "big")
    path.write_bytes(content)
    check(path, [event - 0.4 for event in EVENTS_S])


@pytest.mark.parametrize("kind", [*KINDS, "edge"])
@pytest.mark.parametrize("container", [("mp4", "libx264", "aac"), ("ts", "libx264", "libmp3lame")], ids="-".join)
def test_a_result_sounds_as_its_voice_was_heard(tmp_path, container, kind):
    facts = KINDS.get(kind, {"sound_s": 0.012})
    voice, result = tmp_path / f"voice.{container[0]}", tmp_path / "result.mp4"
    write(voice, container[1:], **facts)
    with VideoWriter(result, 64, 48, sound=voice) as writer:
        for frame in read_frames(voice):
            writer.write(frame)
    check(result, flashes(voice))
    assert beeps(result) == pytest.approx(beeps(voice), abs=0.002)
    assert probe_sound(result).is_gapless
    assert probe_sound(result).duration_s == pytest.approx(probe_sound(voice).duration_s, abs=0.03)


@pytest.mark.parametrize(("ending", "codec"), [("m4a", "aac"), ("webm", "libopus"), ("mka", "libmp3lame")])
def test_a_file_with_sound_only_begins_with_its_sound_and_keeps_its_holes(tmp_path, ending, codec):
    late = write(tmp_path / f"late.{ending}", (None, codec), sound_s=0.2)
    assert beeps(late) == pytest.approx([event - 0.2 for event in EVENTS_S], abs=0.03)  # with the encoder's own delay
    hole = write(tmp_path / f"hole.{ending}", (None, codec), keep=around_hole)
    assert beeps(hole) == pytest.approx(EVENTS_S, abs=HALF_FRAME_S)
    np.testing.assert_array_equal(spooled_sound(hole, tmp_path), read_sound(hole) * 32768)


def test_joined_opus_files_go_on(tmp_path):
    part, joined = write(tmp_path / "a.ogg", (None, "libopus")), tmp_path / "joined.ogg"
    joined.write_bytes(part.read_bytes() * 2)
    assert beeps(joined) == pytest.approx([0.6, 1.4, 2.6, 3.4], abs=0.03)


def test_sound_that_ends_before_the_first_picture_is_no_sound(tmp_path):
    path = write(tmp_path / "a.mkv", ("mpeg4", "flac"), picture_s=1.0, keep=lambda time: time < 0.9)
    with pytest.raises(MediaError, match="holds no sound"):
        read_sound(path)


# ---- frame by frame ----


def frames_at(times_s: list[float], length: int = 160, kind: str = "s16") -> list[av.AudioFrame]:
    """Frames of 10 ms at 16 kHz; frame n holds the number n + 1."""
    frames = []
    for number, time_s in enumerate(times_s, start=1):
        samples = np.full((1, length), number, {"s16": np.int16, "u8": np.uint8}[kind])
        frame = av.AudioFrame.from_ndarray(samples, format=kind, layout="mono")
        frame.sample_rate, frame.time_base, frame.pts = 16000, Fraction(1, 16000), round(time_s * 16000)
        frames.append(frame)
    return frames


def placed(times_s: list[float], zero_s: Fraction | None = Fraction(0), kind: str = "s16") -> tuple[list[int], bool]:
    """The placed samples and `is_gapless`."""
    sound = PlacedSound(iter(frames_at(times_s, kind=kind)), zero_s)
    return [int(sample) for frame in sound for sample in frame.to_ndarray()[0]], sound.is_gapless


def runs(samples: list[int]) -> list[tuple[int, int]]:
    """(value, how often) one after the other."""
    edges = [0, *(np.flatnonzero(np.diff(samples)) + 1).tolist(), len(samples)]
    return [(samples[a], b - a) for a, b in pairwise(edges) if b > a]


EVERY_10_MS = [round(number * 0.01, 4) for number in range(60)]


def whole(numbers) -> list[tuple[int, int]]:
    return [(number, 160) for number in numbers]


def test_rounded_and_drifting_times_change_nothing():
    for times in (
        EVERY_10_MS,
        [time + 0.0009 * (-1) ** number for number, time in enumerate(EVERY_10_MS)],
        [time * 1.03 for time in EVERY_10_MS],  # 18 ms at the end
        [
            time + (0.06 if 20 <= number < 30 else 0) for number, time in enumerate(EVERY_10_MS)
        ],  # stored late, for 0.1 s
    ):
        samples, is_gapless = placed(times)
        assert runs(samples) == whole(range(1, 61)) and is_gapless


def test_late_sound_holes_and_overlaps_are_placed_to_the_sample():
    late = [time + 0.0305 for time in EVERY_10_MS]
    assert runs(placed(late)[0]) == [(0, 488), *whole(range(1, 61))] and not placed(late)[1]
    assert runs(placed(late, None)[0]) == whole(range(1, 61)) and placed(late, None)[1]
    early = [time - 0.0255 for time in EVERY_10_MS]
    assert runs(placed(early)[0]) == [(3, 72), *whole(range(4, 61))]
    hole = [time + (0.05 if number >= 20 else 0) for number, time in enumerate(EVERY_10_MS)]
    assert runs(placed(hole)[0]) == [*whole(range(1, 21)), (0, 800), *whole(range(21, 61))]
    overlap = [time - (0.035 if number >= 20 else 0) for number, time in enumerate(EVERY_10_MS)]
    assert runs(placed(overlap)[0]) == [*whole(range(1, 21)), (24, 80), *whole(range(25, 61))]
    two = [
        time + (0.05 if number >= 20 else 0) + (0.1 if number >= 30 else 0) for number, time in enumerate(EVERY_10_MS)
    ]
    expected = [*whole(range(1, 21)), (0, 800), *whole(range(21, 31)), (0, 1600), *whole(range(31, 61))]
    assert runs(placed(two)[0]) == expected
    last = [time + (0.05 if number >= 58 else 0) for number, time in enumerate(EVERY_10_MS)]
    assert runs(placed(last)[0]) == [*whole(range(1, 59)), (0, 800), *whole(range(59, 61))]


def test_silence_of_8_bit_sound_is_its_middle():
    assert runs(placed([0.05], kind="u8")[0])[0] == (128, 800)


def test_silence_has_the_kind_of_its_sound_and_is_made_in_pieces():
    sound = PlacedSound(iter(frames_at([3.5])), Fraction(0))
    frames = list(sound)
    assert [frame.samples for frame in frames] == [16000, 16000, 16000, 8000, 160]
    assert sum(frame.samples for frame in resampled(iter(frames), "flt", "mono", 16000)) == 56160
