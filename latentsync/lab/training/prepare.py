"""Turns raw videos into a folder of aligned pieces for training."""

import json
import re
import sys
import time
import traceback
from collections import defaultdict
from collections.abc import Iterable, Iterator
from concurrent.futures import as_completed
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from tqdm import tqdm

from latentsync.checkpoints.model import INDEX_FILE, model_folder
from latentsync.errors import LatentSyncError, MediaError, OptionError, sentence_of
from latentsync.faces.landmarks import MediaPipeLandmarks
from latentsync.files import find_json, place_together, private_folder, remove, write_json, write_text
from latentsync.lab.console import show
from latentsync.lab.options.inputs import refusal
from latentsync.lab.options.pairs import same_name
from latentsync.media.kinds import clips_of, kinds_in, summary_lines
from latentsync.metrics.own_syncnet import load_trained_syncnet
from latentsync.metrics.syncnet import SyncNet, load_syncnet
from latentsync.names import composed
from latentsync.training.clips import FACTS_END, SOUND_END, VIDEO_END
from latentsync.training.options import LEAST_MINI_CONFIDENCE, PrepareOptions
from latentsync.training.prepare import Piece, Source, Tools, prepare_source, signature
from latentsync.training.shots import Dropped, find_cut_detector
from latentsync.training.sound import SyncMini
from latentsync.verbosity import bars_off
from latentsync.workers import Workers

REPORT_FILE = "report.json"
REPORT_EVERY_S = 5.0  # least time between two writes, because the report grows with the folder
_tools: Tools | None = None  # in a worker process


@dataclass
class Outcome:
    """The outcome of one source, as in the report.

    Attributes:
        status: "done", "left out" (no part of it could be used) or "failed" (with a trace: a defect of this program).
        pieces: the names of all its existing pieces.
        dropped: the parts that gave no piece: start_s, stop_s, reason.
        is_cached: whether all pieces existed before.
    """

    name: str
    status: str
    signature: str | None = None
    reason: str | None = None
    pieces: list[str] = field(default_factory=list)
    dropped: list[dict[str, Any]] = field(default_factory=list)
    trace: str | None = None
    is_cached: bool = False

    def entry(self) -> dict[str, Any]:
        """The entry of the source in the report."""
        facts = {key: value for key, value in vars(self).items() if value is not None}
        return {key: value for key, value in facts.items() if key not in ("name", "is_cached")}


# --- existing files ---


def find_sources(input_dir: Path) -> tuple[list[Source], dict[str, str]]:
    """The videos of a folder (not of its subfolders) with their sound, and the videos left out, each with the reason.

    The sound of a video is in a file beside it, of the same name, or else in the video itself.

    Raises:
        MediaError: the folder is missing or has no video.
    """
    if not input_dir.is_dir():
        raise MediaError(f"there is no folder at {input_dir}; give a folder of videos")
    kinds = kinds_in(input_dir)
    files = {composed(path.name): path for path in kinds}
    stems: dict[str, list[Path]] = defaultdict(list)
    for path, kind in kinds.items():
        if kind.name == "clip":
            stems[same_name(path.stem)].append(path)
    if not stems:
        raise MediaError(f"{input_dir} has no video; put files with moving pictures there")
    # of several sounds of one name the WAV counts, and "a.wav" before "a.WAV"
    sounds = sorted((path for path, kind in kinds.items() if kind.name == "voice"), key=_sound_rank, reverse=True)
    sound_of = {composed(path.stem): path for path in sounds}
    sources, left_out = [], {}
    for videos in stems.values():
        if len(videos) > 1:
            names = ", ".join(path.name for path in videos)
            left_out |= {path.name: f"{names} would give equal names of pieces; rename all but one" for path in videos}
            continue
        video = videos[0]
        stem = composed(video.stem)
        sources.append(Source(video, sound_of.get(stem, video), files.get(f"{stem}.json")))
    return sources, left_out


def _is_usable(source: Source) -> bool:
    return refusal(source.video, True) is None and refusal(source.sound, False) is None


def _sound_rank(path: Path) -> tuple[bool, bool, str]:
    return path.suffix != ".wav", path.suffix.lower() != ".wav", path.name


def unused_files(input_dir: Path, sources: Iterable[Source]) -> list[tuple[str, str]]:
    """The files of a folder that are no video and belong to none, each with the reason."""
    used = {path for source in sources for path in (source.video, source.sound, source.sidecar)}
    _, others = clips_of(input_dir)
    return [(name, reason) for name, reason in others.items() if input_dir / name not in used]


def _files_of(name: str, folder: Path) -> tuple[Path, Path, Path]:
    """A piece's video, sound and facts."""
    return tuple(folder / f"{name}{end}" for end in (VIDEO_END, SOUND_END, FACTS_END))


def is_done(name: str, folder: Path, wanted: str) -> bool:
    """Whether a piece exists, is complete, and was made from exactly these files and settings."""
    video, sound, facts_path = _files_of(name, folder)
    facts = find_json(facts_path) or {}
    try:
        sizes = facts["files"]["video_bytes"], facts["files"]["sound_bytes"]
        return facts["signature"] == wanted and sizes == (video.stat().st_size, sound.stat().st_size)
    except (KeyError, TypeError, OSError):
        return False


def _remove_others(source: Source, folder: Path, wanted: str) -> None:
    """Removes a source's pieces from other files or settings, and the remains of killed runs; JSON files go first."""
    pattern = re.compile(rf"({re.escape(source.name)}-\d{{3,}})\.")
    files: dict[str, list[Path]] = defaultdict(list)
    for path in folder.iterdir():
        if (match := pattern.match(path.name)) is not None:
            files[match.group(1)].append(path)
    for name, paths in files.items():
        if not is_done(name, folder, wanted):
            for path in sorted(paths, key=lambda path: path.suffix != FACTS_END):
                remove(path)


def _take_in(piece: Piece, folder: Path) -> None:
    """Gives the files of a finished piece their final names."""
    facts = piece.video.with_name(f"{piece.name}{FACTS_END}")
    write_text(facts, json.dumps(piece.facts) + "\n")
    parts = {path.name: path for path in (piece.video, piece.sound, facts)}
    place_together(parts, folder, proof=facts.name)


def pieces_table(folder: Path) -> pd.DataFrame:
    """The pieces of a prepared folder, one row each.

    Returns:
        By name: `source`, `start_s`, `seconds`, `face_px` (mean height of the crops' area in the source, in px),
        `with_face` (share of frames), `sync_peak` and `sync_lag` (in frames) of lips and loudness.
    """
    rows = {}
    for path in sorted(folder.glob(f"*{FACTS_END}")):
        facts = find_json(path) or {}
        if "matrices" not in facts:  # the report
            continue
        scales = np.sqrt(np.abs(np.linalg.det(np.array(facts["matrices"])[:, :, :2])))
        rows[facts["name"]] = {
            "source": facts["source"]["video"],
            "start_s": facts["start_s"],
            "seconds": facts["frames"] / facts["fps"],
            "face_px": round(float((facts["crop_box_px"][1] / scales).mean())),
            "with_face": 1 - len(facts["frames_without_face"]) / facts["frames"],
            "sync_peak": facts["landmark_sync"]["peak"],
            "sync_lag": facts["landmark_sync"]["lag_frames"],
        }
    return pd.DataFrame.from_dict(rows, orient="index").rename_axis("piece")


# --- one source ---


def prepare_one(
    source: Source, options: PrepareOptions, tools: Tools, folder: Path, before: dict | None, bar: tqdm | None = None
) -> Outcome:
    """Makes the missing pieces of one source. Errors are reported in the outcome.

    Args:
        before: the source's entry in an earlier report.
    """
    try:
        wanted = signature(source, options, tools)
        if _was_finished(before, folder, wanted):
            entry = {
                key: before[key] for key in ("status", "signature", "reason", "pieces", "dropped") if key in before
            }
            return Outcome(source.video.name, **entry, is_cached=True)
        return _make(source, options, tools, folder, wanted, bar)
    except LatentSyncError as error:  # no signature, so that it is tried again: the disk may have been full
        return Outcome(source.video.name, "left out", reason=str(error))
    except Exception as error:  # a defect must not stop the following files; it is noted with its trace
        if (sentence := sentence_of(error)) is not None:
            return Outcome(source.video.name, "failed", reason=sentence)
        reason = f"{type(error).__name__}: {error}"
        return Outcome(source.video.name, "failed", reason=reason, trace=traceback.format_exc())


def _was_finished(before: dict | None, folder: Path, wanted: str) -> bool:
    return (
        before is not None
        and before.get("signature") == wanted
        and before.get("status") != "failed"
        and all(is_done(name, folder, wanted) for name in before.get("pieces", ()))
    )


def _make(
    source: Source, options: PrepareOptions, tools: Tools, folder: Path, wanted: str, bar: tqdm | None
) -> Outcome:
    outcome = Outcome(source.video.name, "done", wanted)
    _remove_others(source, folder, wanted)
    with private_folder(folder) as work:
        pieces = prepare_source(
            source,
            options,
            tools,
            work,
            is_done=lambda name: is_done(name, folder, wanted),
            on_frame=bar.update if bar is not None else lambda: None,
        )
        for result in pieces:
            if isinstance(result, Dropped):
                outcome.dropped.append(result.entry())
                continue
            if isinstance(result, Piece):
                _take_in(result, folder)
            outcome.pieces.append(result.name if isinstance(result, Piece) else result)
    if not outcome.pieces:
        reasons = sorted({entry["reason"] for entry in outcome.dropped})
        outcome.status, outcome.reason = "left out", "; ".join(reasons[:3])
    return outcome


# --- all sources ---


def load_judge(syncnet: str | None, min_confidence: float | None) -> SyncNet | SyncMini | None:
    """The network that judges sync: the model's own SyncNet if `syncnet` is a shipped model or a model folder, else
    the SyncNet v2 of that file.

    Raises:
        OptionError: the model has no trained SyncNet, or min_confidence is out of range or given without a model.
        WeightsError: the file or the model is damaged or belongs to another network.
    """
    is_model = syncnet is not None and (model_folder(syncnet) / INDEX_FILE).is_file()
    if min_confidence is not None and not is_model:
        raise OptionError("--min_confidence needs the SyncNet of a model, such as --syncnet mini; leave it out")
    if not is_model:
        return None if syncnet is None else load_syncnet(Path(syncnet))
    least = LEAST_MINI_CONFIDENCE if min_confidence is None else min_confidence
    return SyncMini(load_trained_syncnet(syncnet), least)


def load_tools(syncnet: str | None, min_confidence: float | None) -> Tools:
    """The landmark networks of inference, scenedetect if it is installed, and the SyncNet if one is given."""
    judge = load_judge(syncnet, min_confidence)  # first, so that its errors appear at once
    return Tools(MediaPipeLandmarks(), find_cut_detector(), judge)


@contextmanager
def _one_thread() -> Iterator[None]:
    """Lets torch use one thread, because with such small pictures more threads only wait."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def _start_worker(*syncnet: Any) -> None:
    global _tools
    torch.set_num_threads(1)  # the workers share the cores
    _tools = load_tools(*syncnet)


def _work(source: Source, options: PrepareOptions, folder: Path, before: dict | None) -> Outcome:
    return prepare_one(source, options, _tools, folder, before)


def _outcomes(
    sources: list[Source], folder: Path, options: PrepareOptions, workers: int, judge: tuple, entries: dict
) -> Iterator[Outcome]:
    """The outcome of each source as it is finished.

    Args:
        judge: the arguments of `load_judge`.
    """
    if workers == 1:
        tools = load_tools(*judge)
        with _one_thread(), tqdm(unit="frame", desc="prepare", disable=bars_off()) as bar:
            for number, source in enumerate(sources, start=1):
                bar.set_postfix_str(f"{number}/{len(sources)} {source.video.name}")
                yield prepare_one(source, options, tools, folder, entries.get(source.video.name), bar)
        return
    load_judge(*judge)  # so that its errors appear once
    with Workers(workers, _start_worker, judge) as pool:
        waiting = {
            pool.submit(_work, source, options, folder, entries.get(source.video.name)): source for source in sources
        }
        for future in tqdm(as_completed(waiting), total=len(waiting), unit="video", desc="prepare", disable=bars_off()):
            try:
                yield future.result()
            except Exception as error:  # the process died (memory, a crash in a decoder); the next run tries again
                yield Outcome(waiting[future].video.name, "failed", reason=f"its process ended: {error!r}")


def prepare(
    input_dir: Path,
    output_dir: Path,
    options: PrepareOptions | None = None,
    workers: int = 1,
    syncnet: str | None = None,
    min_confidence: float | None = None,
) -> list[Outcome]:
    """Makes the pieces of each video of a folder, and keeps report.json up to date.

    Pieces that were made from exactly these files with these options are kept.

    Args:
        input_dir: videos with their sound inside or beside them (.wav).
        output_dir: created if missing.
        workers: number of processes.
        syncnet: the judge of sync: a file of SyncNet v2, or a shipped model or model folder with its own SyncNet; None:
            no judge.
        min_confidence: least confidence for a model's own SyncNet, from 0 to below 1; None: 0.05.

    Raises:
        MediaError: input_dir is missing or has no video.
        OptionError: an option is out of range, or output_dir is the input folder.
        WeightsError: the SyncNet is missing or damaged.
    """
    if workers < 1:
        raise OptionError(f"--workers is {workers}; it must be at least 1")
    if output_dir.resolve() == input_dir.resolve():
        raise OptionError(
            f"--output_dir is the input folder {output_dir}, where pieces would count as videos; choose another"
        )
    options, judge = options or PrepareOptions(), (syncnet, min_confidence)
    sources, collisions = find_sources(input_dir)
    sources.sort(key=_is_usable)  # those that will fail come first
    for line in summary_lines(unused_files(input_dir, sources)):
        show(f"left out   {line}")
    with private_folder(output_dir):  # fails at once if the folder cannot be written
        report = output_dir / REPORT_FILE
    entries = (find_json(report) or {}).get("videos", {})
    outcomes = [Outcome(name, "left out", reason=reason) for name, reason in collisions.items()]
    for outcome in outcomes:
        _print_dropped(outcome)
    written = 0.0
    try:
        for outcome in _outcomes(sources, output_dir, options, workers, judge, dict(entries)):
            outcomes.append(outcome)
            _print_dropped(outcome)
            entries[outcome.name] = outcome.entry()
            if time.monotonic() - written > REPORT_EVERY_S:
                write_json(report, {"videos": entries})
                written = time.monotonic()
    finally:
        entries |= {outcome.name: outcome.entry() for outcome in outcomes}
        write_json(report, {"videos": entries})
    return outcomes


def _print_dropped(outcome: Outcome) -> None:
    """Prints the parts that were not used. The used ones are counted at the end."""
    if outcome.status != "done":
        tqdm.write(f"{outcome.status:<9} {outcome.name}: {outcome.reason}", file=sys.stdout)
    else:
        for part in outcome.dropped:
            stretch = f"{part['start_s']:g} to {part['stop_s']:g} s"
            tqdm.write(f"dropped   {outcome.name}, {stretch}: {part['reason']}", file=sys.stdout)
