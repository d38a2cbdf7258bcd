"""What kinds of files are taken, and what a reader makes of them: known answers on tiny files made here."""

import os
import tomllib
import tracemalloc
import wave
from dataclasses import replace
from fractions import Fraction
from functools import cache
from pathlib import Path

import av
import cv2
import numpy as np
import pytest
from packaging.requirements import Requirement
from packaging.version import Version
from PIL import Image

from latentsync.audio.features import log_mel
from latentsync.errors import MediaError, OptionError
from latentsync.lab.cells.cell import attempt, options_for
from latentsync.lab.cells.outcome import Outcome, outcome_line
from latentsync.lab.measuring.sets import measure_sets
from latentsync.lab.options.compose import configured
from latentsync.lab.options.pairs import Pair, find_pairs, pairs_of
from latentsync.lab.options.schema import DataConfig, read_config
from latentsync.media import VideoWriter, probe, probe_sound, read_frames, read_frames_in_order, read_sound
from latentsync.media.colour import HLG, PQ, light_of_hlg, light_of_pq, pq_of_light, sdr_of_light, tone_mapped
from latentsync.media.departures import departures, reading_notes
from latentsync.media.interlace import INTERLACED
from latentsync.media.kinds import kinds_in, summary_lines
from latentsync.media.sound import has_sound, sound_conversions

ROOT = Path(__file__).resolve().parents[1]
RNG = np.random.default_rng(7)
NOISE = (RNG.normal(0, 0.1, 8000) * 32767).astype(np.int16)  # half a second of sound


def names_of(conversions):
    return [one.name for one in conversions]


def write_video(path, pictures, rate=25, codec="libx264", pix_fmt="yuv420p", options=None, flags=(), container=None):
    """A clip of RGB pictures, or of frames that are ready."""
    with av.open(str(path), "w", format=container) as file:
        stream = file.add_stream(codec, rate=rate, options=options or {})
        first = pictures[0]
        stream.height, stream.width = (first.height, first.width) if hasattr(first, "height") else first.shape[:2]
        stream.pix_fmt = pix_fmt
        for name, value in dict(flags).items():
            setattr(stream.codec_context, name, value)
        for number, picture in enumerate(pictures):
            frame = picture if hasattr(picture, "height") else av.VideoFrame.from_ndarray(picture, format="rgb24")
            frame.pts, frame.time_base = number, 1 / Fraction(rate)
            file.mux(stream.encode(frame))
        file.mux(stream.encode())
    return path


def write_sound(path, samples=NOISE, codec="pcm_s16le", rate=16000, container=None, cover=False):
    """A sound file of int16 samples, `(n,)` or `(n, channels)`; with a cover picture if wanted."""
    samples = samples.reshape(len(samples), -1)
    layout = {1: "mono", 2: "stereo"}[samples.shape[1]]
    with av.open(str(path), "w", format=container) as file:
        stream = file.add_stream(codec, rate=rate, layout=layout)
        if cover:
            picture = file.add_stream("mjpeg", rate=1)
            picture.width = picture.height = 64
            picture.pix_fmt = "yuvj420p"
            picture.disposition = av.stream.Disposition.attached_pic
        frame = av.AudioFrame.from_ndarray(np.ascontiguousarray(samples.reshape(1, -1)), format="s16", layout=layout)
        frame.sample_rate, frame.pts = 16000, 0
        if cover:
            shown = av.VideoFrame.from_ndarray(np.full((64, 64, 3), 90, np.uint8), format="rgb24")
            file.mux(picture.encode(shown))
            file.mux(picture.encode())
        for part in av.AudioResampler(stream.format.name, layout, rate, stream.codec_context.frame_size or 0).resample(
            frame
        ):
            file.mux(stream.encode(part))
        file.mux(stream.encode())
    return path


# --- HDR ---


def hdr_frame(levels, fmt="yuv420p10le", trc=18):
    """A flat frame of Y, Cb, Cr levels of 10 bit, flagged as BT.2020 with a transfer."""
    frame = av.VideoFrame(64, 48, fmt)
    for plane, level in zip(frame.planes, levels, strict=True):
        plane.update(np.full(plane.buffer_size // 2, level, "<u2").tobytes())
    frame.colorspace, frame.color_primaries, frame.color_trc, frame.color_range = 9, 9, trc, 1
    return frame


def ycc_of(code):
    """Y, Cb, Cr of 10 bit in BT.2020 from RGB levels 0..1."""
    y = float(np.dot(code, [0.2627, 0.6780, 0.0593]))
    return [round(64 + 876 * y), round(512 + 896 * (code[2] - y) / 1.8814), round(512 + 896 * (code[0] - y) / 1.4746)]


def hdr_clip(path, code, trc):
    flags = {"colorspace": 9, "color_primaries": 9, "color_trc": trc, "color_range": 1}
    frames = [hdr_frame(ycc_of(code), trc=trc) for _ in range(3)]
    return write_video(path, frames, codec="ffv1", pix_fmt="yuv420p10le", flags=flags)


FROM_709 = np.array([[0.6274, 0.3293, 0.0433], [0.0691, 0.9195, 0.0114], [0.0164, 0.0880, 0.8956]])
SKIN = np.array([150, 105, 80])


def light_of_skin():
    """Display light of the skin in BT.2020, where SDR white is 203 cd/m2 (BT.1886, BT.2408)."""
    return FROM_709 @ (203 * (SKIN / 255) ** 2.4)


@pytest.mark.parametrize("transfer", ["hlg", "pq"])
def test_skin_in_hdr_has_the_levels_that_it_has_in_sdr(tmp_path, transfer):
    light = light_of_skin()
    if transfer == "pq":
        code, trc, name = pq_of_light(light), 16, PQ
    else:  # the inverse of the OOTF and the OETF of HLG, BT.2100
        luma = float(np.dot(light, [0.2627, 0.6780, 0.0593])) / 1000
        scene = light / 1000 * luma ** (1 / 1.2 - 1)
        bright = 0.17883277 * np.log(np.maximum(12 * scene - 0.28466892, 1e-9)) + 0.55991073
        code = np.where(scene <= 1 / 12, np.sqrt(3 * scene), bright)
        trc, name = 18, HLG
    path = hdr_clip(tmp_path / "hdr.mkv", code, trc)
    np.testing.assert_allclose(next(read_frames(path))[20, 20], SKIN, atol=2)
    assert probe(path).conversions == (name,)


def test_the_curves_of_hdr_have_the_published_values():
    # BT.2408 table 1: reference white is 75 % of HLG and 58 % of PQ, both 203 cd/m2
    assert light_of_hlg(np.full((1, 3), 0.75))[0, 0] == pytest.approx(203, abs=1)
    assert light_of_pq(np.array([0.58]))[0] == pytest.approx(203, abs=2)
    assert light_of_pq(np.array([0.0, 1.0])) == pytest.approx([0, 10000])
    assert tone_mapped(np.array([50.0, 1000.0, 4000.0])) == pytest.approx([50, 203, 203], rel=1e-3)
    assert np.all(np.diff(tone_mapped(np.linspace(0, 1000, 200))) > 0)
    grey = sdr_of_light(np.full((1, 3), 60.0))
    assert np.ptp(grey) < 1e-3 and grey[0, 0] == pytest.approx((60 / 203) ** (1 / 2.4), abs=1e-3)


def test_hdr_white_is_bright_and_peaks_are_white(tmp_path):
    white = next(read_frames(hdr_clip(tmp_path / "white.mkv", np.full(3, 0.75), 18)))[0, 0]
    peak = next(read_frames(hdr_clip(tmp_path / "peak.mkv", np.ones(3), 18)))[0, 0]
    assert white.min() >= 225 and white.max() <= 235 and np.ptp(white) <= 1
    assert peak.min() >= 254


def test_the_table_keeps_every_level_that_the_curve_keeps(tmp_path):
    """A ramp in PQ, against the curve itself: the table and swscale together are within one level."""
    frame = hdr_frame([64, 512, 512], trc=16)
    ramp = np.zeros((48, frame.planes[0].line_size // 2), "<u2")
    ramp[:, :64] = np.linspace(64, 940, 64).round()
    frame.planes[0].update(ramp.tobytes())
    flags = {"colorspace": 9, "color_primaries": 9, "color_trc": 16, "color_range": 1}
    path = write_video(tmp_path / "ramp.mkv", [frame], codec="ffv1", pix_fmt="yuv420p10le", flags=flags)
    meant = 255 * sdr_of_light(light_of_pq(np.repeat((ramp[0, :64, None] - 64.0) / 876, 3, axis=1)))
    assert np.abs(next(read_frames(path))[20] - meant).max() <= 1.1


def test_sdr_of_10_bit_keeps_its_levels_and_says_nothing(tmp_path):
    frames = [hdr_frame(ycc_of(np.array([0.6, 0.5, 0.4])), trc=1) for _ in range(2)]
    flags = {"colorspace": 9, "color_primaries": 9, "color_trc": 1, "color_range": 1}
    path = write_video(tmp_path / "ten.mkv", frames, codec="ffv1", pix_fmt="yuv420p10le", flags=flags)
    np.testing.assert_allclose(next(read_frames(path))[20, 20], [153, 127.5, 102], atol=1)
    assert probe(path).conversions == ()


@pytest.mark.parametrize(("trc", "is_taken"), [(18, True), (16, True), (2, False)])
def test_dolby_vision_is_read_by_its_base_layer_or_refused(tmp_path, trc, is_taken):
    frames = [hdr_frame(ycc_of(np.array([0.5, 0.45, 0.4])), trc=trc) for _ in range(2)]
    flags = {"colorspace": 9 if is_taken else 2, "color_primaries": 9 if is_taken else 2, "color_trc": trc}
    options = {"x265-params": "log-level=0:bframes=0"}  # with B-frames, x265 gives a clip of two frames random times
    path = write_video(tmp_path / "a.mp4", frames, 25, "libx265", "yuv420p10le", options, flags)
    path.write_bytes(path.read_bytes().replace(b"hev1", b"dvh1"))
    if is_taken:
        assert names_of(probe(path).conversions) == [{18: "hlg-1", 16: "pq-1"}[trc]]
    else:
        with pytest.raises(MediaError, match="profile 5.*export it as HDR10"):
            probe(path)


def test_hdr_reads_alike_in_every_order(tmp_path):
    frames = [hdr_frame(ycc_of(np.full(3, 0.1 + 0.08 * n)), trc=18) for n in range(8)]
    flags = {"colorspace": 9, "color_primaries": 9, "color_trc": 18, "color_range": 1}
    path = write_video(tmp_path / "hdr.mkv", frames, codec="ffv1", pix_fmt="yuv420p10le", flags=flags)
    inorder = list(read_frames(path))
    for frame, index in zip(read_frames_in_order(path, [5, 4, 3, 3, 4, 7, 0]), [5, 4, 3, 3, 4, 7, 0], strict=True):
        np.testing.assert_array_equal(frame, inorder[index])


# --- interlaced ---


@cache
def wall():
    noise = np.random.default_rng(3).integers(0, 255, (96, 400)).astype(np.uint8)
    return cv2.normalize(cv2.GaussianBlur(noise, (0, 0), 4), None, 0, 255, cv2.NORM_MINMAX)


def woven(number):
    """A picture whose two fields are of two moments: a wall that moves by 6 px a field."""
    picture = np.zeros((96, 128), np.uint8)
    for field in (0, 1):
        shift = 6 * (2 * number + field)
        picture[field::2] = wall()[field::2, shift : shift + 128]
    return np.repeat(picture[..., None], 3, axis=2)


def combs(picture):
    """How much neighbouring rows differ, in relation to rows two apart; above 1 there are combs."""
    rows = picture[..., 1].astype(float)
    return np.abs(np.diff(rows, axis=0)).mean() / np.abs(rows[2:] - rows[:-2]).mean()


@pytest.mark.parametrize(
    ("name", "codec", "options"),
    [
        ("film.mkv", "libx264", {"x264-params": "interlaced=1:tff=1:bframes=2:keyint=6", "crf": "8"}),
        ("tape.mpg", "mpeg2video", {"flags": "+ildct+ilme", "g": "5", "b": "9000000"}),
    ],
)
def test_interlaced_pictures_are_made_whole(tmp_path, name, codec, options):
    path = write_video(tmp_path / name, [woven(n) for n in range(20)], codec=codec, options=options)
    assert probe(path).conversions == (INTERLACED,)
    inorder = list(read_frames(path))
    assert len(inorder) == probe(path).num_frames == 20
    assert combs(woven(5)) > 1.5 and all(combs(frame) < 1 for frame in inorder[1:-1])
    for start in (1, 6, 7, 13):  # a start in the middle has the picture before it too
        np.testing.assert_array_equal(next(read_frames(path, start=start)), inorder[start])
    made = inorder[9][10:-10, 10:-10, 1].astype(float)  # of one moment, that of one of its two fields
    assert min(np.abs(made - wall()[10:-10, shift + 10 : shift + 118]).mean() for shift in (108, 114)) < 4


def test_progressive_pictures_are_left_alone(tmp_path):
    path = write_video(tmp_path / "film.mkv", [woven(n) for n in range(6)], options={"crf": "0"})
    assert probe(path).conversions == ()
    assert all(combs(frame) > 1.5 for frame in read_frames(path))


# --- transparency, stills ---


def test_transparent_parts_are_shown_on_black_with_a_notice(tmp_path):
    picture = np.full((64, 64, 4), (200, 100, 50, 255), np.uint8)
    picture[:, 32:, 3] = 0
    picture[:32, :32, 3] = 128
    Image.fromarray(picture).save(tmp_path / "cut-out.png")
    frame = next(read_frames(tmp_path / "cut-out.png"))
    assert frame[48, 10].tolist() == [200, 100, 50] and frame[10, 40].tolist() == [0, 0, 0]
    assert frame[10, 10].tolist() == [100, 50, 25]
    assert names_of(probe(tmp_path / "cut-out.png").conversions) == ["still-1", "alpha-1"]
    picture[..., 3] = 255
    Image.fromarray(picture).save(tmp_path / "whole.png")
    assert names_of(probe(tmp_path / "whole.png").conversions) == ["still-1"]


@pytest.mark.parametrize(
    ("name", "mode", "kind"),
    [
        ("a.png", "RGB", {}), ("b.jpg", "RGB", {"quality": 95}), ("c.webp", "RGB", {"lossless": True}),
        ("d.bmp", "RGB", {}), ("e.tif", "RGB", {}), ("f.gif", "P", {}), ("g.png", "P", {}), ("h.png", "L", {}),
        ("i%03d.png", "RGB", {}), ("who?.jpg", "RGB", {"quality": 95}), ("j.jpg", "L", {"quality": 95}),
    ],
)  # fmt: skip
def test_a_still_picture_is_a_clip_of_one_picture(tmp_path, name, mode, kind):
    picture = np.full((64, 96, 3), 90, np.uint8)
    picture[:, 48:] = 180
    image = Image.fromarray(picture)
    (image.quantize() if mode == "P" else image.convert(mode)).save(tmp_path / name, **kind)
    info = probe(tmp_path / name)
    assert (info.width, info.height, info.source_rate_hz, info.has_sound) == (96, 64, 25, False)
    frame = next(read_frames(tmp_path / name))
    np.testing.assert_allclose(frame[30, 20], 90, atol=3)
    np.testing.assert_allclose(frame[30, 80], 180, atol=3)
    assert len(list(read_frames_in_order(tmp_path / name, [0] * 50))) == 50
    assert names_of(info.conversions) == ["still-1"]


def test_a_photo_is_turned_as_its_camera_says(tmp_path):
    picture = np.zeros((64, 96, 3), np.uint8)
    picture[:20, :20] = 255  # stored: top left; with orientation 6 it is shown at the top right
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.fromarray(picture).save(tmp_path / "turned.jpg", exif=exif, quality=95)
    info, frame = probe(tmp_path / "turned.jpg"), next(read_frames(tmp_path / "turned.jpg"))
    assert (info.width, info.height) == (64, 96) and frame.shape == (96, 64, 3)
    assert frame[5, -5].min() > 200 and frame[5, 5].max() < 50


def test_a_gif_plays_at_its_own_pace(tmp_path):
    pictures = [Image.fromarray(np.full((64, 64, 3), 60 * n, np.uint8)) for n in range(4)]
    pictures[0].save(tmp_path / "a.gif", save_all=True, append_images=pictures[1:], duration=[80, 40, 40, 120], loop=0)
    info = probe(tmp_path / "a.gif")
    assert info.num_frames == 7 and info.duration_s == pytest.approx(0.28)
    assert [round(float(frame.mean()) / 60) for frame in read_frames(tmp_path / "a.gif")] == [0, 0, 1, 2, 3, 3, 3]


def test_an_animated_webp_is_refused_with_the_remedy(tmp_path):
    pictures = [Image.fromarray(np.full((64, 64, 3), 60 * n, np.uint8)) for n in range(3)]
    pictures[0].save(tmp_path / "a.webp", save_all=True, append_images=pictures[1:], duration=40)
    with pytest.raises(MediaError, match="save an animated WebP as GIF or MP4"):
        probe(tmp_path / "a.webp")


def test_a_heic_picture_is_refused_with_the_remedy(tmp_path):
    whole = write_video(tmp_path / "x.mp4", [np.zeros((64, 64, 3), np.uint8)]).read_bytes()
    (tmp_path / "photo.heic").write_bytes(whole[:8] + b"heic" + whole[12:])
    with pytest.raises(MediaError, match="HEIC picture.*save it as JPEG or PNG"):
        probe(tmp_path / "photo.heic")


# --- sound ---


@pytest.mark.parametrize(
    ("name", "codec", "rate", "container"),
    [
        ("a.opus", "libopus", 48000, "ogg"), ("b.ogg", "libopus", 48000, "ogg"), ("c.webm", "libopus", 48000, None),
        ("d.aac", "aac", 16000, "adts"), ("e.mp4", "aac", 16000, None), ("f.m4a", "aac", 16000, "ipod"),
        ("g.aiff", "pcm_s16be", 16000, None), ("h.caf", "pcm_s16le", 16000, None), ("i.mka", "libopus", 48000, None),
        ("k.mp2", "mp2", 16000, None), ("l.ac3", "ac3", 48000, None),
        ("m.mp3", "mp3", 8000, None), ("n.wav", "pcm_mulaw", 8000, None), ("o.flac", "flac", 16000, None),
        ("p.au", "pcm_s16be", 16000, None), ("q.amr", "libopencore_amrnb", 8000, None),
    ],
)  # fmt: skip
def test_sound_of_every_kind_is_a_voice(tmp_path, name, codec, rate, container):
    path = write_sound(tmp_path / name, codec=codec, rate=rate, container=container)
    sound = read_sound(path)
    assert 0.45 <= len(sound) / 16000 <= 0.6
    assert 0.02 < np.sqrt((sound**2).mean()) < 0.2
    with pytest.raises(MediaError, match="no video stream"):
        probe(path)


@pytest.mark.parametrize(("name", "codec", "container"), [("a.mp3", "mp3", None), ("b.m4a", "aac", "mp4")])
def test_the_cover_of_a_song_is_no_clip(tmp_path, name, codec, container):
    path = write_sound(tmp_path / name, codec=codec, container=container, cover=True)
    with av.open(str(path)) as file:
        assert len(file.streams.video) == 1
    with pytest.raises(MediaError, match="no video stream"):
        probe(path)
    assert len(read_sound(path)) > 7000


def test_channels_that_cancel_out_are_read_from_the_louder_one(tmp_path):
    path = write_sound(tmp_path / "opposite.wav", np.stack([NOISE // 2, -NOISE], 1))
    np.testing.assert_array_equal(
        read_sound(write_sound(tmp_path / "o.wav", np.stack([NOISE, -NOISE], 1))), NOISE / 32768
    )
    sound = read_sound(write_sound(tmp_path / "louder.wav", np.stack([-(NOISE * 0.9).astype(np.int16), NOISE], 1)))
    np.testing.assert_array_equal(sound, NOISE / 32768)
    assert names_of(sound_conversions(tmp_path / "louder.wav")) == ["channel-1-1"]
    assert sound_conversions(path) == ()  # half of it is left in the mix


@pytest.mark.parametrize("other", [NOISE, NOISE * 0, RNG.permutation(NOISE)], ids=["equal", "one side", "unrelated"])
def test_usual_stereo_is_mixed_as_ffmpeg_does(tmp_path, other):
    path = write_sound(tmp_path / "stereo.wav", np.stack([NOISE, other], 1))
    assert sound_conversions(path) == ()
    np.testing.assert_allclose(read_sound(path) * 32768, (NOISE.astype(float) + other) / 2, atol=1)


def test_a_track_without_samples_is_no_sound(tmp_path):
    with av.open(str(tmp_path / "muted.mkv"), "w") as file:
        video, _ = file.add_stream("libx264", rate=25), file.add_stream("libopus", rate=48000)
        video.width = video.height = 64
        video.pix_fmt = "yuv420p"
        for number in range(5):
            file.mux(
                video.encode(av.VideoFrame.from_ndarray(np.full((64, 64, 3), 9 * number, np.uint8), format="rgb24"))
            )
        file.mux(video.encode())
    with av.open(str(tmp_path / "muted.mkv")) as file:
        assert len(file.streams.audio) == 1
    assert not has_sound(tmp_path / "muted.mkv") and not probe(tmp_path / "muted.mkv").has_sound
    with pytest.raises(MediaError, match="holds no sound"):
        read_sound(tmp_path / "muted.mkv")


def two_tracks(path, default=1):
    with av.open(str(path), "w") as file:
        streams = [file.add_stream("pcm_s16le", rate=16000, layout="mono") for _ in range(2)]
        streams[default].disposition = av.stream.Disposition.default
        streams[1 - default].disposition = av.stream.Disposition(0)
        for stream, samples in zip(streams, (NOISE, NOISE[::-1]), strict=True):
            frame = av.AudioFrame.from_ndarray(np.ascontiguousarray(samples)[None], format="s16", layout="mono")
            frame.sample_rate, frame.pts = 16000, 0
            file.mux(stream.encode(frame))
            file.mux(stream.encode())
    return path


@pytest.mark.parametrize("default", [0, 1])
def test_of_several_sound_tracks_the_default_one_is_the_voice(tmp_path, default):
    path, both = two_tracks(tmp_path / "two.mka", default), (NOISE / 32768, NOISE[::-1] / 32768)
    np.testing.assert_array_equal(read_sound(path), both[default])
    for track in (0, 1):
        np.testing.assert_array_equal(read_sound(path, track=track), both[track])
    with pytest.raises(MediaError, match="no sound track 2; it has 2"):
        read_sound(path, track=2)


@pytest.mark.parametrize(("track", "kept"), [(None, NOISE), (1, NOISE[::-1])])
def test_the_chosen_track_is_the_sound_of_the_result(tmp_path, track, kept):
    path = two_tracks(tmp_path / "two.mka", default=0)
    with VideoWriter(tmp_path / "out.mp4", 64, 64, sound=path, sound_coding="lossless", sound_track=track) as writer:
        for _ in range(15):
            writer.write(np.zeros((64, 64, 3), np.uint8))
    np.testing.assert_array_equal(read_sound(tmp_path / "out.mp4")[: len(NOISE)], kept / 32768)


def test_the_track_of_the_configuration_is_that_of_every_pair():
    pairs = pairs_of(DataConfig(voice_track=1)).pairs
    assert [pair.voice_track for pair in pairs] == [1, 1]
    assert pairs_of(DataConfig()).pairs[0].voice_track is None
    with pytest.raises(OptionError, match="voice_track is -1"):
        DataConfig(voice_track=-1)


def test_a_track_that_cannot_be_decoded_gives_way_to_one_that_can(tmp_path):
    path = two_tracks(tmp_path / "two.mka", default=0)
    data = path.read_bytes()
    (tmp_path / "odd.mka").write_bytes(data.replace(b"A_PCM/INT/LIT", b"A_ZZZ/INT/LIT", 1))
    np.testing.assert_array_equal(read_sound(tmp_path / "odd.mka"), NOISE[::-1] / 32768)
    with pytest.raises(MediaError, match="does not know; convert it to WAV"):
        read_sound(tmp_path / "odd.mka", track=0)


@pytest.mark.parametrize("block", [7, 40, 300])
def test_a_long_voice_gives_the_same_features_block_by_block(monkeypatch, block):
    whole = log_mel(NOISE.astype(np.float32) / 32768)
    monkeypatch.setattr("latentsync.audio.features.MEL_BLOCK", block)
    np.testing.assert_allclose(log_mel(NOISE.astype(np.float32) / 32768), whole, atol=2e-6)


@pytest.mark.slow
def test_a_long_voice_is_in_memory_once(tmp_path):
    """Numbers of bytes that numpy and Python hold at most while 10 minutes are read: the samples as int16 and float32,
    which is 6 bytes a sample, and some for the growing buffer."""
    path = wav(tmp_path / "long.wav", samples=np.tile(NOISE, 1200))
    read_sound(wav(tmp_path / "short.wav"))
    tracemalloc.start()
    try:
        sound = read_sound(path)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert len(sound) == 1200 * len(NOISE) and peak < 7.5 * len(sound)


# --- headers that lie, files that cannot be read ---


def wav(path, change=lambda data: data, samples=NOISE):
    with wave.open(str(path), "wb") as file:
        file.setnchannels(1), file.setsampwidth(2), file.setframerate(16000)
        file.writeframes(samples.tobytes())
    path.write_bytes(change(path.read_bytes()))
    return path


@pytest.mark.parametrize(
    "change",
    [
        lambda data: data[:4] + b"\0\0\0\0" + data[8:],  # the size of the file
        lambda data: data[:40] + b"\xff\xff\xff\xff" + data[44:],  # the size of the samples: a stream
        lambda data: data[:40] + b"\0\0\0\x7f" + data[44:],
        lambda data: data[:28] + b"\x01\0\0\0" + data[32:],  # bytes a second
        lambda data: data + b"junk" * 10,
    ],
)
def test_a_wav_header_that_lies_about_sizes_costs_nothing(tmp_path, change):
    sound = read_sound(wav(tmp_path / "lie.wav", change))
    np.testing.assert_array_equal(sound[: len(NOISE)], NOISE / 32768)
    assert len(sound) - len(NOISE) <= 24


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (lambda data: data[:24] + b"\xff\xff\xff\x7f" + data[28:], "rate is 2147483647 Hz; 1000 to 768000"),
        (lambda data: data[:24] + b"\x05\0\0\0" + data[28:], "rate is 5 Hz"),
        (lambda data: data[:34] + b"\0\0" + data[36:], "odd.wav"),  # bits
        (lambda data: data[:22] + b"\xff\0" + data[24:32] + b"\xfe\x01" + data[34:], "odd.wav"),  # channels
        (lambda data: data[:20] + b"\x77\x77" + data[22:], "odd.wav"),  # the codec
    ],
)
def test_a_header_that_cannot_be_followed_is_told_in_a_sentence(tmp_path, change, reason):
    path = wav(tmp_path / "odd.wav", change)
    for read in (read_sound, probe_sound):
        try:
            sound = read(path)
        except MediaError as error:
            assert reason in str(error) and "\n" not in str(error)
        else:
            assert reason == "odd.wav" and sound is not None  # FFmpeg can make something of it


def unknown(path, old, new):
    path.write_bytes(path.read_bytes().replace(old, new))
    return path


def test_an_unknown_codec_is_told_in_a_sentence(tmp_path):
    pictures = [np.full((64, 64, 3), 20 * n, np.uint8) for n in range(5)]
    for name, old, new in (
        ("a.mkv", b"V_MPEG4/ISO/AVC", b"V_MPEG4/ISO/ZZZ"), ("a.mp4", b"avc1", b"zzzz"), ("a.avi", b"H264", b"ZZZZ"),
    ):  # fmt: skip
        path = unknown(write_video(tmp_path / name, pictures), old, new)
        for read in (probe, lambda path: list(read_frames(path))):
            with pytest.raises(MediaError, match="codec that FFmpeg"):
                read(path)


def test_a_size_that_cannot_be_true_is_told_in_a_sentence(tmp_path):
    data = write_video(tmp_path / "a.mp4", [np.zeros((64, 64, 3), np.uint8)] * 3).read_bytes()
    place = data.find(b"avc1", data.find(b"stsd")) + 28
    (tmp_path / "tall.mp4").write_bytes(data[:place] + b"\0\1\xff\xff" + data[place + 4 :])
    for read in (probe, lambda path: list(read_frames(path))):
        try:
            read(tmp_path / "tall.mp4")
        except MediaError as error:
            assert "tall.mp4" in str(error)


def test_what_is_no_file_is_told_in_a_sentence(tmp_path):
    os.mkfifo(tmp_path / "pipe.mp4")
    (tmp_path / "gone.mp4").symlink_to("nowhere.mp4")
    for name, reason in (("pipe.mp4", "no ordinary file"), ("gone.mp4", "a link to a file that does not exist")):
        for read in (probe, read_sound, probe_sound):
            with pytest.raises(MediaError, match=reason):
                read(tmp_path / name)


# --- the files of a folder ---


def test_streams_decide_what_a_file_is(tmp_path):
    pictures = [np.full((64, 64, 3), 20 * n, np.uint8) for n in range(5)]
    write_video(tmp_path / "film.mp4", pictures)
    write_video(tmp_path / "film.xyz", pictures, container="matroska")
    write_sound(tmp_path / "speech.mp4", codec="aac")
    write_sound(tmp_path / "speech.webm", codec="libopus", rate=48000)
    write_sound(tmp_path / "song.mp3", codec="mp3", cover=True)
    write_sound(tmp_path / "speech.amr", codec="libopencore_amrnb", rate=8000)
    for name in ("photo.png", "photo.jpg", "photo.webp", "still.gif"):
        Image.fromarray(pictures[3]).save(tmp_path / name)
    kinds = {path.name: kind.name for path, kind in kinds_in(tmp_path).items()}
    assert kinds == {
        "film.mp4": "clip", "film.xyz": "clip", "speech.mp4": "voice", "speech.webm": "voice", "song.mp3": "voice",
        "speech.amr": "voice", "photo.png": "picture", "photo.jpg": "picture", "photo.webp": "picture",
        "still.gif": "picture",
    }  # fmt: skip


def test_every_file_that_is_not_used_is_named_with_its_reason(tmp_path):
    write_video(tmp_path / "g-a.mp4", [np.zeros((64, 64, 3), np.uint8)] * 2)
    wav(tmp_path / "g-v.wav")
    (tmp_path / "g-folder.mp4").mkdir()
    (tmp_path / "g-gone.mp4").symlink_to("nowhere.mp4")
    os.mkfifo(tmp_path / "g-pipe.mp4")
    for name in (
        "g-b.mp4.part",
        "g-c.mp4.crdownload",
        "notes.txt",
        "pairs.csv",
        "play.m3u8",
        "g-numbers.dat",
        ".hidden",
    ):
        (tmp_path / name).write_bytes(bytes(RNG.integers(0, 256, 40_000, dtype=np.uint8)))
    (tmp_path / "g-empty.dat").touch()
    pairing = find_pairs(tmp_path)
    assert [pair.name for pair in pairing.pairs] == ["g-a__g-v"]
    reasons = dict(pairing.left_out)
    parts = {
        "g-folder.mp4": "a folder", "g-gone.mp4": "link to a file that does not exist", "g-pipe.mp4": "a pipe",
        "g-b.mp4.part": "unfinished download", "g-c.mp4.crdownload": "unfinished download", "notes.txt": "neither",
        "pairs.csv": "neither", "play.m3u8": "neither", "g-numbers.dat": "", "g-empty.dat": "empty",
    }  # fmt: skip
    assert reasons.keys() == parts.keys()
    assert all(part in reasons[name] and len(reasons[name]) > 10 for name, part in parts.items())


def test_pictures_and_browser_recordings_make_pairs_and_thumbnails_do_not(tmp_path):
    write_video(tmp_path / "g-film.mp4", [np.zeros((64, 64, 3), np.uint8)] * 2)
    write_sound(tmp_path / "g-said.webm", codec="libopus", rate=48000)
    for name in ("g-anna.png", "g-film.jpg"):
        Image.fromarray(np.zeros((64, 64, 3), np.uint8)).save(tmp_path / name)
    pairing = find_pairs(tmp_path)
    assert [pair.name for pair in pairing.pairs] == ["g-anna__g-said", "g-film__g-said"]
    assert dict(pairing.left_out).keys() == {"g-film.jpg"} and "thumbnail of g-film.mp4" in pairing.left_out[0][1]


def test_own_pairs_name_the_files_without_a_partner(tmp_path):
    for name in ("g-a.wav", "g-v.wav"):
        wav(tmp_path / name)
    write_video(tmp_path / "g-a.mp4", [np.zeros((64, 64, 3), np.uint8)] * 2)
    assert find_pairs(tmp_path, "own").left_out == (
        ("g-v.wav", "there is no clip to pair it with: its name would be g-v"),
    )
    assert pairs_of(DataConfig()).left_out == ()


def test_many_files_of_one_ending_share_a_line():
    left_out = [(f"{n:04}.txt", "a text") for n in range(30)] + [("a.pdf", "a text"), ("b.txt", "a folder")]
    assert summary_lines(left_out) == ["30 files, 0000.txt to 0029.txt: a text", "a.pdf: a text", "b.txt: a folder"]


# --- one bad file ---


@pytest.mark.parametrize("fault", ["gone", "folder", "empty", "codec"])
def test_an_input_that_cannot_be_read_is_the_failure_of_its_pair(tmp_path, fault):
    clip = write_video(tmp_path / "g-a.mp4", [np.zeros((64, 64, 3), np.uint8)] * 3)
    pair = Pair(clip, wav(tmp_path / "g-v.wav"), "female")
    config = read_config(configured([]))
    assert attempt(pair, config, lambda bar: done(options_for(pair, config))).status == "done"
    if fault == "codec":
        unknown(clip, b"avc1", b"zzzz")
    else:
        clip.unlink()
        {"gone": lambda: None, "folder": clip.mkdir, "empty": clip.touch}[fault]()
    outcome = attempt(pair, config, lambda bar: done(probe(pair.clip), options_for(pair, config)))
    assert outcome.status == "failed" and outcome.trace is None and outcome.pair == "g-a__g-v"
    assert "g-a.mp4" in outcome.reason and "\n" not in outcome.reason


def done(*_):
    return Outcome("g-a__g-v", "female", 1.8, "done")


def test_a_bad_video_of_a_set_is_named_and_left_out(tmp_path, monkeypatch):
    for side in ("made", "real"):
        (tmp_path / side).mkdir()
        for name in ("a", "b"):
            write_video(tmp_path / side / f"{name}.mp4", [np.zeros((64, 64, 3), np.uint8)] * 3)

    def faces(video, folder, detector):
        if (video.parent.name, video.stem) == ("made", "b"):
            raise MediaError(f"{video} has 10 frames; at least 16 are needed")
        return np.zeros((16, 128, 128, 3), np.uint8)

    monkeypatch.setattr("latentsync.lab.measuring.sets.write_faces", faces)
    monkeypatch.setattr("latentsync.metrics.sets.LEAST_CLIPS", 1)
    lines = []
    entries = measure_sets(tmp_path / "made", tmp_path / "real", lines.append)
    assert len(lines) == 1 and "b.mp4 of generated" in lines[0] and "10 frames" in lines[0]
    assert {(entry["used"], entry["left_out"]) for entry in entries.values()} == {(1, 1)}


# --- what ids and lines say ---


def test_ids_and_lines_cover_what_a_reader_changes_and_nothing_else(tmp_path):
    plain = write_video(tmp_path / "plain.mp4", [np.zeros((64, 64, 3), np.uint8)] * 3)
    hdr = hdr_clip(tmp_path / "hdr.mkv", np.full(3, 0.5), 18)
    voice = wav(tmp_path / "v.wav")
    opposite = write_sound(tmp_path / "o.wav", np.stack([NOISE, -NOISE], 1))
    assert departures(plain, voice) == {} and reading_notes(plain, voice) == ()
    assert departures(hdr, opposite) == {"read_with": {"clip": ["hlg-1"], "voice": ["channel-0-1"]}}
    notes = reading_notes(hdr, opposite)
    assert notes[0].startswith("the clip is HDR (HLG)") and notes[1].startswith("the voice has channels that cancel")
    assert departures(tmp_path / "absent.mp4", voice) == {}
    outcome = replace(done(), notes=notes)
    assert outcome_line(outcome, read_config(configured([]))).endswith("channel 0 was taken)")


# --- the versions of PyAV ---


def test_the_bounds_of_pyav_leave_out_the_versions_that_fail():
    """Before 18.1 an unknown codec ends the process; 14 to 16 lack names that are imported; 19 drops an argument."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["dependencies"]
    bounds = next(need.specifier for need in map(Requirement, project) if need.name == "av")
    refused = ("14.0.0", "14.4.0", "15.1.0", "16.1.0", "17.0.0", "17.1.0", "18.0.0", "19.0.0")
    assert not [version for version in refused if bounds.contains(version)]
    assert bounds.contains("18.1.0") and bounds.contains(Version(av.__version__))
