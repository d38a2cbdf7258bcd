"""A blind rating in one notebook cell: two results of the same clip and voice side by side, without labels.

It follows the rules of the rating that is one file (`latentsync rate`) and has the same front end. Each vote is stored
at once, and a rater can continue later. `preferences.fit` turns the votes into scores.
"""

from pathlib import Path
from typing import Any

import anywidget
import traitlets
from IPython.display import HTML, display

from latentsync.errors import LatentSyncError, MediaError, sentence_of
from latentsync.lab.analysis.votes import CHECKS, QUESTION, VOTES_FILE, Trial
from latentsync.lab.pages.ballot import BallotBox
from latentsync.lab.pages.bundle import page_file, script
from latentsync.lab.pages.copies import PAGE_BYTES, fitting
from latentsync.lab.pages.rating import RATING_STYLES, WIDTH_PX, showing_of, sides_of, study_facts, videos_of
from latentsync.lab.records.store import RecordStore
from latentsync.lab.widgets.player import still_picture
from latentsync.lab.widgets.runs import runs_folder

NOT_RUNNING = "Run this cell to start the rating. Votes that were given are stored."


class BlindRating(anywidget.AnyWidget):
    """A widget that asks a rater which of two results of a sweep is better. A notebook displays it by itself.

    It does not show which record is which. A pair can be voted on after both videos were played.

    Attributes:
        path: the file of the votes.
        by: the setting that is judged.
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
        self._box = BallotBox(folder, sweep, by, votes, seed, number, checks)
        self.path = self._box.path
        self.begin(rater)
        super().__init__(study=study_facts(question), rater=rater, still=f"rating-{id(self):x}")
        self.on_msg(lambda _, message, __: self._answer(message))

    def _ipython_display_(self) -> None:
        display(HTML(still_picture([], self.still, NOT_RUNNING)))
        data, metadata = super()._repr_mimebundle_()
        display(data, metadata=metadata, raw=True)

    @property
    def trials(self) -> list[Trial]:
        """All pairs and attention checks, in this rater's order."""
        return self._ballot.trials

    @property
    def votes(self) -> dict[int, str]:
        """The rater's vote on each pair, by its place in `trials`."""
        return self._ballot.votes

    @property
    def current(self) -> Trial | None:
        """The first pair without a vote; None when all are done."""
        return self._ballot.current

    def begin(self, rater: str) -> None:
        """Takes the order of a rater, and their votes so far.

        Raises:
            OptionError: no two records can be compared, or the votes are of another sweep.
        """
        self._ballot = self._box.ballot(rater)

    def vote(self, vote: str | None, place: int | None = None) -> None:
        """Stores a vote (left, right or neither), which replaces an earlier one; None takes it back.

        Args:
            place: in `trials`; None is the current pair.

        Raises:
            OptionError: the vote is none of these, or there is no such pair.
            MediaError: the vote cannot be stored.
        """
        self._ballot.vote(vote, place)

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
