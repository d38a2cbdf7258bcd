"""Reading and writing of video and sound, on small files made here."""

import os
import subprocess
import sys
import wave
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest

from latentsync.errors import MediaError, OptionError
from latentsync.media import (
    VideoWriter,
    ping_pong,
    probe,
    probe_sound,
    read_frames,
    read_frames_in_order,
    read_sound,
)
from latentsync.media.sound import SoundInfo, probe_wav, read_wav, to_float, to_int16, write_wav

WIDTH, HEIGHT, BLOCK = 96, 64, 16
LONG_GOP = {"crf": "18", "g": "40", "bf": "3", "x264-params": "b-pyramid=normal:open-gop=1:scenecut=0"}


def numbered(number: int) -> np.ndarray:
    """A picture that says its number: eight blocks, black or white."""
    picture = np.full((HEIGHT, WIDTH, 3), 100, np.uint8)
    for bit in range(8):
        row, column = divmod(bit, 4)
        picture[row * BLOCK : (row + 1) * BLOCK, column * BLOCK : (column + 1) * BLOCK] = 235 * (number >> bit & 1)
    return picture


def number_of(picture: np.ndarray) -> int:
    centres = picture[BLOCK // 2 : 2 * BLOCK : BLOCK, BLOCK // 2 : 4 * BLOCK : BLOCK, 1].ravel()
    return sum(int(value > 117) << bit for bit, value in enumerate(centres))


def make_clip(
    path: Path, pictures, times=None, rate=25, options=None, codec="libx264", sound=None, **attributes
) -> Path:
    """Encodes pictures at `times` (in 1/1000 s) or at a constant rate."""
    with av.open(str(path), "w") as output:
        stream = output.add_stream(codec, rate=rate, options=options or {"crf": "10"})
        first = pictures[0]
        stream.height, stream.width = first.shape[:2]
        time_base = Fraction(1, 1000) if times is not None else 1 / Fraction(rate)
        stream.codec_context.time_base = time_base
        rotation, mirrored = attributes.pop("rotation", 0), attributes.pop("mirrored", False)
        for name, value in attributes.items():
            setattr(stream.codec_context, name, value)
        if rotation or mirrored:
            stream.set_display_rotation(rotation, hflip=mirrored)
        for number, picture in enumerate(pictures):
            frame = av.VideoFrame.from_ndarray(picture, format="rgb24")
            frame.pts, frame.time_base = (number if times is None else times[number]), time_base
            output.mux(stream.encode(frame))
        output.mux(stream.encode())
    return path


def make_sound(path: Path, samples: np.ndarray, rate_hz: int, codec: str, sample_format: str) -> Path:
    """Encodes integer or float samples `(channels, n)`."""
    layout = {1: "mono", 2: "stereo", 3: "3.0"}[len(samples)]
    with av.open(str(path), "w") as output:
        stream = output.add_stream(codec, rate=rate_hz)
        stream.codec_context.layout = layout
        stream.codec_context.format = sample_format
        packed = np.ascontiguousarray(samples.T.reshape(1, -1))
        frame = av.AudioFrame.from_ndarray(
            packed, format={"i2": "s16", "i4": "s32", "f4": "flt"}[samples.dtype.str[1:]], layout=layout
        )
        frame.sample_rate, frame.pts, frame.time_base = rate_hz, 0, Fraction(1, rate_hz)
        fifo = av.AudioFifo()
        fifo.write(frame)
        while (piece := fifo.read(stream.codec_context.frame_size or 1024, partial=True)) is not None:
            output.mux(stream.encode(piece))
        output.mux(stream.encode())
    return path


def tone(rate_hz: int, seconds: float, channels: int = 1, kind=np.int16) -> np.ndarray:
    """A voice-like tone with noise, `(channels, n)`, of the kind asked for (24-bit values in int32)."""
    random = np.random.default_rng(0)
    clock = np.arange(round(rate_hz * seconds)) / rate_hz
    wave_ = 0.4 * np.sin(2 * np.pi * 220 * clock) + 0.05 * random.standard_normal((channels, clock.size))
    if kind is np.float32:
        return wave_.astype(np.float32)
    return (wave_ * 32767).astype(np.int16) if kind is np.int16 else (wave_ * 8388607).astype(np.int32) << 8


def decoded_sound(path: Path) -> tuple[np.ndarray, int]:
    """All samples as `(channels, n)` in the decoder's own kind, and the rate."""
    with av.open(str(path)) as container:
        frames = list(container.decode(audio=0))
    channels = frames[0].layout.nb_channels
    arrays = [frame.to_ndarray() for frame in frames]
    if not frames[0].format.is_planar:
        arrays = [array.reshape(-1, channels).T for array in arrays]
    return np.concatenate(arrays, axis=1), frames[0].sample_rate


def packet_bytes(path: Path) -> list[bytes]:
    with av.open(str(path)) as container:
        return [bytes(packet) for packet in container.demux(audio=0) if packet.size]


def write_video(path: Path, count: int, **options) -> Path:
    with VideoWriter(path, WIDTH, HEIGHT, **options) as writer:
        for number in range(count):
            writer.write(numbered(number))
    return path


def fps_filter(path: Path, rate: str) -> list[int]:
    """The numbers of the frames that FFmpeg's own filter gives."""
    with av.open(str(path)) as container:
        stream = container.streams.video[0]
        graph = av.filter.Graph()
        source = graph.add_buffer(template=stream)
        from_zero = graph.add("setpts", "PTS-STARTPTS")
        fps = graph.add("fps", f"fps={rate}:round=near")
        sink = graph.add("buffersink")
        graph.link_nodes(source, from_zero, fps, sink).configure()
        numbers = []
        for frame in [*container.decode(stream), None]:
            graph.push(frame)
            while True:
                try:
                    numbers.append(number_of(graph.pull().to_ndarray(format="rgb24")))
                except (BlockingIOError, EOFError):
                    break
    return numbers


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    return tmp_path_factory.mktemp("media")


@pytest.fixture(scope="module")
def clip(folder) -> Path:
    """90 frames at 25 Hz with long open GOPs and B-frames."""
    return make_clip(folder / "clip.mp4", [numbered(n) for n in range(90)], options=LONG_GOP)


@pytest.fixture(scope="module")
def frames(clip) -> list[np.ndarray]:
    return list(read_frames(clip))


# ---- video in ----


def test_probe_says_what_a_clip_holds(clip):
    info = probe(clip)
    assert (info.width, info.height, info.num_frames, info.rotation, info.has_sound) == (WIDTH, HEIGHT, 90, 0, False)
    assert (info.duration_s, info.source_rate_hz) == (3.6, 25.0)
    assert probe(clip, rate_hz=10).num_frames == 36


def test_every_frame_is_read_once_and_in_order(frames):
    assert [number_of(frame) for frame in frames] == list(range(90))
    assert frames[0].dtype == np.uint8 and frames[0].flags.writeable


@pytest.mark.parametrize("source_rate", [30, 24, 50, 12, Fraction(30000, 1001)])
def test_constant_rate_follows_ffmpegs_filter(folder, source_rate):
    path = make_clip(
        folder / f"rate{source_rate.denominator}-{int(source_rate)}.mp4",
        [numbered(n) for n in range(45)],
        rate=source_rate,
    )
    numbers = [number_of(frame) for frame in read_frames(path)]
    assert numbers == fps_filter(path, "25")
    assert probe(path).num_frames == len(numbers)


def test_variable_rate_follows_ffmpegs_filter(folder):
    times = np.cumsum(np.random.default_rng(3).integers(5, 120, 60)) + 480  # does not begin at 0
    path = make_clip(folder / "variable.mkv", [numbered(n) for n in range(60)], times=times.tolist())
    numbers = [number_of(frame) for frame in read_frames(path)]
    assert numbers == fps_filter(path, "25")
    assert numbers[30:50] == [number_of(frame) for frame in read_frames(path, start=30, stop=50)]


@pytest.mark.parametrize(
    ("container", "codec", "options"),
    [
        ("mp4", "libx264", LONG_GOP),
        ("mkv", "libx264", LONG_GOP),
        ("ts", "libx264", LONG_GOP),
        ("mov", "libx265", {"x265-params": "log-level=none:keyint=20:open-gop=1:bframes=4"}),
        ("mpg", "mpeg2video", {"bf": "2", "q": "2"}),
    ],
)
def test_a_start_in_the_middle_gives_the_frames_that_skipping_gives(folder, container, codec, options):
    path = make_clip(folder / f"seek.{container}", [numbered(n) for n in range(90)], codec=codec, options=options)
    whole = list(read_frames(path))
    assert len(whole) == 90
    for start in range(0, 90, 7):
        part = list(read_frames(path, start=start, stop=start + 3))
        np.testing.assert_array_equal(part, whole[start : start + 3])


def test_stop_is_clipped_and_an_empty_range_is_empty(clip):
    assert len(list(read_frames(clip, start=88, stop=1000))) == 2
    assert list(read_frames(clip, start=90)) == [] == list(read_frames(clip, start=5, stop=5))
    with pytest.raises(OptionError, match="start is -1"):
        read_frames(clip, start=-1)


def test_repeated_frames_are_arrays_of_their_own(clip):
    first, second, *_ = read_frames(clip, rate_hz=50)
    first[:] = 0
    assert second.any()


def test_ping_pong_repeats_the_frame_at_each_turn():
    assert ping_pong(9, 3).tolist() == [0, 1, 2, 2, 1, 0, 0, 1, 2]
    assert ping_pong(2, 3).tolist() == [0, 1]
    assert ping_pong(4, 1).tolist() == [0, 0, 0, 0]


@pytest.mark.parametrize("block", [5, 32])
def test_any_order_equals_indexing(clip, frames, monkeypatch, block):
    monkeypatch.setattr("latentsync.media.frames.REVERSED_BLOCK_FRAMES", block)
    orders = [ping_pong(230, 90), np.random.default_rng(0).integers(0, 90, 12), np.array([7, 7, 5, 5, 5, 60, 3]), []]
    for order in orders:
        read = list(read_frames_in_order(clip, order))
        assert len(read) == len(order)
        assert all(np.array_equal(frame, frames[index]) for frame, index in zip(read, order, strict=True))


def test_an_order_out_of_range_is_refused(clip):
    with pytest.raises(OptionError, match="frame 90; .* frames 0 to 89"):
        read_frames_in_order(clip, [0, 90])


@pytest.mark.parametrize("counterclockwise", [90, 180, 270])
def test_a_phones_rotation_is_applied(folder, counterclockwise):
    path = make_clip(folder / f"turn{counterclockwise}.mp4", [numbered(37)] * 2, rotation=counterclockwise)
    info = probe(path)
    upright = next(read_frames(path))
    assert info.rotation == 360 - counterclockwise
    assert upright.shape == (info.height, info.width, 3)
    expected = np.rot90(numbered(37), counterclockwise // 90)
    assert np.abs(upright.astype(int) - expected).mean() < 3


def test_a_mirrored_clip_is_shown_as_a_player_shows_it(folder):
    path = make_clip(folder / "mirror.mp4", [numbered(37)] * 2, mirrored=True)
    assert np.abs(next(read_frames(path)).astype(int) - numbered(37)[:, ::-1]).mean() < 3


@pytest.mark.parametrize("codec", ["mpeg4", "libx264"])
def test_a_clip_without_frame_times_is_counted(folder, codec):
    path = make_clip(
        folder / f"untimed-{codec}.avi", [numbered(n) for n in range(50)], options={"bf": "2", "q": "2"}, codec=codec
    )
    assert [number_of(frame) for frame in read_frames(path)] == list(range(50))
    assert [number_of(frame) for frame in read_frames(path, start=33, stop=36)] == [33, 34, 35]


def test_pixels_are_made_square(folder):
    path = make_clip(folder / "wide.mp4", [numbered(1)] * 2, sample_aspect_ratio=Fraction(4, 3))
    assert (probe(path).width, probe(path).height) == (128, HEIGHT)
    assert next(read_frames(path)).shape == (HEIGHT, 128, 3)


def flat_yuv(path: Path, size: tuple[int, int], values: tuple[int, int, int], pix_fmt="yuv420p", **flags) -> Path:
    """A clip whose luma and chroma planes hold exactly the given values."""
    width, height = size
    with av.open(str(path), "w") as output:
        stream = output.add_stream("ffv1", rate=25)
        stream.width, stream.height, stream.pix_fmt = width, height, pix_fmt
        for name, value in flags.items():
            setattr(stream.codec_context, name, value)
        frame = av.VideoFrame(width, height, pix_fmt)
        kind = np.uint8 if pix_fmt == "yuv420p" else np.uint16
        for plane, value in zip(frame.planes, values, strict=True):
            plane.update(np.full(plane.buffer_size // kind().itemsize, value, kind).tobytes())
        for name, value in flags.items():
            setattr(frame, name, value)
        output.mux(stream.encode(frame))
        output.mux(stream.encode())
    return path


@pytest.mark.parametrize(
    ("size", "colorspace", "red"),
    [((96, 64), 2, 0.299), ((1280, 720), 2, 0.2126), ((96, 64), 1, 0.2126), ((1280, 720), 6, 0.299)],
)
def test_the_colour_matrix_is_the_files_or_the_players_guess(folder, size, colorspace, red):
    path = flat_yuv(
        folder / f"matrix{size[0]}-{colorspace}.mkv", size, (110, 120, 170), colorspace=colorspace, color_range=1
    )
    expected = 255 * ((110 - 16) / 219 + 2 * (1 - red) * (170 - 128) / 224)  # R = Y + 2 (1 - Kr) Pr, ITU-R BT.601 / 709
    assert abs(next(read_frames(path))[..., 0].mean() - expected) <= 0.6


@pytest.mark.slow
def test_hdr_is_brought_to_the_range_of_a_screen(folder):
    white = round(64 + 876 * 0.58)  # PQ's code for 203 cd/m2, the white of ITU-R BT.2408
    path = flat_yuv(
        folder / "hdr.mkv",
        (96, 64),
        (white, 512, 512),
        "yuv420p10le",
        colorspace=9,
        color_trc=16,
        color_primaries=9,
        color_range=1,
    )
    assert next(read_frames(path)).mean() > 200


def test_a_broken_packet_costs_only_what_depends_on_it(folder):
    path = make_clip(
        folder / "whole.mkv", [numbered(n) for n in range(60)], options={"g": "10", "bf": "0", "crf": "10"}
    )
    with av.open(str(path)) as container:
        packets = [packet for packet in container.demux(video=0) if packet.size]
        place, size = packets[23].pos, packets[23].size
    damaged = bytearray(path.read_bytes())
    damaged[place + 20 : place + size] = os.urandom(size - 20)
    broken = folder / "broken.mkv"
    broken.write_bytes(damaged)
    numbers = [number_of(frame) for frame in read_frames(broken)]
    assert len(numbers) == 60
    assert numbers[:23] == list(range(23)) and numbers[30:] == list(range(30, 60))


def test_a_packet_that_does_not_decode_is_passed_over(folder):
    path = make_clip(folder / "whole-png.mov", [numbered(n) for n in range(9)], codec="png", pix_fmt="rgb24")
    with av.open(str(path)) as container:
        packet = [packet for packet in container.demux(video=0) if packet.size][4]
        place, size = packet.pos, packet.size
    damaged = bytearray(path.read_bytes())
    damaged[place + 12 : place + size] = bytes(size - 12)
    broken = folder / "broken-png.mov"
    broken.write_bytes(damaged)
    assert [number_of(frame) for frame in read_frames(broken)] == [0, 1, 2, 3, 3, 5, 6, 7, 8]


def test_what_is_no_clip_is_told_in_a_sentence(folder):
    empty, garbage, voice = folder / "empty.mp4", folder / "garbage.mp4", folder / "only-sound.wav"
    empty.touch()
    garbage.write_bytes(b"no film" * 500)
    make_sound(voice, tone(16000, 0.5), 16000, "pcm_s16le", "s16")
    for path, what in [
        (folder / "missing.mp4", "does not exist"),
        (folder, "is a folder"),
        (empty, "is empty"),
        (garbage, "cannot be read as a video"),
        (voice, "has no video stream"),
    ]:
        with pytest.raises(MediaError, match=what) as caught:
            read_frames(path)
        assert path.name in str(caught.value) and "\n" not in str(caught.value)


@pytest.mark.slow
def test_memory_does_not_grow_with_the_clip(folder):
    statm = Path("/proc/self/statm")
    if not statm.exists():
        pytest.skip("this system does not say how much memory is resident")
    picture = np.zeros((480, 640, 3), np.uint8)
    path = make_clip(folder / "long.mp4", [picture] * 500, options={"preset": "ultrafast"})

    def resident_mb() -> float:
        return int(statm.read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE") / 2**20

    levels = [resident_mb() for number, _ in enumerate(read_frames(path)) if number % 50 == 49]
    assert max(levels[1:]) - levels[0] < 60  # all frames together are 440 MB


@pytest.mark.slow
def test_real_clip_seeks_exactly(shared):
    path = shared / "media" / "m-demo2.mp4"
    assert probe(path).num_frames == 502
    late = next(read_frames(path, start=120))
    for number, frame in enumerate(read_frames(path, stop=121)):
        if number == 120:
            np.testing.assert_array_equal(late, frame)


# ---- sound in ----


def test_sound_is_whispers_own_loading(shared, golden):
    safetensors = pytest.importorskip("safetensors.numpy")
    expected = safetensors.load_file(golden / "whisper_small_io.safetensors")["audio_int16"].ravel()
    sound = read_sound(shared / "media" / "g-demo1.wav")
    assert sound.dtype == np.float32
    np.testing.assert_array_equal(sound[: expected.size] * 32768, expected)


@pytest.mark.parametrize(
    ("name", "codec", "sample_format", "rate_hz"),
    [
        ("a.wav", "pcm_s16le", "s16", 16000),
        ("a.flac", "flac", "s16", 44100),
        ("a.mp3", "libmp3lame", "s16p", 44100),
        ("a.m4a", "aac", "fltp", 48000),
    ],
)
def test_sound_of_every_usual_kind(folder, name, codec, sample_format, rate_hz):
    path = make_sound(folder / name, tone(rate_hz, 1.5, channels=2), rate_hz, codec, sample_format)
    info, sound = probe_sound(path), read_sound(path)
    assert (info.rate_hz, info.channels) == (rate_hz, 2)
    assert info.duration_s == pytest.approx(1.5, abs=0.025)  # AAC pads its last packet
    assert sound.size == pytest.approx(info.duration_s * 16000, abs=2)
    clock = np.arange(8000) / 16000 + 0.5
    pitch = np.exp(2j * np.pi * 220 * clock)
    assert np.angle(sound[8000:16000] @ pitch) == pytest.approx(np.pi / 2, abs=0.05)  # a sine that began at time 0


def test_wav_at_16_khz_is_taken_sample_by_sample(folder):
    samples = tone(16000, 0.3)
    path = make_sound(folder / "exact.wav", samples, 16000, "pcm_s16le", "s16")
    np.testing.assert_array_equal(read_sound(path) * 32768, samples[0])


def test_what_is_no_voice_is_told_in_a_sentence(folder, clip):
    nothing = folder / "nothing.wav"
    with wave.open(str(nothing), "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(16000)
    for path, what in [
        (clip, "has no sound stream"),
        (nothing, "holds no sound"),
        (folder / "no.wav", "does not exist"),
    ]:
        for read in (read_sound, probe_sound):
            with pytest.raises(MediaError, match=what):
                read(path)


# ---- video out ----


def test_a_written_video_reads_back(folder):
    path = write_video(folder / "-o d d'\"$(x) %d.mp4", 30, title="a title", comment="synthetic: lips")
    assert [number_of(frame) for frame in read_frames(path)] == list(range(30))
    with av.open(str(path)) as container:
        assert container.metadata["comment"] == "synthetic: lips" and container.metadata["title"] == "a title"
        stream = container.streams.video[0]
        assert (stream.codec_context.name, stream.pix_fmt, stream.start_time) == ("h264", "yuv420p", 0)
        assert (stream.duration * stream.time_base, stream.average_rate) == (Fraction(30, 25), 25)
    content = path.read_bytes()
    assert content.index(b"moov") < content.index(b"mdat")  # plays while it loads


def test_colours_survive_writing_and_reading(folder):
    ramp = np.stack(np.meshgrid(np.linspace(30, 220, 96), np.linspace(30, 220, 64)), axis=-1)
    picture = np.concatenate([ramp, 250 - ramp[..., :1]], axis=-1).astype(np.uint8)
    path = folder / "colour.mp4"
    with VideoWriter(path, 96, 64, crf=0) as writer:
        writer.write(picture)
    difference = next(read_frames(path)).astype(int) - picture
    assert np.abs(difference).mean() < 0.5 and np.abs(difference.mean(axis=(0, 1))).max() < 0.1
    with av.open(str(path)) as container:
        context = container.streams.video[0].codec_context
        assert (context.colorspace, context.color_primaries, context.color_trc, context.color_range) == (1, 1, 1, 1)


def test_an_odd_size_loses_its_last_row_and_column(folder):
    path = folder / "odd.mp4"
    with VideoWriter(path, 95, 63) as writer:
        writer.write(np.ascontiguousarray(numbered(5)[:63, :95]))
        with pytest.raises(ValueError, match="the video takes uint8"):
            writer.write(numbered(5))
        writer.write(np.ascontiguousarray(numbered(6)[:63, :95]))
    assert (probe(path).width, probe(path).height) == (94, 62)


@pytest.mark.parametrize(
    ("codec", "sample_format", "kind", "rate_hz", "channels"),
    [
        ("pcm_s16le", "s16", np.int16, 16000, 1),
        ("pcm_s16le", "s16", np.int16, 44100, 3),
        ("pcm_s24le", "s32", np.int32, 48000, 2),
        ("pcm_s24le", "s32", np.int32, 96000, 1),
    ],
)
def test_lossless_sound_is_kept_to_the_sample(folder, codec, sample_format, kind, rate_hz, channels):
    samples = tone(rate_hz, 1.2, channels, kind)
    voice = make_sound(folder / f"voice-{codec}-{rate_hz}-{channels}.wav", samples, rate_hz, codec, sample_format)
    video = write_video(folder / "lossless.mp4", 30, sound=voice, sound_coding="lossless")
    stored, stored_rate_hz = decoded_sound(video)
    assert (probe_sound(video).codec, stored_rate_hz) == ("flac", rate_hz)
    np.testing.assert_array_equal(stored, samples)


def test_float_sound_is_kept_to_24_bits(folder):
    samples = tone(44100, 1.0, 2, np.float32)
    voice = make_sound(folder / "float.wav", samples, 44100, "pcm_f32le", "flt")
    stored, _ = decoded_sound(write_video(folder / "float.mp4", 25, sound=voice, sound_coding="lossless"))
    assert np.abs(stored / 2**31 - samples).max() <= 2**-23


@pytest.mark.parametrize(
    ("name", "codec", "sample_format"),
    [("b.mp3", "libmp3lame", "s16p"), ("b.m4a", "aac", "fltp"), ("b.mkv", "aac", "fltp")],
)
def test_compressed_sound_is_copied_and_stays_in_place(folder, name, codec, sample_format):
    voice = make_sound(folder / name, tone(44100, 1.2), 44100, codec, sample_format)
    video = write_video(folder / f"copied-{name}.mp4", 30, sound=voice, sound_coding="copy")
    assert packet_bytes(video) == packet_bytes(voice)
    first, second = read_sound(video), read_sound(voice)
    same = second.size - 20  # the resampler's tail; what a file's own padding rule drops at the end may be kept
    np.testing.assert_array_equal(first[:same], second[:same])
    assert 0 <= first.size - second.size <= 0.027 * 16000
    with av.open(str(video)) as container:
        assert container.streams.audio[0].start_time == 0 == container.streams.video[0].start_time
        assert next(container.decode(audio=0)).pts == 0


def test_other_sound_becomes_aac(folder):
    voice = make_sound(folder / "voice.opus", tone(48000, 1.2, 2), 48000, "libopus", "s16")
    video = write_video(folder / "opus.mp4", 30, sound=voice)
    info = probe_sound(video)
    assert (info.codec, info.rate_hz, info.channels) == ("aac", 48000, 2)
    first, second = read_sound(video), read_sound(voice)
    assert np.corrcoef(first[1000:18000], second[1000:18000])[0, 1] > 0.95


@pytest.mark.parametrize(("seconds", "expected"), [(0.5, 0.5), (1.0, 1.0), (1.039, 1.039), (1.5, 1.0), (9.0, 1.0)])
def test_sound_is_cut_only_where_it_outlasts_the_video_by_a_frame(folder, seconds, expected):
    voice = make_sound(folder / "length.wav", tone(16000, seconds), 16000, "pcm_s16le", "s16")
    video = write_video(folder / "length.mp4", 25, sound=voice, sound_coding="lossless")
    assert probe(video).num_frames == 25
    np.testing.assert_array_equal(read_sound(video), read_sound(voice)[: round(expected * 16000)])


def test_copied_sound_is_cut_at_a_packet(folder):
    voice = make_sound(folder / "long.mp3", tone(44100, 3.0), 44100, "libmp3lame", "s16p")
    video = write_video(folder / "cut.mp4", 25, sound=voice, sound_coding="copy")
    assert probe_sound(video).duration_s == pytest.approx(1.0, abs=0.027)


def test_pictures_and_sound_lie_side_by_side_in_the_file(folder):
    voice = make_sound(folder / "long.wav", tone(16000, 16.0), 16000, "pcm_s16le", "s16")
    video = write_video(folder / "interleaved.mp4", 400, sound=voice)
    with av.open(str(video)) as container:
        packets = sorted((p.pos, float(p.pts * p.time_base), p.stream.type) for p in container.demux() if p.size)
    video_s = sound_s = 0.0
    for _, time, kind in packets:
        video_s, sound_s = (time, sound_s) if kind == "video" else (video_s, time)
        assert abs(video_s - sound_s) < 1.5


def test_a_wav_file_gives_back_its_samples_and_says_what_it_holds(tmp_path):
    path, samples = tmp_path / "new" / "voice.wav", np.array([0, 1, -1, 32767, -32768], np.int16)
    write_wav(path, samples, 8000)
    read, rate_hz = read_wav(path)
    np.testing.assert_array_equal(read, samples)
    assert rate_hz == 8000 and read.dtype == np.int16
    assert probe_wav(path) == SoundInfo(path, 5 / 8000, 8000, 1, "pcm_s16le", 5)
    np.testing.assert_array_equal(to_int16(to_float(samples)), samples)
    np.testing.assert_array_equal(read_sound(path, 8000), to_float(samples))


def test_what_is_no_mono_16_bit_wav_file_is_refused(tmp_path):
    path = tmp_path / "a.wav"
    for content in (None, b"", b"no sound"):
        if content is not None:
            path.write_bytes(content)
        with pytest.raises(MediaError, match="a.wav is no WAV file"):
            read_wav(path)
    with wave.open(str(path), "wb") as file:
        file.setnchannels(2)
        file.setsampwidth(3)
        file.setframerate(16000)
        file.writeframes(bytes(12))
    assert probe_wav(path) == SoundInfo(path, 2 / 16000, 16000, 2, "pcm_s24le", 2)
    with pytest.raises(MediaError, match="2 channels of 24 bits.*mono 16-bit"):
        read_wav(path)


def test_media_landmarks_and_speakers_load_without_torch():
    names = "latentsync.media.excerpt, latentsync.faces.landmarks, latentsync.speakers.clip, latentsync.constants"
    loaded = subprocess.run([sys.executable, "-c", f"import sys, {names}; print('torch' in sys.modules)"], text=True,
                            capture_output=True, check=True)  # fmt: skip
    assert loaded.stdout == "False\n"


def test_nothing_appears_until_the_video_is_complete(tmp_path):
    path = tmp_path / "out.mp4"
    with pytest.raises(KeyboardInterrupt), VideoWriter(path, WIDTH, HEIGHT) as writer:
        for number in range(90):  # more than the encoder holds back
            writer.write(numbered(number))
        assert [entry.name.startswith(".part-") for entry in tmp_path.iterdir()] == [True]
        raise KeyboardInterrupt
    assert list(tmp_path.iterdir()) == []
    with pytest.raises(MediaError, match="no frame came"), VideoWriter(path, WIDTH, HEIGHT):
        pass
    with pytest.raises(MediaError, match="does not exist"), VideoWriter(path, WIDTH, HEIGHT, sound=tmp_path / "no.wav"):
        pass
    assert list(tmp_path.iterdir()) == []
    with (
        pytest.raises(MediaError, match="the folder .* does not exist"),
        VideoWriter(tmp_path / "no" / "a.mp4", 64, 64),
    ):
        pass
