"""The votes of one rater on the pairs of a sweep, kept as they are given: for a notebook's rating and a served one."""

import zlib
from pathlib import Path

import pandas as pd

from latentsync.errors import OptionError
from latentsync.lab.analysis.preferences import TURNED, VOTES
from latentsync.lab.analysis.votes import (
    CHECKS,
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
from latentsync.lab.tables.tidy import collect_wide


class BallotBox:
    """The pairs of a sweep that are voted on, and the file of all votes.

    Attributes:
        path: the file of the votes.
        by: the setting that is judged; all other settings are equal within a pair.
        table: the wide table of the records.
    """

    def __init__(
        self,
        runs_dir: Path,
        sweep: str | None,
        by: str = "guidance_scale",
        votes: str = VOTES_FILE,
        seed: int | None = None,
        number: int | None = None,
        checks: int = CHECKS,
    ) -> None:
        """
        Args:
            sweep: the sweep whose records are compared; None takes all records of the store.
            votes: the name of the file of votes, in the sweep's folder (without a sweep, in `runs_dir`).
            seed: the seed of order and sides; None gives each rater their own order, always the same.
            number: how many pairs to show, from the first on; None shows all.
            checks: how many pairs that check attention, see `votes.trials_of`.

        Raises:
            OptionError: there is no finished record.
        """
        self.by = by
        self.path = (runs_dir if sweep is None else sweep_folder(runs_dir, plain_name(sweep))) / plain_name(votes)
        self.table: pd.DataFrame = collect_wide(runs_dir, sweep)
        if self.table.empty:
            raise OptionError(f"{runs_dir.absolute()} has no finished record{f' of sweep {sweep}' if sweep else ''}")
        self._where = f"sweep {sweep}" if sweep else f"{runs_dir.absolute()}"
        self._seed, self._number, self._checks = seed, number, checks

    def ballot(self, rater: str) -> "Ballot":
        """The pairs in a rater's order, with the votes that they have given so far.

        Raises:
            OptionError: no two records can be compared, or the votes are of another sweep.
        """
        order = zlib.crc32(rater.encode()) if self._seed is None else self._seed
        trials = trials_of(self.table, self.by, order, self._number, self._checks)
        return Ballot(self.path, self.by, rater, trials, self._given(rater, trials))

    def _given(self, rater: str, trials: list[Trial]) -> dict[int, str]:
        if not self.path.is_file():
            return {}
        votes = read_votes(self.path)
        require_votes_on(votes, self.table["record"], self.path, self._where)
        ours = votes[(votes["rater"] == rater) & (votes["by"] == self.by)]
        given = {
            key_of(row.kind, row.left_record, row.right_record): (row.kind, row.left_record, row.vote)
            for row in ours.itertuples()
        }
        found = {}
        for place, trial in enumerate(trials):
            if trial.key in given:
                kind, left_record, vote = given[trial.key]
                is_turned = (kind, left_record) != (trial.kind, trial.left_record)
                found[place] = TURNED[vote] if is_turned else vote
        return found


class Ballot:
    """The pairs and the votes of one rater.

    Attributes:
        trials: all pairs and attention checks, in this rater's order.
        votes: the rater's vote on each, by its place in `trials`.
    """

    def __init__(self, path: Path, by: str, rater: str, trials: list[Trial], votes: dict[int, str]) -> None:
        self._path, self._by, self._rater = path, by, rater
        self.trials, self.votes = trials, votes

    @property
    def current(self) -> Trial | None:
        """The first pair without a vote; None when all are done."""
        return next((trial for place, trial in enumerate(self.trials) if place not in self.votes), None)

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
        append_vote(self._path, self.trials[place], self._by, self._rater, UNDONE if vote is None else vote)
        if vote is None:
            del self.votes[place]
        else:
            self.votes[place] = vote
