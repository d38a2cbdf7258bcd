"""The blind rating of a sweep, served: pairs and videos under names that say nothing, and votes, stored at once.

It has the rules, the front end and the file of votes of a notebook's rating.
"""

import asyncio
import hashlib
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from latentsync.errors import OptionError
from latentsync.lab.records.labels import SETTINGS, word_of
from latentsync.lab.records.sweeps import sweep_in, sweep_names
from latentsync.lab.serving.bodies import body_of
from latentsync.lab.serving.helper import NOW, Helper
from latentsync.lab.tables.filter import VARIANT
from latentsync.lab.tables.tidy import collect_wide

if TYPE_CHECKING:
    from latentsync.lab.analysis.votes import Trial
    from latentsync.lab.pages.ballot import Ballot

SIDES = ("left", "right")
LONGEST_NAME = 60  # of a rater, as in rating.js


class ServedRating:
    """What stands behind the rating's addresses. The large packages that it needs are imported when it is first used.

    Args:
        runs: the runs folder.
        sweep: the sweep that is rated where a request names none.
        helper: prepares the videos.
    """

    def __init__(self, runs: Path, sweep: str | None, helper: Helper) -> None:
        self._runs, self._sweep, self._helper = runs, sweep, helper
        self._ballots: dict[tuple[str, str, str], Ballot] = {}
        self._lock = asyncio.Lock()  # votes are stored one after the other

    async def study(self, request: Request) -> Response:
        """What raters are asked, the sweeps, and the settings of one that can be judged."""
        return JSONResponse(await asyncio.to_thread(self._study, request.query_params.get("sweep")))

    def _study(self, sweep: str | None) -> dict[str, Any]:
        from latentsync.lab.pages.rating import study_facts

        names = sweep_names(self._runs)
        sweep = sweep_in(self._runs, sweep or self._sweep or next(iter(names), None))
        table = collect_wide(self._runs, sweep)
        varied = [name for name in (*SETTINGS, *VARIANT) if name in table and table[name].nunique() > 1]
        settings = [name for name in varied if _can_be_judged(table, name)]
        return {
            **study_facts(),
            "sweep": sweep,
            "sweeps": names,
            "settings": [(name, word_of(name)) for name in settings],
        }

    async def trials(self, request: Request) -> Response:
        """A rater's pairs in order, and the votes that they have given."""
        query = request.query_params
        key = _key(query)
        async with self._lock:
            ballot = self._ballots[key] = await asyncio.to_thread(self._begun, *key)
        trials = [{"id": name_of(trial)} for trial in ballot.trials]
        votes = {trials[place]["id"]: vote for place, vote in ballot.votes.items()}
        return JSONResponse({"trials": trials, "votes": votes})

    def _begun(self, sweep: str, by: str, rater: str) -> "Ballot":
        from latentsync.lab.pages.ballot import BallotBox

        box = BallotBox(self._runs, sweep_in(self._runs, sweep), by)
        return box.ballot(rater)

    async def video(self, request: Request) -> Response:
        """The video at a side of a pair."""
        query = request.query_params
        side = query.get("side")
        if side not in SIDES:
            raise HTTPException(404, f"A pair has no side {side!r}; it has left and right.")
        ballot = await self._ballot(_key(query))
        trial = ballot.trials[_place(ballot, query.get("trial"))]
        content = await self._helper.call(NOW, side_video, self._runs, trial, side, is_gone=request.is_disconnected)
        return Response(content, media_type="video/mp4")

    async def vote(self, request: Request) -> Response:
        """Stores a vote, or takes one back."""
        body = await body_of(request)
        vote = body.get("vote")
        async with self._lock:
            ballot = await self._ballot(_key(body))
            await asyncio.to_thread(ballot.vote, vote, _place(ballot, body.get("trial")))
        return JSONResponse({})

    async def _ballot(self, key: tuple[str, str, str]) -> "Ballot":
        """The ballot that a rater began; it is begun again where the server was started anew meanwhile."""
        if key not in self._ballots:
            self._ballots[key] = await asyncio.to_thread(self._begun, *key)
        return self._ballots[key]


def _can_be_judged(table: Any, by: str) -> bool:
    from latentsync.lab.analysis.votes import trials_of

    try:
        trials_of(table, by, number=1, checks=0)
    except OptionError:
        return False
    return True


def name_of(trial: "Trial") -> str:
    """A name of a pair that says nothing of it. It is another one if its sides are turned."""
    text = f"{trial.kind}\n{trial.left_record}\n{trial.right_record}"
    return hashlib.sha256(text.encode()).hexdigest()[:12]


def _place(ballot: "Ballot", name: Any) -> int:
    """The place of a pair.

    Raises:
        OptionError: the rater has no such pair.
    """
    for place, trial in enumerate(ballot.trials):
        if name_of(trial) == name:
            return place
    raise OptionError("the pairs of this sweep have changed; load the page anew, your votes are kept")


def _key(given: Any) -> tuple[str, str, str]:
    """Sweep, judged setting and rater of a request."""
    sweep, by, rater = (given.get(name) for name in ("sweep", "by", "rater"))
    if not (isinstance(sweep, str) and isinstance(by, str) and isinstance(rater, str) and sweep and by):
        raise HTTPException(400, "A request on a rating names sweep, by and rater.")
    if not 0 < len(rater.strip()) <= LONGEST_NAME:
        raise HTTPException(400, f"Give a name or number of 1 to {LONGEST_NAME} characters.")
    return sweep, by, rater.strip()


def side_video(runs: Path, trial: "Trial", side: str) -> bytes:
    """The video at a side of a pair, as the other forms of the rating show it; for the helper process.

    Raises:
        MediaError: a record is gone, or its video cannot be read.
    """
    from latentsync.lab.pages.copies import DENSITIES
    from latentsync.lab.pages.rating import WIDTH_PX, showing_of, sides_of, videos_of
    from latentsync.lab.records.store import RecordStore

    showing: Callable = showing_of(sides_of(trial)[SIDES.index(side)], videos_of(RecordStore(runs), [trial]))
    return showing(DENSITIES[0] * WIDTH_PX).content
