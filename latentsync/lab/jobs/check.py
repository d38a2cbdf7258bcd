"""Checks clips and voices before any model is loaded: whether each can be used, and what to do."""

import json
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from tqdm import tqdm

from latentsync.errors import LatentSyncError, MediaError
from latentsync.faces.landmarks import LandmarkDetector
from latentsync.lab.jobs.inspection import Picture, Sound, picture_of, sound_of
from latentsync.lab.options.inputs import refusal
from latentsync.lab.options.pairs import Pair, find_pairs, gender_of, listed_pairs
from latentsync.media.clock import clock_of
from latentsync.media.kinds import Kind, kind_of, kinds_in
from latentsync.names import named_path, printable
from latentsync.verbosity import bars_off

LIST_SUFFIXES = (".csv", ".tsv", ".txt")
SMALL_FACE_PX = 96  # narrower faces are enlarged much
LEAST_OFFSET_S = 0.04  # one frame
SILENT_DB, QUIET_DB = -80.0, -30.0  # of the peak
CLIPPED_SHARE = 0.001
OK, NOTE, REFUSED = "ok", "note", "refused"
NOT_USED = "not used"


@dataclass
class FileCheck:
    """What is known about a file.

    Attributes:
        use: "clip", "voice", "clip and voice" or "not used".
        gender: of a clip.
        verdict: "ok", "note" (it can be used, but see the remarks) or "refused".
        remarks: sentences, each with its remedy.
    """

    path: str
    use: str
    gender: str | None = None
    verdict: str = OK
    remarks: list[str] = field(default_factory=list)
    picture: Picture | None = None
    sound: Sound | None = None

    def add(self, verdict: str, remark: str) -> None:
        """Adds a remark. The worst verdict counts."""
        self.verdict = max(verdict, self.verdict, key=(OK, NOTE, REFUSED).index)
        self.remarks.append(printable(remark.removeprefix(f"{self.path} ")))


@dataclass
class Check:
    """The files of a folder or list.

    Attributes:
        pairs: how many pairs they give.
        problems: rows of a list that are refused, or why a folder gives no pair.
    """

    files: list[FileCheck]
    pairs: int
    problems: list[str]

    @property
    def is_usable(self) -> bool:
        """Whether nothing is refused."""
        return not self.problems and all(one.verdict != REFUSED for one in self.files)

    def columns(self) -> dict[str, list[Any]]:
        """The columns of the table that the command prints."""
        return {
            "file": [printable(one.path) for one in self.files],
            "use": [one.use for one in self.files],
            "gender": [one.gender for one in self.files],
            "picture": [one.picture and one.picture.size_text for one in self.files],
            "face": [one.picture and one.picture.face_text for one in self.files],
            "cuts": [None if one.picture is None else one.picture.cuts for one in self.files],
            "sound": [one.sound and one.sound.kind_text for one in self.files],
            "peak": [one.sound and one.sound.peak_text for one in self.files],
            "verdict": [one.verdict for one in self.files],
            "remarks": ["; ".join(one.remarks) or None for one in self.files],
        }

    def summary(self) -> str:
        """How many files have which verdict, and the number of pairs."""
        counts = {verdict: sum(one.verdict == verdict for one in self.files) for verdict in (OK, NOTE, REFUSED)}
        words = ", ".join(f"{number} {verdict}" for verdict, number in counts.items() if number)
        files, pairs = ("" if number == 1 else "s" for number in (len(self.files), self.pairs))
        return f"{len(self.files)} file{files} ({words or 'none'}), {self.pairs} pair{pairs}"

    def to_json(self) -> str:
        """Everything as JSON."""
        return json.dumps({"usable": self.is_usable, **asdict(self)}, indent=2)


def check(source: str | Path, detector: LandmarkDetector, split: str | None = None) -> Check:
    """Checks the files of a folder or of a list of pairs, or one file.

    Args:
        detector: finds the faces.
        split: only the pairs of a list's split.

    Raises:
        MediaError: there is nothing at `source`, or it is a list that is no table.
        OptionError: no pair of the list has this split.
    """
    source = named_path(source)
    if source.is_dir():
        uses, pairs, problems = _of_folder(source)
    elif source.suffix.lower() in LIST_SUFFIXES:
        uses, pairs, problems = _of_list(source, split)
    elif source.is_file():
        uses, pairs, problems = {source: _as_kind(source, kind_of(source))}, 0, []
    else:
        raise MediaError(f"there is nothing at {source}; give a folder, a list of pairs or a file")
    for path in tqdm(uses, desc="check", unit="file", disable=bars_off(), leave=False):
        try:
            _check_file(path, uses[path], detector)
        except LatentSyncError as error:  # it vanished in between
            uses[path].add(REFUSED, str(error))
    return Check(list(uses.values()), pairs, problems)


# --- which files ---


def _of_folder(folder: Path) -> tuple[dict[Path, FileCheck], int, list[str]]:
    try:
        pairing = find_pairs(folder)
        pairs, left_out, problems = len(pairing.pairs), pairing.left_out, []
    except MediaError as error:
        pairs, left_out, problems = 0, (), [str(error)]
    uses = {path: _as_kind(path, kind) for path, kind in kinds_in(folder).items()}
    by_name = {one.path: one for one in uses.values()}
    for name, reason in left_out:
        if name not in by_name:
            problems.append(f"{printable(name)}: {reason}")
        elif reason not in by_name[name].remarks:
            by_name[name].add(NOTE, reason)
    return uses, pairs, problems


def _as_kind(path: Path, kind: Kind) -> FileCheck:
    """A file before it is looked at; if it is neither clip nor voice, with the reason."""
    one = FileCheck(path.name, "clip" if kind.is_clip else kind.name or NOT_USED)
    one.gender = None if one.use == NOT_USED else gender_of(path)
    if kind.reason is not None:
        one.add(NOTE, kind.reason)
    return one


def _of_list(path: Path, split: str | None) -> tuple[dict[Path, FileCheck], int, list[str]]:
    uses: dict[Path, FileCheck] = {}
    pairs, problems = 0, []
    for pair in listed_pairs(path, split):
        if isinstance(pair, Pair):
            pairs += 1
            for file, use in ((pair.clip, "clip"), (pair.voice, "voice")):
                _add_use(uses, path.parent, file, use, pair)
        else:
            problems.append(str(pair))
    return uses, pairs, problems


def _add_use(uses: dict[Path, FileCheck], folder: Path, file: Path, use: str, pair: Pair) -> None:
    name = str(file.relative_to(folder)) if file.is_relative_to(folder) else str(file)
    one = uses.setdefault(file, FileCheck(name, use))
    if one.use not in (use, "clip and voice"):
        one.use = "clip and voice"
    if use == "clip":
        if one.gender not in (None, pair.gender):
            one.add(NOTE, f"the list calls it {one.gender} and {pair.gender}; give one gender")
        one.gender = one.gender or pair.gender


# --- one file ---


def _check_file(path: Path, one: FileCheck, detector: LandmarkDetector) -> None:
    is_clip, is_voice = "clip" in one.use, "voice" in one.use
    for use in [True] * is_clip + [False] * is_voice:
        if (reason := refusal(path, use)) is not None:
            one.add(REFUSED, reason.removeprefix(f"{path} ").removeprefix(f"{path.name} "))
            return
    if is_clip:
        try:
            one.picture = picture_of(path, detector)
        except LatentSyncError as error:
            one.add(REFUSED, str(error))
            return
        _judge_picture(one, one.picture)
    if is_voice or (is_clip and clock_of(path).has_sound):
        try:
            one.sound = sound_of(path)
        except LatentSyncError as error:
            if is_voice:
                one.add(REFUSED, str(error))
            else:
                one.add(NOTE, f"its own sound cannot be decoded ({error}); use it with another voice only")
            return
        if one.sound is not None:
            _judge_sound(one, one.sound, is_voice)


def _judge_picture(one: FileCheck, picture: Picture) -> None:
    if not picture.faces:
        one.add(
            REFUSED,
            f"no face in any of {picture.sampled} frames; crop or turn the clip so that a face fills at least a tenth "
            f"of its longer side",
        )
        return
    if missing := picture.sampled - picture.faces:
        one.add(NOTE, f"{missing} of {picture.sampled} frames show no face and would stay as they are")
    if picture.people > 1:
        one.add(NOTE, f"up to {picture.people} faces in a frame, of which the largest is taken; choose with video.face")
    if picture.cuts:
        number = "a cut" if picture.cuts == 1 else f"at least {picture.cuts} cuts"
        one.add(NOTE, f"{number}, where another face may be followed; cut the clip there")
    if picture.face_px < SMALL_FACE_PX:
        one.add(NOTE, f"the face is {picture.face_px:.0f} px wide; below {SMALL_FACE_PX} px results look soft")


def _judge_sound(one: FileCheck, sound: Sound, is_voice: bool) -> None:
    if sound.peak_db is None or sound.peak_db < SILENT_DB:
        one.add(NOTE, "its sound is silent; check the recording")
    elif is_voice and sound.peak_db < QUIET_DB:
        one.add(NOTE, f"its sound is quiet (peak {sound.peak_db:g} dB); raise it above {QUIET_DB:g} dB")
    if sound.clipped > CLIPPED_SHARE:
        one.add(NOTE, f"{sound.clipped:.1%} of its sound is clipped; record it at a lower level")
    if sound.starts_s is not None and abs(sound.starts_s) >= LEAST_OFFSET_S:
        when = "after" if sound.starts_s > 0 else "before"
        one.add(
            NOTE,
            f"its sound begins {abs(sound.starts_s):.2f} s {when} its pictures, and is taken so; measure lips and "
            f"sound with `latentsync resync`",
        )
