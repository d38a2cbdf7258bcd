"""The sound of what is written: how it is stored, where it lies, and what is refused before anything is computed."""

import gc
import weakref
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest

from latentsync import media
from latentsync.config import Options, SamplerOptions, recorded_infos, recorded_options
from latentsync.errors import MediaError, OptionError
from latentsync.generation.write import Target
from latentsync.lab.options.schema import options_like
from latentsync.media import VideoWriter, probe_sound, read_sound
from latentsync.media.sound import write_wav
from latentsync.media.sound_track import aac_rate_hz
from latentsync.pipeline import LipsyncPipeline

CLICKS_S = (0.0, 0.5, 1.3)
SECONDS = 1.6


def click(rate_hz: int) -> np.ndarray:
    """Four milliseconds of a decaying tone of 1 kHz, which every codec keeps."""
    clock = np.arange(round(rate_hz * 0.004)) / rate_hz
    return np.sin(2 * np.pi * 1000 * clock) * np.exp(-clock / 0.0013)


def clicks(rate_hz: int) -> np.ndarray:
    """Clicks at `CLICKS_S` in faint noise, float32 (n,)."""
    sound = np.random.default_rng(0).standard_normal(round(rate_hz * SECONDS)) * 1e-3
    for second in CLICKS_S:
        start = round(second * rate_hz)
        sound[start : start + len(click(rate_hz))] += 0.8 * click(rate_hz)
    return sound.astype(np.float32)


def write_voice(path: Path, codec: str, rate_hz: int, channels: int) -> Path:
    layout = {1: "mono", 2: "stereo"}[channels]
    with av.open(str(path), "w", format="adts" if path.suffix == ".aac" else None) as output:
        stream = output.add_stream(codec, rate=rate_hz, layout=layout, options={"strict": "-2"})
        samples = np.ascontiguousarray(np.stack([clicks(rate_hz)] * channels))
        frame = av.AudioFrame.from_ndarray(samples, format="fltp", layout=layout)
        frame.sample_rate, frame.pts, frame.time_base = rate_hz, 0, Fraction(1, rate_hz)
        resampler = av.AudioResampler(stream.format.name, layout, rate_hz)
        for part in [*resampler.resample(frame), *resampler.resample(None)]:
            output.mux(stream.encode(part))
        output.mux(stream.encode())
    return path


def heard_at(sound: np.ndarray, rate_hz: int) -> np.ndarray:
    """The seconds at which the clicks are heard, near `CLICKS_S`."""
    reach = round(0.1 * rate_hz)
    padded = np.concatenate([np.zeros(reach), sound, np.zeros(reach)])
    strength = np.correlate(padded, click(rate_hz), "valid")
    starts = [round(second * rate_hz) for second in CLICKS_S]
    return np.array([np.argmax(strength[start : start + 2 * reach]) + start - reach for start in starts]) / rate_hz


def stored_sound(video: Path) -> tuple[np.ndarray, int]:
    """The first channel at the times that the file gives to its frames, relative to time 0; and the rate."""
    with av.open(str(video)) as file:
        rate_hz = file.streams.audio[0].rate
        sound = np.zeros(3 * rate_hz)
        for frame in file.decode(audio=0):
            to_float = av.AudioResampler("fltp", frame.layout.name, frame.sample_rate)
            start = round(float(frame.pts * frame.time_base) * rate_hz)
            samples = to_float.resample(frame)[0].to_ndarray()[0]
            sound[max(0, start) : start + len(samples)] = samples[max(0, -start) :]
    return sound, rate_hz


def write_video(path: Path, voice: Path, choice: str) -> Path:
    with VideoWriter(path, 64, 64, sound=voice, sound_coding=choice) as writer:
        for level in range(round(SECONDS * 25)):
            writer.write(np.full((64, 64, 3), level, np.uint8))
    return path


@pytest.mark.parametrize(
    ("name", "codec", "rate_hz", "channels", "stored"),  # stored: by auto, copy, lossless
    [
        ("a.wav", "pcm_s16le", 8000, 1, ("aac", "aac", "flac")),
        ("a.wav", "pcm_s16le", 16000, 1, ("aac", "aac", "flac")),
        ("a.wav", "pcm_s16le", 44100, 2, ("aac", "aac", "flac")),
        ("a.wav", "pcm_s24le", 48000, 2, ("aac", "aac", "flac")),
        ("a.m4a", "aac", 44100, 2, ("aac", "aac", "aac")),
        ("a.aac", "aac", 48000, 2, ("aac", "aac", "aac")),
        ("a.mp3", "libmp3lame", 44100, 1, ("aac", "mp3", "mp3")),
        ("a.mp3", "libmp3lame", 8000, 1, ("aac", "aac", "flac")),
        ("a.opus", "libopus", 48000, 2, ("aac", "opus", "flac")),
        ("a.ogg", "vorbis", 44100, 2, ("aac", "aac", "flac")),
        ("a.flac", "flac", 48000, 2, ("aac", "flac", "flac")),
    ],
)
def test_a_click_stays_where_it_is_in_every_kind_of_sound(tmp_path, name, codec, rate_hz, channels, stored):
    voice = write_voice(tmp_path / name, codec, rate_hz, channels)
    expected = heard_at(read_sound(voice, 48000), 48000)
    for choice, wanted in zip(("auto", "copy", "lossless"), stored, strict=True):
        video = write_video(tmp_path / "out.mp4", voice, choice)
        info = probe_sound(video)
        assert (info.codec, info.rate_hz, info.channels) == (wanted, rate_hz, channels)
        assert heard_at(*stored_sound(video)) == pytest.approx(expected, abs=0.001)
        with av.open(str(video)) as file:
            sound, pictures = file.streams.audio[0], file.streams.video[0]
            assert sound.start_time == pictures.start_time == 0
            assert float(sound.duration * sound.time_base) == pytest.approx(info.duration_s, abs=0.13)  # AAC is padded
            assert codec != "pcm_s16le" or float(sound.duration * sound.time_base) == pytest.approx(SECONDS, abs=0.001)


def test_aac_lc_is_copied_and_a_rate_that_aac_lacks_becomes_the_next_higher(tmp_path):
    voice = write_voice(tmp_path / "a.m4a", "aac", 44100, 1)
    packets = []
    for path in (voice, write_video(tmp_path / "a.mp4", voice, "auto")):
        with av.open(str(path)) as file:
            packets.append([bytes(packet) for packet in file.demux(audio=0) if packet.size])
    assert packets[0] == packets[1]
    assert [aac_rate_hz(rate) for rate in (5512, 8000, 37800, 44100, 96000)] == [8000, 8000, 44100, 44100, 48000]
    write_wav(tmp_path / "b.wav", (clicks(37800) * 30000).astype(np.int16), 37800)
    video = write_video(tmp_path / "b.mp4", tmp_path / "b.wav", "auto")
    assert probe_sound(video).rate_hz == 44100 and heard_at(*stored_sound(video)) == pytest.approx(CLICKS_S, abs=0.001)


def test_speech_as_aac_differs_by_less_than_a_hundredth_of_its_loudness(tmp_path):
    voice = Path(media.__file__).parents[1] / "speakers" / "samples" / "g-clara-weather.wav"
    given, heard = read_sound(voice)[: 16000 * 3 // 2], read_sound(write_video(tmp_path / "a.mp4", voice, "auto"))
    error = heard[: given.size] - given
    assert np.sqrt(np.square(error).mean() / np.square(given).mean()) < 0.01


def test_the_option_leaves_the_ids_of_earlier_records(tmp_path):
    info = recorded_infos()["sound"]
    assert Options().video.sound == "auto" and info.is_covered("auto") and not info.is_covered("lossless")
    earlier = {name: value for name, value in Options.of(guidance_scale=1.5).flat().items() if name != "sound"}
    assert recorded_options(earlier)["sound"] == "lossless"
    assert options_like({**earlier, "size_px": 256}, Options().runtime).video.sound == "lossless"
    with pytest.raises(OptionError, match=r"sound .loss-less. is unknown; .*did you mean lossless\?"):
        Options.of(sound="loss-less")
    with pytest.raises(OptionError, match=r"sound_coding 'flac' is unknown"):
        VideoWriter(tmp_path / "a.mp4", 64, 64, sound_coding="flac")


@pytest.fixture
def pipeline_without_faces(monkeypatch):
    """The embedded model; to look for faces is a failure."""

    def prepare(*arguments):
        raise AssertionError("faces were sought")

    pipe = LipsyncPipeline.from_pretrained("mini")
    monkeypatch.setattr(pipe, "prepare", prepare)
    return pipe


@pytest.fixture
def clip(tmp_path) -> Path:
    with VideoWriter(tmp_path / "clip.mp4", 96, 64) as writer:
        writer.write(np.zeros((64, 96, 3), np.uint8))
    return tmp_path / "clip.mp4"


def test_what_cannot_be_written_is_refused_before_faces_are_sought(pipeline_without_faces, clip, tmp_path):
    options = [Options(SamplerOptions(guidance_scale=1.0))]
    good, many, silent = tmp_path / "good.wav", tmp_path / "many.wav", tmp_path / "silent.mp4"
    write_wav(good, np.zeros(16000, np.int16))
    with av.open(str(many), "w") as output:
        stream = output.add_stream("pcm_s16le", rate=16000, layout="hexadecagonal")
        frame = av.AudioFrame.from_ndarray(np.zeros((1, 16 * 1600), np.int16), format="s16", layout="hexadecagonal")
        frame.sample_rate = 16000
        output.mux(stream.encode(frame))
    silent.write_bytes(clip.read_bytes())
    (tmp_path / "folder.mp4").mkdir()
    fine = Target(tmp_path / "a.mp4")
    for target, voice, message in (
        (fine, many, "many.wav has 16 channels; mix it down to at most 8"),
        (fine, silent, "silent.mp4 has no sound stream"),
        (Target(tmp_path / "no" / "a.mp4"), good, "the folder .*no does not exist; create it first"),
        (Target(tmp_path / "folder.mp4"), good, "folder.mp4 is a folder; give the name of a file"),
        (fine._replace(mask=tmp_path / "no" / "m.mp4"), good, "the folder .*no does not exist"),
    ):
        with pytest.raises(MediaError, match=message):
            LipsyncPipeline.run_together(pipeline_without_faces, clip, voice, [target], options)
    with pytest.raises(AssertionError, match="faces were sought"):
        LipsyncPipeline.run_together(pipeline_without_faces, clip, good, [fine], options)
    assert not [path for path in tmp_path.iterdir() if path.name.startswith(".") or path.name == "a.mp4"]


def test_pictures_that_the_encoder_refuses_are_named(tmp_path):
    with pytest.raises(MediaError, match=r"cannot hold pictures of 40000 x 64 px .*; make the pictures smaller"):
        VideoWriter(tmp_path / "wide.mp4", 40_000, 64).rehearse()
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("choice", ["lossless", "auto", "copy"])
def test_a_written_voice_is_freed_at_once(choice, tmp_path):
    """Else the garbage collector may free its decoder in a forked process, which has none of its threads."""
    codec, end = ("aac", ".m4a") if choice == "copy" else ("pcm_s16le", ".wav")
    voice = write_voice(tmp_path / f"voice{end}", codec, 16000, 1)
    gc.collect()
    gc.disable()
    try:
        writer = VideoWriter(tmp_path / "out.mp4", 64, 64, sound=voice, sound_coding=choice)
        with writer:
            track = weakref.ref(writer._track)
            for _ in range(25):
                writer.write(np.zeros((64, 64, 3), np.uint8))
        assert track() is not None
        del writer
        assert track() is None
    finally:
        gc.enable()
