"""A blind rating in one notebook cell: two results of the same clip and voice side by side, without labels.

It follows the rules of the rating that is one file (`latentsync rate`) and has the same front end. Each vote is stored
at once, and a rater can continue later. `preferences.fit` turns the votes into scores.
"""

import zlib
from pathlib import Path
from typing import Any

import anywidget
import traitlets
from IPython.display import HTML, display

from latentsync.errors import LatentSyncError, MediaError, OptionError, sentence_of
from latentsync.lab.analysis.preferences import TURNED, VOTES
from latentsync.lab.analysis.votes import (
    CHECKS,
    QUESTION,
    UNDONE,
    VOTES_FILE,
    Trial,
    append_vote,
    key_of,
    read_votes,
    require_votes_on,
    trials_of,
)
from latentsync.lab.options.folders import plain_name, sweep_folder
from latentsync.lab.pages.bundle import page_file, script
from latentsync.lab.pages.copies import PAGE_BYTES, fitting
from latentsync.lab.pages.rating import RATING_STYLES, WIDTH_PX, showing_of, sides_of, study_facts, videos_of
from latentsync.lab.records.store import RecordStore
from latentsync.lab.tables.tidy import collect_wide
from latentsync.lab.widgets.player import still_picture
from latentsync.lab.widgets.runs import runs_folder

NOT_RUNNING = "Run this cell to start the rating. Votes that were given are stored."


class BlindRating(anywidget.AnyWidget):
    """A widget that asks a rater which of two results of a sweep is better. A notebook displays it by itself.

    It does not show which record is which. A pair can be voted on after both videos were played.

    Attributes:
        path: the file of the votes.
        trials: all pairs and attention checks, in this rater's order.
        votes: the rater's vote on each, by its place in `trials`.
        current: the first pair without a vote; None when all are done.
    """

    _esm = script("rating_widget.js")
    styles = traitlets.Unicode("\n".join(map(page_file, RATING_STYLES))).tag(sync=True)
    still = traitlets.Unicode().tag(sync=True)
    study = traitlets.Dict().tag(sync=True)
    rater = traitlets.Unicode().tag(sync=True)

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
        checks: int = CHECKS,
    ) -> None:
        """
        Args:
            sweep: the sweep whose records are compared; None takes all records of the store.
            by: the setting that is judged; all other settings are equal within a pair.
            votes: the name of the file of votes, in the sweep's folder (without a sweep, in `runs_dir`).
            rater: a name or number, so that each rater continues where they stopped; "" asks for it.
            seed: the seed of order and sides; None gives each rater their own order, always the same.
            number: how many pairs to show, from the first on; None shows all.
            checks: how many pairs that check attention, see `votes.trials_of`.

        Raises:
            OptionError: no two records can be compared, or the votes are of another sweep.
            MediaError: there is no such folder.
        """
        folder = runs_folder(runs_dir)
        self._store, self.by = RecordStore(folder), by
        self.path = (folder if sweep is None else sweep_folder(folder, plain_name(sweep))) / plain_name(votes)
        self._table = collect_wide(folder, sweep)
        if self._table.empty:
            raise OptionError(f"{folder.absolute()} has no finished record{f' of sweep {sweep}' if sweep else ''}")
        self._where = f"sweep {sweep}" if sweep else f"{folder.absolute()}"
        self._seed, self._number, self._checks = seed, number, checks
        self.votes: dict[int, str] = {}
        self.begin(rater)
        super().__init__(study=study_facts(question), rater=rater, still=f"rating-{id(self):x}")
        self.on_msg(lambda _, message, __: self._answer(message))

    def _ipython_display_(self) -> None:
        display(HTML(still_picture([], self.still, NOT_RUNNING)))
        data, metadata = super()._repr_mimebundle_()
        display(data, metadata=metadata, raw=True)

    @property
    def current(self) -> Trial | None:
        """The first pair without a vote."""
        return next((trial for place, trial in enumerate(self.trials) if place not in self.votes), None)

    def begin(self, rater: str) -> None:
        """Takes the order of a rater, and their votes so far.

        Raises:
            OptionError: the votes are of another sweep.
        """
        order = zlib.crc32(rater.encode()) if self._seed is None else self._seed
        self._rater = rater
        self.trials = trials_of(self._table, self.by, order, self._number, self._checks)
        self.votes = {}
        if not self.path.is_file():
            return
        votes = read_votes(self.path)
        require_votes_on(votes, self._table["record"], self.path, self._where)
        ours = votes[(votes["rater"] == rater) & (votes["by"] == self.by)]
        given = {}
        for row in ours.itertuples():
            given[key_of(row.kind, row.left_record, row.right_record)] = row.kind, row.left_record, row.vote
        for place, trial in enumerate(self.trials):
            if trial.key in given:
                kind, left_record, vote = given[trial.key]
                is_turned = (kind, left_record) != (trial.kind, trial.left_record)
                self.votes[place] = TURNED[vote] if is_turned else vote

    def vote(self, vote: str | None, place: int | None = None) -> None:
        """Stores a vote (left, right or neither), which replaces an earlier one; None takes it back.

        Args:
            place: in `trials`; None is the current pair.

        Raises:
            OptionError: the vote is none of these, or there is no such pair.
            MediaError: the vote cannot be stored.
        """
        if vote is not None and vote not in VOTES:
            raise OptionError(f"vote is {vote!r}; give one of {', '.join(VOTES)}")
        if place is None:
            if self.current is None:
                raise OptionError("all pairs are done; give the place of the pair whose vote is to change")
            place = self.trials.index(self.current)
        if not 0 <= place < len(self.trials):
            raise OptionError(f"place is {place}; there are {len(self.trials)} pairs, from 0 on")
        if self.votes.get(place) == vote:
            return
        append_vote(self.path, self.trials[place], self.by, self._rater, UNDONE if vote is None else vote)
        if vote is None:
            del self.votes[place]
        else:
            self.votes[place] = vote

    def _answer(self, message: dict[str, Any]) -> None:
        """Answers the front end; what cannot be done is said in a sentence."""
        answer, buffers = {"number": message.get("number")}, []
        try:
            if message["do"] == "begin":
                self.begin(str(message["rater"]))
                answer["trials"] = [{"id": place} for place in range(len(self.trials))]
                answer["votes"] = self.votes
            elif message["do"] == "show":
                buffers = self._contents(self.trials[int(message["trial"])])
            else:
                self.vote(message["vote"], int(message["trial"]))
        except (LatentSyncError, OSError) as error:
            answer["refusal"] = sentence_of(error)
        self.send(answer, buffers)

    def _contents(self, trial: Trial) -> list[bytes]:
        """The videos of a pair, left and right."""
        videos = videos_of(self._store, [trial])
        shown = fitting([showing_of(side, videos) for side in sides_of(trial)], [WIDTH_PX] * 2, PAGE_BYTES)
        if None in shown:
            raise MediaError("the two videos are too large to be shown; make them shorter")
        return [one.content for one in shown]
