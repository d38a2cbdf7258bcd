"""A blind user study in one notebook cell: two results of the same clip and voice side by side, without labels.

Order and sides are random. Each vote is stored at once, and a rater can continue later. `preferences.fit` turns the
votes into scores.
"""

import csv
import os
import time
import warnings
import zlib
from collections import defaultdict
from dataclasses import dataclass
from html import escape
from io import StringIO
from itertools import combinations
from pathlib import Path
from uuid import uuid4

import ipywidgets as widgets
import numpy as np
import pandas as pd

from latentsync.errors import MediaError, OptionError
from latentsync.lab.analysis.preferences import LEFT, NEITHER, RIGHT, VOTES
from latentsync.lab.options.folders import plain_name, sweep_folder
from latentsync.lab.pages.copies import embedded, file_showing
from latentsync.lab.pages.player import Track, player
from latentsync.lab.records.labels import SETTINGS
from latentsync.lab.records.store import RecordStore
from latentsync.lab.tables.filter import SAME_INPUTS, VARIANT
from latentsync.lab.tables.tidy import collect_wide, require_columns

VOTES_FILE = "votes.csv"
COLUMNS = (
    "rater", "time", "pair", "clip", "voice", "by", "left", "right", "left_record", "right_record", "vote",
)  # fmt: skip
KEYS = {"1": LEFT, "0": NEITHER, "2": RIGHT}
WIDTH_PX = 384  # of each video
QUESTION = "In which video do the lips follow the voice better?"


@dataclass(frozen=True)
class Comparison:
    """Two records of the same clip and voice that differ in one setting, and the side of each."""

    pair: str
    clip: str
    voice: str
    left: float | int | str
    right: float | int | str
    left_record: str
    right_record: str

    @property
    def records(self) -> frozenset[str]:
        """The two records, without their sides."""
        return frozenset((self.left_record, self.right_record))


def comparisons_of(table: pd.DataFrame, by: str = "guidance_scale", seed: int = 0) -> list[Comparison]:
    """All comparisons of two records that differ only in `by`, in random order.

    Each round has one comparison of every two settings, so that every first part of the list is balanced. Against each
    other setting, a setting is on the left as often as on the right; the numbers differ by at most one.

    Args:
        table: a table of `collect_wide`.
        seed: the seed of the order and the sides.

    Raises:
        OptionError: `by` is not a column, or no two records can be compared.
    """
    require_columns(table, by)
    same = [name for name in (*SAME_INPUTS, *SETTINGS, *VARIANT) if name != by]
    of_settings: dict[tuple, list[tuple]] = defaultdict(list)
    for _, rows in table.sort_values([by, "record"]).groupby(same, sort=True, dropna=False):
        for first, second in combinations(rows.drop_duplicates(by).to_dict("records"), 2):
            of_settings[first[by], second[by]].append((first, second))
    if not of_settings:
        raise OptionError(
            f"no two records of the same clip and voice differ only in {by}; sweep it, or choose another `by`"
        )
    rng = np.random.default_rng(seed)
    rounds: dict[int, list[Comparison]] = defaultdict(list)
    for both in of_settings.values():
        turned = rng.permutation((np.arange(len(both)) + rng.integers(2)) % 2)
        for number, (place, turn) in enumerate(zip(rng.permutation(len(both)), turned, strict=True)):
            left, right = both[place][::-1] if turn else both[place]
            rounds[number].append(
                Comparison(
                    left["pair"], left["clip"], left["voice"], left[by], right[by], left["record"], right["record"]
                )
            )
    return [one[i] for one in rounds.values() for i in rng.permutation(len(one))]


def read_votes(path: str | Path) -> pd.DataFrame:
    """The votes of a file, one row each, with the columns `COLUMNS`. Settings are numbers if all of them are.

    An incomplete line, left by a full disk or a killed process, is skipped with a warning.

    Raises:
        MediaError: there is no such file.
    """
    path = Path(path)
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except OSError as error:
        raise MediaError(f"{path} cannot be read ({error.strerror}); BlindRating(...) writes it") from error
    rows = []
    for number, row in enumerate(csv.reader(lines), start=1):
        if tuple(row) == COLUMNS or not row:
            continue
        if len(row) != len(COLUMNS) or row[-1] not in VOTES:
            warnings.warn(f"{path}, line {number} is not a complete vote and is skipped", stacklevel=2)
            continue
        rows.append(row)
    votes = pd.DataFrame(rows, columns=list(COLUMNS), dtype=object)
    numbers = votes[["left", "right"]].apply(pd.to_numeric, errors="coerce")
    return votes.assign(left=numbers["left"], right=numbers["right"]) if numbers.notna().all(axis=None) else votes


def append_vote(path: Path, comparison: Comparison, by: str, rater: str, vote: str) -> None:
    """Appends a vote to a file by a single write, and flushes it to the disk.

    Raises:
        MediaError: the file cannot be written.
    """
    row = {**vars(comparison), "by": by, "rater": rater, "vote": vote}
    row["time"] = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
    text = StringIO()
    csv.writer(text, lineterminator="\n").writerow([row[name] for name in COLUMNS])
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        file = os.open(path, os.O_RDWR | os.O_APPEND | os.O_CREAT, 0o644)
        try:
            size = os.fstat(file).st_size
            is_cut = size > 0 and os.pread(file, 1, size - 1) != b"\n"
            before = "\n" if is_cut else "" if size else ",".join(COLUMNS) + "\n"
            os.write(file, (before + text.getvalue()).encode())
            os.fsync(file)
        finally:
            os.close(file)
    except OSError as error:
        raise MediaError(
            f"{path} cannot be written ({error.strerror}); the vote was not stored, check the folder and vote again"
        ) from error


class BlindRating:
    """A widget that asks a rater which of two results of a sweep is better. A notebook displays it by itself.

    The widget does not show which record is which. After Play, the keys 1, 0 and 2 vote too.

    Attributes:
        path: the file of the votes.
        comparisons: all comparisons, in this rater's order.
        current: the current comparison; None when all are done.
        widget: the whole widget, for use in a larger layout.
    """

    def __init__(
        self,
        runs_dir: str | Path = "runs",
        sweep: str | None = None,
        by: str = "guidance_scale",
        votes: str = VOTES_FILE,
        rater: str = "",
        seed: int | None = None,
        number: int | None = None,
        question: str = QUESTION,
    ) -> None:
        """
        Args:
            sweep: the sweep whose records are compared; None takes all records of the store.
            by: the setting that is judged; all other settings are equal within a comparison.
            votes: the name of the file of votes, in the sweep's folder (without a sweep, in `runs_dir`).
            rater: a name or number, so that each rater continues where they stopped.
            seed: the seed of order and sides; None gives each rater their own order, always the same.
            number: how many comparisons to show, from the first on; None shows all.

        Raises:
            OptionError: no two records can be compared.
        """
        self._store, self.by, self.rater = RecordStore(Path(runs_dir)), by, rater
        folder = Path(runs_dir) if sweep is None else sweep_folder(Path(runs_dir), plain_name(sweep))
        self.path = folder / plain_name(votes)
        table = collect_wide(runs_dir, sweep)
        if table.empty:
            raise OptionError(f"{runs_dir} has no finished record{f' of sweep {sweep}' if sweep else ''}")
        order = zlib.crc32(rater.encode()) if seed is None else seed
        self.comparisons = comparisons_of(table, by, order)[:number]
        self._done = self._voted()
        self._name = f"blind-{uuid4().hex[:8]}"
        self._was_asked = False
        self._build(question)
        self._ask()

    def _repr_mimebundle_(self, **kwargs: object) -> dict:
        return self.widget._repr_mimebundle_(**kwargs)

    def _voted(self) -> set[frozenset[str]]:
        if not self.path.is_file():
            return set()
        votes = read_votes(self.path)
        ours = votes[(votes["rater"] == self.rater) & (votes["by"] == self.by)]
        return {frozenset(both) for both in zip(ours["left_record"], ours["right_record"], strict=True)}

    def _build(self, question: str) -> None:
        self.title, self.status, self.view = widgets.HTML(f"<b>{escape(question)}</b>"), widgets.HTML(), widgets.HTML()
        self.bar = widgets.IntProgress(max=len(self.comparisons), layout=widgets.Layout(width="160px"))
        self.buttons = {
            vote: widgets.Button(description=text, tooltip=f"key {key}, once a video was played")
            for (key, vote), text in zip(KEYS.items(), ("Left", "No difference", "Right"), strict=True)
        }
        for vote, button in self.buttons.items():
            button.add_class(f"{self._name}-{vote}")
            button.on_click(lambda _, vote=vote: self.vote(vote))
        counted = widgets.HBox([self.bar, self.status])
        self.widget = widgets.VBox([self.title, self.view, widgets.HBox([*self.buttons.values()]), counted])

    def _ask(self) -> None:
        """Shows the next comparison that this rater has not voted on."""
        left = [one for one in self.comparisons if one.records not in self._done]
        done = len(self.comparisons) - len(left)
        self.bar.value, self.status.value = done, f"{done} of {len(self.comparisons)}"
        self.current = left[0] if left else None
        for button in self.buttons.values():
            button.disabled = self.current is None
        if self.current is None:
            self.view.value = "<p>All comparisons are done. Thank you.</p>"
            return
        sides = ((LEFT, self.current.left_record), (RIGHT, self.current.right_record))
        try:
            showings = [file_showing(self._video_of(record)) for _, record in sides]
        except (MediaError, OSError) as error:
            self.view.value = f"<p>{escape(str(error))}</p>"
            return
        tracks = embedded([Track(side, "") for side, _ in sides], showings, [WIDTH_PX] * len(sides))
        keys = {key: f"{self._name}-{vote}" for key, vote in KEYS.items()}
        self.view.value = player(tracks, width_px=WIDTH_PX, keys=keys, takes_focus=self._was_asked).data
        self._was_asked = True

    def _video_of(self, record_id: str) -> Path:
        record = self._store.look(record_id)
        if record is None:
            raise MediaError(f"record {record_id} is gone; run its sweep again, or rate another one")
        return record.video_path

    def vote(self, vote: str) -> None:
        """Stores a vote (left, right or neither) on the current comparison, and shows the next one.

        Raises:
            OptionError: the vote is none of these.
        """
        if vote not in VOTES:
            raise OptionError(f"vote is {vote!r}; give one of {', '.join(VOTES)}")
        if self.current is None:
            return
        try:
            append_vote(self.path, self.current, self.by, self.rater, vote)
        except MediaError as error:
            self.status.value = escape(str(error))
            return
        self._done.add(self.current.records)
        self._ask()
