"""From raw videos to aligned pieces: which pieces there are, their files, the report, and a second run."""

import json
import shutil
import wave

import numpy as np
import pytest
import torch

from latentsync import disk
from latentsync.errors import MediaError, OptionError
from latentsync.faces.crops import aligned_crops
from latentsync.faces.geometry import apply_affine, crop_box_size
from latentsync.faces.landmarks import MediaPipeLandmarks
from latentsync.faces.track import LEFT_BROW, NOSE, RIGHT_BROW, align
from latentsync.lab.commands import prepare as command
from latentsync.lab.console import INTERRUPTED
from latentsync.lab.training import prepare
from latentsync.media import VideoWriter, read_frames, read_sound
from latentsync.metrics.face_tracks import framed_faces
from latentsync.metrics.own_syncnet import load_own_syncnet
from latentsync.metrics.sync_mini import SyncMiniScores
from latentsync.metrics.syncnet import SyncScores
from latentsync.places import SET_PREFIX
from latentsync.speakers import samples
from latentsync.training import prepare as room
from latentsync.training import sound as sound_room
from latentsync.training.clips import check_clips, find_clips
from latentsync.training.options import PrepareOptions
from latentsync.training.prepare import Piece, Source, Tools, prepare_source
from latentsync.training.shots import ContentCuts, Dropped, find_cut_detector
from latentsync.training.syncnet import SyncNetSettings, SyncNetTask

pytestmark = pytest.mark.slow

SIZE = 128
FRAMES = 33  # of the shipped clips that are used


def write_wav(path, sound):
    with wave.open(str(path), "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(16000)
        file.writeframes(sound.astype("<i2").tobytes())


def write_video(path, frames, sound=None):
    frames = list(frames)
    height, width = frames[0].shape[:2]
    with VideoWriter(path, width, height, crf=8, preset="ultrafast", sound=sound) as writer:
        for frame in frames:
            writer.write(frame)
    return path


def noise(seconds, level=3000):
    return (level * np.random.default_rng(7).standard_normal(round(16000 * seconds))).astype(np.int16)


def flat(number, grey=90):
    return [np.full((96, 128, 3), grey, np.uint8)] * number


@pytest.fixture(scope="module")
def raw(tmp_path_factory):
    """Two speakers, one with its sound beside it and the truth, the other with its own, and what cannot be used."""
    folder = tmp_path_factory.mktemp("raw")
    write_video(folder / "g-clara.mp4", read_frames(samples.FOLDER / "g-clara.mp4", stop=FRAMES))
    for end in (".wav", ".json"):
        shutil.copy(samples.FOLDER / f"g-clara{end}", folder)
    own = folder / "own.wav"
    write_wav(own, noise(2.0))
    write_video(folder / "m-oskar.mp4", read_frames(samples.FOLDER / "m-oskar.mp4", stop=FRAMES), sound=own)
    own.unlink()
    write_video(folder / "empty-room.mp4", flat(30))
    write_wav(folder / "empty-room.wav", noise(2))
    write_video(folder / "hush.mp4", read_frames(samples.FOLDER / "g-clara.mp4", stop=FRAMES))
    write_wav(folder / "hush.wav", np.zeros(32000, np.int16))
    write_video(folder / "brief.mp4", flat(12))
    write_wav(folder / "brief.wav", noise(2))
    write_video(folder / "mute.mp4", flat(30))
    (folder / "broken.mp4").write_bytes(b"no film" * 500)
    (folder / "note.txt").write_text("no video")
    for end in (".mkv", ".avi"):
        (folder / f"twice{end}").write_bytes(b"x")
    return folder


@pytest.fixture(scope="module")
def prepared(raw, tmp_path_factory):
    folder = tmp_path_factory.mktemp("clips") / "new"
    status = command.main(["--input_dir", str(raw), "--output_dir", str(folder), "--size", str(SIZE)])
    return status, folder


@pytest.fixture(scope="module")
def clips(prepared):
    return {clip.name: clip for clip in find_clips(prepared[1])}


def face_at(x, y, size=100.0):
    """Landmarks of a face of about this size around a place: only brows and nose lie where a face has them."""
    shape = np.random.default_rng(0).uniform(-0.5, 0.5, (468, 3))
    shape[list(LEFT_BROW), :2] = (-0.2, -0.2)
    shape[list(RIGHT_BROW), :2] = (0.2, -0.2)
    shape[list(NOSE), :2] = (0.0, 0.1)
    return shape * size + (x, y, 0)


HERE, THERE = face_at(110, 120), face_at(400, 120)
OPEN = HERE.copy()
OPEN[14, 1] += 20  # the lower lip


@pytest.fixture
def scripted(tmp_path):
    """Prepares a video with scripted faces; returns pieces and dropped stretches."""

    def run(faces_by_frame, options=None, cuts=None, syncnet=None, sound=None):
        number = len(faces_by_frame)
        frames = [np.full((240, 512, 3), 20 + i % 200, np.uint8) for i in range(number)]
        video = write_video(tmp_path / "v.mp4", frames)
        write_wav(tmp_path / "v.wav", noise(number / 25) if sound is None else sound)
        script = iter(faces_by_frame)
        begins = iter([i in (cuts or ()) for i in range(number)])
        tools = Tools(lambda frame: next(script), (lambda: lambda frame: next(begins)) if cuts else None, syncnet)
        work = tmp_path / "work"
        work.mkdir(exist_ok=True)
        options = options or PrepareOptions(64, 1.0, 2.0)
        results = list(prepare_source(Source(video, tmp_path / "v.wav"), options, tools, work))
        return [m for m in results if isinstance(m, Piece)], [m for m in results if isinstance(m, Dropped)]

    return run


def span(piece):
    return piece.facts["start_frame"], piece.facts["start_frame"] + piece.facts["frames"]


# --- the command on real faces ---


def test_speakers_are_prepared_and_the_rest_is_told(prepared, capsys):
    status, folder = prepared
    videos = json.loads((folder / "report.json").read_text())["videos"]
    assert status == 0
    assert {name: entry["status"] for name, entry in videos.items() if entry["status"] == "done"} == {
        "g-clara.mp4": "done",
        "m-oskar.mp4": "done",
    }
    reasons = {
        "broken.mp4": "cannot be read as a video",
        "empty-room.mp4": "no face was found",
        "hush.mp4": "is silent (peak below 1e-04 of full scale), but the lips move",
        "brief.mp4": "at least 1 s of both",
        "mute.mp4": "has no sound stream",
        "twice.mkv": "rename all but one",
        "twice.avi": "rename all but one",
    }
    assert reasons.keys() == videos.keys() - {"g-clara.mp4", "m-oskar.mp4"}
    for name, reason in reasons.items():
        assert videos[name]["status"] == "left out" and reason in videos[name]["reason"]
    assert sorted(path.name for path in folder.iterdir()) == sorted(
        ["report.json", *(f"{stem}-000{end}" for stem in ("g-clara", "m-oskar") for end in (".json", ".mp4", ".wav"))]
    )


def test_a_piece_is_what_inference_sees(raw, clips):
    clip = clips["g-clara-000"]
    frames = list(read_frames(raw / "g-clara.mp4"))
    faces = align(frames, MediaPipeLandmarks(), SIZE)
    expected = aligned_crops(frames, faces.matrices, SIZE)
    assert clip.num_frames == FRAMES and clip.size_px == SIZE
    np.testing.assert_allclose(clip.matrices, faces.matrices, atol=1e-6)
    error = (clip.frames().float() - expected.float()).square().mean((1, 2, 3))
    assert (10 * torch.log10(255**2 / error)).min() > 36  # dB; the next frame's crops differ by more
    assert (10 * torch.log10(255**2 / (clip.frames()[1:].float() - expected[:-1].float()).square().mean())) < 36


def test_the_pieces_come_as_a_table(raw, prepared):
    table = prepare.pieces_table(prepared[1])
    assert table.index.tolist() == ["g-clara-000", "m-oskar-000"]
    clara = table.loc["g-clara-000"]
    assert (clara["source"], clara["start_s"], clara["with_face"]) == ("g-clara.mp4", 0, 1)
    assert clara["seconds"] == pytest.approx(FRAMES / 25, abs=0.05)
    face = align(read_frames(raw / "g-clara.mp4"), MediaPipeLandmarks(), SIZE).landmarks[0]
    height = face[:, 1].max() - face[:, 1].min()
    assert height < clara["face_px"] < 2 * height


def test_the_sound_is_the_sources_to_the_sample(raw, clips):
    given = read_sound(raw / "g-clara.wav")
    np.testing.assert_array_equal(clips["g-clara-000"].waveform(), given[: FRAMES * 640])
    np.testing.assert_array_equal(clips["m-oskar-000"].waveform(), read_sound(raw / "m-oskar.mp4")[: FRAMES * 640])


def test_truth_and_identity_come_along(clips):
    clip, written = clips["g-clara-000"], json.loads((samples.FOLDER / "g-clara.json").read_text())
    assert clip.facts["identity"] == written["identity"] and clip.facts["sentence"] == written["sentence"]
    column = written["columns"].index("mouth_x_px")
    assert clip.truth["mouth_x_px"] == [row[column] for row in written["truth"][:FRAMES]]
    mouth = np.array([clip.truth["mouth_x_px"], clip.truth["mouth_y_px"]])
    width, height = crop_box_size(SIZE)
    for i in range(FRAMES):  # by its affine, the truth's mouth lies in the lower middle of the crop
        x, y = apply_affine(clip.matrices[i], *mouth[:, i])
        assert abs(x / width - 0.5) < 0.1 and 0.6 < y / height < 0.85
    assert clips["m-oskar-000"].truth is None and clips["m-oskar-000"].identity.startswith("source:")


def test_a_second_run_makes_nothing_anew(raw, prepared, capsys, monkeypatch):
    folder = prepared[1]
    before = {path.name: path.stat().st_mtime_ns for path in folder.iterdir() if path.name != "report.json"}
    monkeypatch.setattr(prepare, "load_tools", lambda *_: Tools(None, find_cut_detector()))  # nothing to look with
    report = json.loads((folder / "report.json").read_text())
    assert command.main(["--input_dir", str(raw), "--output_dir", str(folder), "--size", str(SIZE)]) == 0
    assert {path.name: path.stat().st_mtime_ns for path in folder.iterdir() if path.name != "report.json"} == before
    assert "2 pieces of 2 of 9 videos" in (out := capsys.readouterr().out) and "left out  broken.mp4" in out
    assert json.loads((folder / "report.json").read_text()) == report


# --- shots, pieces, what is dropped ---


def test_long_faces_fall_into_equal_pieces_with_their_own_sound(scripted, tmp_path):
    pieces, dropped = scripted([[HERE]] * 120)  # at most 50 frames
    assert [span(piece) for piece in pieces] == [(0, 40), (40, 80), (80, 120)] and not dropped
    assert [piece.name for piece in pieces] == ["v-000", "v-001", "v-002"]
    sound = noise(120 / 25)
    for piece in pieces:
        start, stop = span(piece)
        np.testing.assert_array_equal(read_sound(piece.sound) * 32768, sound[640 * start : 640 * stop])
        greys = [int(frame[..., 1].mean().round()) for frame in read_frames(piece.video)]
        assert np.abs(np.array(greys) - (20 + np.arange(start, stop))).max() <= 2
        assert piece.facts["start_s"] == start / 25


def test_cuts_part_shots(scripted):
    pieces, _ = scripted([[HERE]] * 70, cuts={30})
    assert [span(piece) for piece in pieces] == [(0, 30), (30, 70)]


def test_another_persons_track_is_a_piece_of_its_own(scripted):
    pieces, _ = scripted([[HERE]] * 30 + [[THERE]] * 40)
    assert [span(piece) for piece in pieces] == [(0, 30), (30, 70)]
    first, second = (np.array(piece.facts["matrices"])[:, 0, 2] for piece in pieces)
    assert np.ptp(first) < 1 and np.ptp(second) < 1 and abs(first[0] - second[0]) > 100


def test_a_shot_without_a_face_is_dropped_and_the_others_stay(scripted):
    pieces, dropped = scripted([[HERE]] * 30 + [[]] * 10 + [[HERE]] * 26, cuts={30, 40})
    assert [span(piece) for piece in pieces] == [(0, 30), (40, 66)]
    assert [(d.start, d.stop) for d in dropped] == [(30, 40)] and "no face was found" in dropped[0].reason


def test_few_missing_frames_are_told_and_many_drop_the_piece(scripted):
    pieces, dropped = scripted([[]] * 2 + [[HERE]] * 20 + [[]] * 3 + [[HERE]] * 20 + [[]] * 4)
    assert [span(piece) for piece in pieces] == [(2, 45)]  # it begins and ends with the face
    assert pieces[0].facts["frames_without_face"] == [20, 21, 22] and not dropped
    pieces, dropped = scripted([[HERE]] * 20 + [[]] * 5 + [[HERE]] * 20)
    assert not pieces and "5 of 45 frames show no face" in dropped[0].reason


def test_silent_pieces_are_taken_where_the_mouth_rests(scripted, caplog, monkeypatch):
    sound = noise(80 / 25)
    sound[: 640 * 40] = 1
    pieces, dropped = scripted([[HERE]] * 80, sound=sound)
    assert [span(piece) for piece in pieces] == [(0, 40), (40, 80)] and not dropped
    assert [piece.facts["is_silent"] for piece in pieces] == [True, False]
    assert "v-000: the sound is silent" in caplog.text and "v-001" not in caplog.text
    pieces, dropped = scripted([[HERE], [OPEN]] * 40, sound=sound)
    assert [span(piece) for piece in pieces] == [(40, 80)]
    assert "is silent (peak below 1e-04 of full scale), but the lips move" in dropped[0].reason
    pieces, _ = scripted([[HERE]] * 80, sound=np.zeros(640 * 80, np.int16))  # silent throughout
    assert len(pieces) == 2
    judged = []

    def judge(network, crops, sound):
        judged.append(len(sound))
        return embeddings_with(0)(network, crops, sound)

    monkeypatch.setattr(sound_room, "clip_embeddings", judge)
    monkeypatch.setattr(room.Tools, "identity", {"cuts": None, "syncnet": "stand-in"})
    pieces, dropped = scripted([[HERE]] * 80, sound=sound, syncnet=torch.nn.Identity())
    assert [span(piece) for piece in pieces] == [(0, 40), (40, 80)] and judged == [40 * 640]  # the one with sound


def test_short_tracks_are_dropped(scripted):
    pieces, dropped = scripted([[HERE]] * 24 + [[THERE]] * 26)
    assert [span(piece) for piece in pieces] == [(24, 50)] and "followed for 0.96 s; 1 s" in dropped[0].reason


def test_frames_without_sound_are_left_out(scripted):
    pieces, _ = scripted([[HERE]] * 50, sound=noise(1.6)[:-1])
    assert [span(piece) for piece in pieces] == [(0, 39)]
    with pytest.raises(MediaError, match="0.50 s of sound; at least 1 s"):
        scripted([[HERE]] * 50, sound=noise(0.5))


def test_scenedetect_sees_a_cut_between_two_people():
    pytest.importorskip("scenedetect")
    begins = ContentCuts()
    shots = [list(read_frames(samples.FOLDER / f"{name}.mp4", stop=4)) for name in ("g-clara", "m-oskar")]
    assert [begins(frame) for shot in shots for frame in shot] == [False] * 4 + [True] + [False] * 3


# --- SyncNet ---


def embeddings_with(offset):
    """A stand-in for SyncNet: lips that come a given number of frames after their sound."""

    def embed(network, crops, sound):
        shapes = {crop.shape for crop in crops}
        assert shapes == {(224, 224, 3)}
        speech = torch.randn(140, 16, generator=torch.Generator().manual_seed(0)) * 10
        number = len(sound) // 640 - 5
        return speech[60 - offset :][:number], speech[60:][:number]

    return embed


@pytest.mark.parametrize(("offset", "part"), [(0, (0, 60)), (3, (3, 60)), (-4, (0, 56))])
def test_the_sound_is_shifted_by_syncnets_offset(scripted, monkeypatch, offset, part):
    monkeypatch.setattr(sound_room, "clip_embeddings", embeddings_with(offset))
    monkeypatch.setattr(room.Tools, "identity", {"cuts": None, "syncnet": "stand-in"})
    (piece,), _ = scripted([[HERE]] * 60, PrepareOptions(64, 1.0, 4.0), syncnet=torch.nn.Identity())
    assert span(piece) == part and piece.facts["syncnet"]["offset_frames"] == offset
    start, stop = part
    expected = noise(60 / 25)[640 * (start - offset) : 640 * (stop - offset)]
    np.testing.assert_array_equal(read_sound(piece.sound) * 32768, expected)


@pytest.mark.parametrize(
    ("judgement", "reason"), [((2.9, 0), "confidence is 2.90"), ((5.0, -7), "offset is -7 frames")]
)
def test_what_syncnet_doubts_is_dropped(scripted, monkeypatch, judgement, reason):
    monkeypatch.setattr(sound_room, "clip_embeddings", embeddings_with(0))
    monkeypatch.setattr(sound_room, "scores", lambda distances: SyncScores(judgement[0], 7.0, judgement[1]))
    monkeypatch.setattr(room.Tools, "identity", {"cuts": None, "syncnet": "stand-in"})
    pieces, dropped = scripted([[HERE]] * 30, syncnet=torch.nn.Identity())
    assert not pieces and reason in dropped[0].reason


@pytest.mark.parametrize(
    ("offset", "confidence", "part"), [(3, 0.2, (3, 60)), (-4, 0.06, (0, 56)), (0, 0.04, None), (7, 0.2, None)]
)
def test_a_models_own_syncnet_is_asked_too(scripted, monkeypatch, offset, confidence, part):
    seen = []

    def scores_of(network, crops, waveform):
        seen.append((crops.shape, crops.dtype, len(waveform), abs(waveform).max() <= 1))
        return SyncMiniScores(confidence, 0.3, offset)

    monkeypatch.setattr(sound_room.sync_mini, "sync_mini", scores_of)
    mini = sound_room.SyncMini(torch.nn.Linear(1, 1))
    pieces, dropped = scripted([[HERE]] * 60, PrepareOptions(64, 1.0, 4.0), syncnet=mini)
    assert seen == [((60, 3, 64, 64), torch.uint8, 60 * 640, True)]
    if part is None:
        assert not pieces and ("at least 0.05" if offset == 0 else "offset is 7 frames") in dropped[0].reason
        return
    facts = pieces[0].facts
    assert span(pieces[0]) == part and facts["sync_mini_offset"] == offset
    assert facts["sync_mini_confidence"] == confidence and facts["syncnet"] is None
    start, stop = part
    expected = noise(60 / 25)[640 * (start - offset) : 640 * (stop - offset)]
    np.testing.assert_array_equal(read_sound(pieces[0].sound) * 32768, expected)


def test_a_models_syncnet_must_be_trained_and_is_part_of_the_signature(untrained, raw, tmp_path, capsys):
    args = ["--input_dir", str(raw), "--output_dir", str(tmp_path / "out")]
    for more, message in (
        (["--syncnet", str(untrained)], "has no trained SyncNet"),
        (["--syncnet", str(untrained), "--workers", "2"], "has no trained SyncNet"),
        (["--min_confidence", "0.1"], "--min_confidence needs"),
    ):
        assert command.main([*args, *more]) == 2
        assert message in capsys.readouterr().err
    model = shutil.copytree(untrained, tmp_path / "model")
    network, config = load_own_syncnet(untrained)
    SyncNetTask(network, config, SyncNetSettings(num_frames=8)).export(tmp_path / "exported")
    shutil.copytree(tmp_path / "exported" / "syncnet", model / "syncnet", dirs_exist_ok=True)
    judge, strict = (prepare.load_judge(str(model), limit) for limit in (None, 0.3))
    assert (judge.min_confidence, strict.min_confidence) == (0.05, 0.3)
    assert not judge.network.training
    tools = [room.Tools(None, None, network) for network in (None, judge, strict)]
    assert tools[0].identity == {"cuts": None, "syncnet": None}  # as before there was another judge
    assert tools[1].identity != tools[2].identity != tools[0].identity
    with pytest.raises(OptionError, match="min_confidence is 1.5; .* SyncNet v2's 3"):
        prepare.load_judge(str(model), 1.5)
    crops = torch.zeros(25, 3, 128, 128, dtype=torch.uint8)
    with pytest.raises(MediaError, match="at least 10 are needed"):
        sound_room.sync_mini.sync_mini(judge.network, crops, np.zeros(25 * 640, np.float32))


def test_syncnet_sees_the_face_in_its_own_framing():
    frame = np.zeros((400, 400, 3), np.uint8)
    frame[150:250, 160:240] = 255  # the face's box: 80 x 100 px around (200, 200)
    (crop,) = framed_faces([frame], np.array([[160.0, 150, 240, 250]]))
    rows, columns = (np.flatnonzero(crop[..., 0].max(axis) > 127) for axis in (1, 0))
    scale = 224 / 140  # 1.4 half sides either way
    assert abs(rows[0]) <= 1 and abs(rows[-1] - 100 * scale) <= 2  # begins at the top
    assert abs(columns[0] - 30 * scale) <= 2 and abs(columns[-1] - 110 * scale) <= 2


# --- interruption, changes, bad options ---


@pytest.fixture
def job(tmp_path, monkeypatch):
    """The command on one scripted video of three pieces; returns a function that runs it."""
    raw, folder = tmp_path / "raw", tmp_path / "clips"
    raw.mkdir()
    write_video(raw / "v.mp4", flat(120))
    write_wav(raw / "v.wav", noise(4.8))
    monkeypatch.setattr(prepare, "load_tools", lambda *_: Tools(lambda frame: [HERE]))
    arguments = ["--input_dir", str(raw), "--output_dir", str(folder), "--size", "64", "--max_seconds", "2"]
    return raw, folder, lambda *more: command.main([*arguments, *more])


def stamps(folder):
    return {path.name: path.stat().st_mtime_ns for path in folder.glob("v-*")}


@pytest.mark.parametrize("at", ["picture", ".mp4", ".wav", ".json"])
def test_a_killed_run_leaves_no_half_piece_and_the_next_goes_on(job, monkeypatch, at):
    _, folder, run = job
    with monkeypatch.context() as patch:
        if at == "picture":
            calls = iter(range(1000))
            pictures = room.aligned_pictures

            def broken(*arguments):
                for picture in pictures(*arguments):
                    if next(calls) == 55:  # in the second piece
                        raise KeyboardInterrupt
                    yield picture

            patch.setattr(room, "aligned_pictures", broken)
        else:
            replace = disk.system.replace

            def broken(source, target):
                if target.name == f"v-001{at}" and source.parent.name.startswith(SET_PREFIX):
                    raise KeyboardInterrupt
                replace(source, target)

            patch.setattr(disk.system, "replace", broken)
        assert run() == INTERRUPTED
    assert [clip.name for clip in check_clips(folder)[0]] == ["v-000"]
    assert not (folder / "v-001.json").exists() and not list(folder.glob(".part-*"))
    first = {name: stamp for name, stamp in stamps(folder).items() if name.startswith("v-000")}
    assert run() == 0
    assert [clip.name for clip in find_clips(folder)] == ["v-000", "v-001", "v-002"]
    assert first.items() <= stamps(folder).items()


def test_changed_settings_and_files_make_pieces_anew(job):
    raw, folder, run = job
    assert run() == 0
    assert len(find_clips(folder)) == 3
    (folder / "v-002.whisper-0123456789ab.safetensors").touch()
    (folder / "v-002-000.mp4").touch()  # of a video that is called v-002
    assert run("--max_seconds", "3") == 0
    assert sorted(path.name for path in folder.glob("v-*")) == [
        "v-000.json", "v-000.mp4", "v-000.wav", "v-001.json", "v-001.mp4", "v-001.wav", "v-002-000.mp4",
    ]  # fmt: skip
    assert [clip.num_frames for clip in check_clips(folder)[0]] == [60, 60]
    before = stamps(folder)
    write_wav(raw / "v.wav", noise(4.8)[::-1])
    assert run("--max_seconds", "3") == 0
    assert all(stamps(folder)[name] != before[name] for name in ("v-000.wav", "v-000.json", "v-001.json"))


def test_a_defect_costs_one_file_and_is_told_with_its_trace(job, monkeypatch, capsys):
    raw, folder, run = job
    shutil.copy(raw / "v.mp4", raw / "w.mp4")
    shutil.copy(raw / "v.wav", raw / "w.wav")
    prepare_source = prepare.prepare_source
    monkeypatch.setattr(
        prepare,
        "prepare_source",
        lambda source, *a, **k: prepare_source(source, *a, **k) if source.name == "w" else 1 / 0,
    )
    assert run() == 1
    assert len(find_clips(folder)) == 3
    entry = json.loads((folder / "report.json").read_text())["videos"]["v.mp4"]
    assert entry["status"] == "failed" and "ZeroDivisionError" in entry["trace"]
    monkeypatch.setattr(prepare, "prepare_source", prepare_source)
    assert run() == 0 and len(find_clips(folder)) == 6


def test_torch_has_one_thread_while_frames_are_looked_at(job, monkeypatch):
    _, _, run = job
    before, seen = torch.get_num_threads(), set()
    torch.set_num_threads(2)
    monkeypatch.setattr(
        prepare, "load_tools", lambda *_: Tools(lambda frame: seen.add(torch.get_num_threads()) or [HERE])
    )
    try:
        assert run() == 0
        assert seen == {1} and torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(before)


def test_bad_folders_and_options_are_told(job, tmp_path, capsys):
    raw, _, run = job
    for more, what in [
        (["--size", "100"], "multiple of 8"),
        (["--max_seconds", "1.5"], "at least twice min_seconds"),
        (["--workers", "0"], "at least 1"),
        (["--output_dir", str(raw)], "is the input folder"),
        (["--input_dir", str(tmp_path / "none")], "there is no folder"),
        (["--input_dir", str(tmp_path)], "has no video"),
    ]:
        assert run(*more) == 2
        error = capsys.readouterr().err
        assert what in error and "Traceback" not in error
    with pytest.raises(OptionError, match="min_seconds is 0.1"):
        PrepareOptions(min_seconds=0.1)


def test_worker_processes_do_the_same(raw, tmp_path):
    few = tmp_path / "few"
    few.mkdir()
    for name in ("g-clara.mp4", "g-clara.wav"):
        shutil.copy(raw / name, few)
    folder = tmp_path / "clips"
    status = command.main(["--input_dir", str(few), "--output_dir", str(folder), "--size", "64", "--workers", "2"])
    assert status == 0 and [clip.name for clip in find_clips(folder)] == ["g-clara-000"]
