"""What the stages around the networks leave out and do side by side, without a change of the result."""

import threading
from fractions import Fraction
from types import SimpleNamespace

import av
import numpy as np
import pytest
import torch
from av.video.reformatter import VideoReformatter

from latentsync.config import Options
from latentsync.errors import MediaError
from latentsync.generation import write as write_module
from latentsync.generation.results import GeneratedFrame, Stopwatch
from latentsync.generation.stage_cache import StageCache
from latentsync.generation.write import Target, write_results
from latentsync.media import VideoWriter
from latentsync.media.colour import _TO_RGB, PictureConverter
from latentsync.media.prefetch import ahead, behind
from latentsync.media.yuv import YuvConverter

RNG = np.random.default_rng(0)


def random_picture(width: int, height: int) -> np.ndarray:
    return RNG.integers(0, 256, (height, width, 3), np.uint8)


@pytest.mark.parametrize(
    ("pix_fmt", "width", "height"), [("yuv420p", 1080, 64), ("yuvj420p", 98, 66), ("yuv420p10le", 98, 66)]
)
def test_pictures_read_by_planes_are_those_read_at_once(pix_fmt, width, height):
    frame = av.VideoFrame(width, height, pix_fmt)
    for plane in frame.planes:
        levels = RNG.integers(0, 1024 if "10" in pix_fmt else 256, plane.buffer_size // (2 if "10" in pix_fmt else 1))
        plane.update(levels.astype("<u2" if "10" in pix_fmt else np.uint8).tobytes())
    whole = VideoReformatter().reformat(frame, width, height, "rgb24", interpolation=_TO_RGB).to_ndarray()
    assert np.array_equal(PictureConverter()(frame, (width, height)), whole)


@pytest.mark.parametrize(("width", "height"), [(270, 200), (97, 131), (2, 2)])
def test_a_converted_part_gives_the_whole_picture(width, height):
    converter, first = YuvConverter(width, height), random_picture(width, height)
    yuv = converter(first)
    for _ in range(20):
        rows, columns = (slice(*sorted(RNG.integers(0, side + 1, 2).tolist())) for side in (height, width))
        second = first.copy()
        second[rows, columns] = RNG.integers(0, 256, second[rows, columns].shape)
        changed = converter.changed(yuv, second, rows, columns)
        assert np.array_equal(changed.to_ndarray(), converter(second).to_ndarray())
    before = converter.num_pixels
    converter.changed(yuv, first, slice(0, 0), slice(0, 0))
    assert converter.num_pixels == before


def test_items_come_ahead_in_order_and_an_error_in_its_place():
    made = []

    def items():
        for number in range(9):
            made.append(number)
            yield number
        raise MediaError("broken")

    seen = []
    with pytest.raises(MediaError, match="broken"):
        for item in ahead(items(), count=3):
            assert len(made) <= item + 1 + 3 + 1
            seen.append(item)
    assert seen == made == list(range(9))


def test_who_stops_reading_closes_the_source():
    closed = threading.Event()

    def items():
        try:
            while True:
                yield 0
        finally:
            closed.set()

    reading = ahead(items())
    next(reading)
    reading.close()
    assert closed.is_set()


def test_work_behind_is_done_in_order_and_its_error_ends_the_block():
    done = []
    with behind(done.append, 2) as hand_over:
        for item in range(20):
            hand_over(item)
    assert done == list(range(20))

    def refuse(item: int) -> None:
        raise MediaError(f"no {item}")

    with pytest.raises(MediaError, match="no 0"), behind(refuse, 2) as hand_over:
        for item in range(20):
            hand_over(item)


def test_an_interrupt_leaves_out_what_waits_to_be_written():
    done, may_go_on = [], threading.Event()

    def use(item: int) -> None:
        may_go_on.wait(5)
        done.append(item)

    with pytest.raises(KeyboardInterrupt), behind(use, 8) as hand_over:
        for item in range(5):
            hand_over(item)
        threading.Timer(0.05, may_go_on.set).start()
        raise KeyboardInterrupt
    assert done == [0]


@pytest.fixture
def generated():
    """Frames of two results of one clip with a face in the middle, 256x192 px; the last one without a face."""
    matrix = np.array([[2.0, 0, -200], [0, 2.0, -120]])
    frames = []
    for number in range(4):
        source = random_picture(256, 192)
        results = []
        for _ in range(2):
            frame = source.copy()
            if number < 3:
                frame[70:120, 105:150] = RNG.integers(0, 256, (50, 45, 3))
            face = torch.zeros(3, 128, 128) if number < 3 else None
            results.append(GeneratedFrame(source, frame, None, None, face, matrix))
        frames.append(tuple(results))
    return frames


def test_results_and_mask_equal_those_written_one_by_one(tmp_path, generated, monkeypatch):
    converters = []

    def counted(*size: int) -> YuvConverter:
        converters.append(YuvConverter(*size))
        return converters[-1]

    monkeypatch.setattr(write_module, "YuvConverter", counted)
    options = Options.of(guidance_scale=1.5, width=128, height=128, mask="mask")
    info = SimpleNamespace(width=256, height=192)
    pair = SimpleNamespace(info=info, rate_hz=25, audio_path=None, rest=[], times_s=[Fraction(n, 25) for n in range(5)])
    targets = [Target(tmp_path / "a.mp4", tmp_path / "mask.mp4"), Target(tmp_path / "b.mp4")]
    write_results(generated, pair, targets, options, "", Stopwatch())
    for place, target in enumerate(targets):
        with VideoWriter(tmp_path / "alone.mp4", 256, 192, crf=options.video.crf) as writer:
            for results in generated:
                writer.write(results[place].frame)
        assert target.video.read_bytes() == (tmp_path / "alone.mp4").read_bytes()
    whole = len(generated) * 256 * 192
    assert whole < converters[0].num_pixels < 2.5 * whole  # of 3 videos


def test_the_painted_frames_of_a_pair_are_encoded_once(tmp_path, generated, monkeypatch):
    written = []

    class Counted(VideoWriter):
        def __enter__(self):
            written.append(self.path.name)
            return super().__enter__()

    monkeypatch.setattr(write_module, "VideoWriter", Counted)
    options = Options.of(guidance_scale=1.5, width=128, height=128, mask="mask", silence="model")
    info = SimpleNamespace(width=256, height=192)
    times_s = [Fraction(n, 25) for n in range(5)]
    pair = SimpleNamespace(
        info=info, rate_hz=25, audio_path=None, rest=[], times_s=times_s, order=[0, 1, 2, 3], faces_key="faces"
    )
    cache = StageCache(tmp_path / "cache", 10**9)

    def written_by(name: str, **changes) -> list[bytes]:
        written.clear()
        targets = [Target(tmp_path / f"{name}{i}.mp4", tmp_path / f"mask-{name}{i}.mp4") for i in range(2)]
        changed = SimpleNamespace(**{**vars(pair), **changes})
        write_results(generated, changed, targets, options, "", Stopwatch(), cache)
        return [target.mask.read_bytes() for target in targets]

    first = written_by("a")
    assert first[0] == first[1] and written == ["a0.mp4", "a1.mp4", "mask-a0.mp4"]
    assert written_by("b") == first and written == ["b0.mp4", "b1.mp4"]
    for changes in ({"faces_key": "other"}, {"order": [0, 1, 2, 2]}, {"rest": [1]}, {"rate_hz": 24}):
        written_by("c", **changes)
        assert written == ["c0.mp4", "c1.mp4", "mask-c0.mp4"]
    written_by("d", faces_key=None)
    assert "mask-d0.mp4" in written
    (tmp_path / "mask-e1.mp4").mkdir()
    with pytest.raises(MediaError, match="cannot be written"):
        written_by("e")


def test_an_error_of_compositing_removes_all_files(tmp_path, generated):
    class Broken(GeneratedFrame):
        @property
        def frame(self):
            raise MediaError("cannot composite")

    bad = [*generated[:1], tuple(Broken(*vars(one).values()) for one in generated[1])]
    options = Options.of(guidance_scale=1.5, width=128, height=128, mask="mask")
    info = SimpleNamespace(width=256, height=192)
    pair = SimpleNamespace(info=info, rate_hz=25, audio_path=None, rest=[], times_s=[])
    targets = [Target(tmp_path / "a.mp4", tmp_path / "mask.mp4"), Target(tmp_path / "b.mp4")]
    with pytest.raises(MediaError, match="cannot composite"):
        write_results(bad, pair, targets, options, "", Stopwatch())
    assert not list(tmp_path.iterdir())
