"""Previews of mouths: cut once, kept, and made anew where they are no longer those of their video."""

import json
import threading
from types import SimpleNamespace

import numpy as np
import pytest
from PIL import Image
from record_content import content

from latentsync import media
from latentsync.errors import MediaError
from latentsync.faces.track import align
from latentsync.files import write_json
from latentsync.generation.stage_cache import input_sha256
from latentsync.lab.figures import previews
from latentsync.lab.figures.previews import FACTS_FILE, MOUTH_STEP, clip_preview_of, keep_previews, preview_of
from latentsync.lab.options.pairs import SHIPPED_DIR
from latentsync.lab.records.store import RECORD_FILE, RESULT_FILE, Record
from latentsync.proof import proof_of

FRAMES = 12


@pytest.fixture(scope="module")
def clip(tmp_path_factory):
    """Half a second of a shipped clip."""
    path = tmp_path_factory.mktemp("clip") / "g-short.mp4"
    frames = media.read_frames_in_order(SHIPPED_DIR / "g-clara.mp4", range(FRAMES))
    with media.VideoWriter(path, *_size(SHIPPED_DIR / "g-clara.mp4")) as writer:
        for frame in frames:
            writer.write(frame)
    return path


def _size(path):
    info = media.probe(path)
    return info.width, info.height


def made(runs, clip, name="2a01", is_clip_there=True):
    """A record whose result is the clip itself."""
    folder = runs / "records" / name
    folder.mkdir(parents=True)
    (folder / RESULT_FILE).write_bytes(clip.read_bytes())
    facts = {"name": clip.name, "sha256": input_sha256(clip), "path": str(clip if is_clip_there else "/nowhere")}
    proof = proof_of([folder / RESULT_FILE])
    write_json(folder / RECORD_FILE, content(name, "g-short__g", clip=facts) | {"files": proof})
    return Record(folder)


@pytest.fixture
def counted(monkeypatch):
    """How many frames are read, and how many faces are looked for."""
    counts = SimpleNamespace(frames=0, faces=0)
    read, detector = media.read_frames_in_order, previews._detector()

    def reading(*args):
        for frame in read(*args):
            counts.frames += 1
            yield frame

    def looking(frame):
        counts.faces += 1
        return detector(frame)

    monkeypatch.setattr(media, "read_frames_in_order", reading)
    monkeypatch.setattr(previews, "_detector", lambda: looking)
    return counts


def test_a_preview_is_cut_once_with_the_mouth_centred(tmp_path, clip, counted):
    record = made(tmp_path, clip)
    first = preview_of(tmp_path, record)
    looked_at = len(range(0, FRAMES, MOUTH_STEP))
    assert (counted.frames, counted.faces) == (2 * FRAMES + looked_at, looked_at)  # the clip's face serves the result
    again = preview_of(tmp_path, record)
    assert (again.strip, again.video, counted.frames) == (first.strip, first.video, 2 * FRAMES + looked_at)
    info = media.probe(first.video)
    assert (info.width, info.height, info.num_frames, info.has_sound) == (160, 120, FRAMES, False)
    assert Image.open(first.strip).size == (160 * len(first.times_s), 120)
    assert (first.num_frames, first.frame_size, len(first.path)) == (FRAMES, (512, 512), looked_at)
    lips = previews._detector()(next(media.read_frames(clip)))[0][[61, 291, 13, 14], :2].mean(0)
    x, y = first.path[0] @ [*lips, 1]
    assert abs(x - 160) < 12 and abs(y - 120) < 20
    scale, turn, _ = first.path[0][0]
    assert np.allclose(first.path[0][1, :2], [-turn, scale], atol=1e-5)  # in proportion


@pytest.mark.parametrize("fault", ["cut", "unreadable facts", "version", "other video", "file gone"])
def test_a_preview_that_is_not_that_of_its_video_is_made_anew(tmp_path, clip, counted, monkeypatch, fault):
    record = made(tmp_path, clip)
    first, frames = preview_of(tmp_path, record), counted.frames
    if fault == "cut":
        first.video.write_bytes(first.video.read_bytes()[:-9])
    elif fault == "unreadable facts":
        (first.strip.parent / FACTS_FILE).write_text("[")
    elif fault == "version":
        monkeypatch.setattr(previews, "VERSION", previews.VERSION + 1)
    elif fault == "file gone":
        first.strip.unlink()
    else:
        facts = json.loads((record.folder / RECORD_FILE).read_text())
        facts["files"][RESULT_FILE]["sha256"] = "0"
        write_json(record.folder / RECORD_FILE, facts)
        record = Record(record.folder)
    again = preview_of(tmp_path, record)
    assert counted.frames > frames and again.path[0].tolist() == first.path[0].tolist()
    assert media.probe(again.video).num_frames == FRAMES and Image.open(again.strip).size[1] == 120
    frames = counted.frames
    preview_of(tmp_path, record)
    assert counted.frames == frames


def test_several_who_ask_at_once_get_one_preview(tmp_path, clip, counted):
    record, found = made(tmp_path, clip, is_clip_there=False), []
    threads = [threading.Thread(target=lambda: found.append(preview_of(tmp_path, record))) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert {one.strip for one in found} == {found[0].strip} and len(found) == 4
    assert counted.frames == FRAMES + counted.faces == FRAMES + len(range(0, FRAMES, MOUTH_STEP))


def test_a_video_without_a_face_says_so_and_is_not_searched_again(tmp_path, counted):
    path = tmp_path / "grey.mp4"
    with media.VideoWriter(path, 64, 64) as writer:
        for _ in range(6):
            writer.write(np.full((64, 64, 3), 128, np.uint8))
    for _ in range(2):
        preview = clip_preview_of(tmp_path, path, input_sha256(path), 6)
        assert (preview.strip, preview.video, preview.path) == (None, None, None)
        assert "no face was found" in preview.reason and counted.frames == 2


def test_a_clip_goes_on_as_its_result_does(tmp_path, clip):
    sha256 = input_sha256(clip)
    loops = [clip_preview_of(tmp_path, clip, sha256, 2 * FRAMES, loop) for loop in ("pingpong", "loop")]
    ends = [list(media.read_frames(loop.video))[-1].astype(int) for loop in loops]
    start = next(media.read_frames(loops[0].video)).astype(int)
    assert np.abs(ends[0] - start).mean() < np.abs(ends[1] - start).mean()
    assert loops[0].num_frames == loops[1].num_frames == 2 * FRAMES


def test_where_the_runs_folder_cannot_be_written_a_preview_lies_elsewhere(tmp_path, clip, monkeypatch):
    record = made(tmp_path, clip, is_clip_there=False)
    monkeypatch.setattr(previews.os, "access", lambda *_: False)
    preview = preview_of(tmp_path, record)
    assert preview.strip.is_file() and not preview.strip.is_relative_to(tmp_path)


def test_a_record_without_its_video_has_no_preview(tmp_path, clip):
    record = made(tmp_path, clip)
    record.video_path.unlink()
    with pytest.raises(MediaError, match=RESULT_FILE):
        preview_of(tmp_path, record)


def test_a_new_record_keeps_its_previews_by_the_face_that_is_known(tmp_path, clip, counted):
    record = made(tmp_path, clip)
    faces = align(media.read_frames(clip), previews._detector(), 128)
    video = SimpleNamespace(rate_hz=media.VIDEO_RATE_HZ)
    output = SimpleNamespace(
        order=list(range(FRAMES)), faces=faces, num_frames=FRAMES, options=SimpleNamespace(video=video)
    )
    counted.frames = counted.faces = 0
    keep_previews(tmp_path, record, output)
    assert (counted.frames, counted.faces) == (2 * FRAMES, 0)  # of the clip and of the result
    result = preview_of(tmp_path, record)
    clips = clip_preview_of(tmp_path, clip, input_sha256(clip), FRAMES)
    assert (counted.frames, counted.faces) == (2 * FRAMES, 0)
    assert np.abs(result.path[0] - clips.path[0]).max() < 1e-3
