"""The votes of a blind study: which pairs are shown, how votes are kept, and whether raters paid attention.

A pair has two results of the same clip and voice that differ in one setting. Some pairs check attention instead: equal
ones show one result twice, and damaged ones show a result beside itself with its pictures late.
"""

import csv
import os
import time
import warnings
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass
from io import StringIO
from itertools import combinations
from pathlib import Path

import numpy as np
import pandas as pd

from latentsync.errors import MediaError, OptionError
from latentsync.lab.analysis.preferences import LEFT, NEITHER, PAIR, RIGHT, VOTES
from latentsync.lab.records.labels import SETTINGS
from latentsync.lab.tables.filter import SAME_INPUTS, VARIANT
from latentsync.lab.tables.tidy import require_columns

VOTES_FILE = "votes.csv"
COLUMNS = (
    "rater", "time", "kind", "pair", "clip", "voice", "by", "left", "right", "left_record", "right_record", "vote",
)  # fmt: skip
EQUAL, DAMAGED_LEFT, DAMAGED_RIGHT = "equal", "damaged left", "damaged right"
RIGHT_ANSWERS = {EQUAL: NEITHER, DAMAGED_LEFT: RIGHT, DAMAGED_RIGHT: LEFT}
UNDONE = "undone"  # a vote that was taken back
CHECKS = 2  # pairs that check attention in a study
QUESTION = "In which video do the lips follow the voice better?"


@dataclass(frozen=True)
class Trial:
    """Two videos of the same clip and voice, and the side of each.

    Attributes:
        left, right: the setting that is judged.
        kind: `PAIR`, or the attention check.
    """

    pair: str
    clip: str
    voice: str
    left: float | int | str
    right: float | int | str
    left_record: str
    right_record: str
    kind: str = PAIR

    @property
    def key(self) -> tuple[str, frozenset[str]]:
        """What is compared, without its sides."""
        return key_of(self.kind, self.left_record, self.right_record)


def key_of(kind: str, left_record: str, right_record: str) -> tuple[str, frozenset[str]]:
    """What a vote is on, without the sides of the videos."""
    return kind.partition(" ")[0], frozenset((left_record, right_record))


def trials_of(
    table: pd.DataFrame,
    by: str = "guidance_scale",
    seed: int = 0,
    number: int | None = None,
    checks: int = CHECKS,
) -> list[Trial]:
    """All pairs of two records that differ only in `by`, in random order, and attention checks among them.

    Each round has one pair of every two settings, so that every first part of the list is balanced. Against each other
    setting, a setting is on the left as often as on the right; the numbers differ by at most one.

    Args:
        table: a table of `collect_wide`.
        seed: of the order, the sides and the checks.
        number: how many pairs, from the first on; None takes all.
        checks: how many attention checks, damaged and equal ones in turn; at most one for each pair.

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
    rounds: dict[int, list[Trial]] = defaultdict(list)
    for both in of_settings.values():
        turned = rng.permutation((np.arange(len(both)) + rng.integers(2)) % 2)
        for place, (index, turn) in enumerate(zip(rng.permutation(len(both)), turned, strict=True)):
            left, right = both[index][::-1] if turn else both[index]
            rounds[place].append(_trial(left, right, by))
    pairs = [one[i] for one in rounds.values() for i in rng.permutation(len(one))][:number]
    return _with_checks(pairs, min(checks, len(pairs)), rng)


def _trial(left: dict, right: dict, by: str) -> Trial:
    return Trial(left["pair"], left["clip"], left["voice"], left[by], right[by], left["record"], right["record"])


def _with_checks(pairs: list[Trial], checks: int, rng: np.random.Generator) -> list[Trial]:
    """The pairs with checks made of some of them, each somewhere in its own part of the list."""
    result, parts = [], np.array_split(np.arange(len(pairs)), max(1, checks))
    for number, part in enumerate(parts):
        inside = [pairs[i] for i in part]
        if number < checks:
            of = inside[rng.integers(len(inside))]
            kind = EQUAL if number % 2 else (DAMAGED_LEFT, DAMAGED_RIGHT)[rng.integers(2)]
            check = Trial(of.pair, of.clip, of.voice, of.left, of.left, of.left_record, of.left_record, kind)
            inside.insert(rng.integers(len(inside) + 1), check)
        result += inside
    return result


def read_votes(path: str | Path) -> pd.DataFrame:
    """The votes of a file, one row each, with the columns `COLUMNS`. Settings are numbers if all of them are.

    Of several votes of a rater on one pair the last holds; a vote that was taken back is left out. An incomplete line,
    left by a full disk or a killed process, is skipped with a warning.

    Raises:
        MediaError: there is no such file.
    """
    path = Path(path)
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except OSError as error:
        raise MediaError(
            f"{path} cannot be read ({error.strerror}); BlindRating(...) or latentsync rate writes it"
        ) from error
    last: dict[tuple, list[str]] = {}
    for number, row in enumerate(csv.reader(lines), start=1):
        if tuple(row) == COLUMNS or not row:
            continue
        if len(row) != len(COLUMNS) or row[-1] not in (*VOTES, UNDONE):
            warnings.warn(f"{path}, line {number} is not a complete vote and is skipped", stacklevel=2)
            continue
        fields = dict(zip(COLUMNS, row, strict=True))
        who = fields["rater"].strip() or number  # votes without a name may be of several people
        last[who, fields["by"], key_of(fields["kind"], fields["left_record"], fields["right_record"])] = row
    votes = pd.DataFrame([row for row in last.values() if row[-1] != UNDONE], columns=list(COLUMNS), dtype=object)
    numbers = votes[["left", "right"]].apply(pd.to_numeric, errors="coerce")
    return votes.assign(left=numbers["left"], right=numbers["right"]) if numbers.notna().all(axis=None) else votes


def append_vote(path: Path, trial: Trial, by: str, rater: str, vote: str, at: str | None = None) -> None:
    """Appends a vote, or `UNDONE`, to a file by a single write, and flushes it to the disk.

    Args:
        at: when, as `YYYY-MM-DDThh:mm:ssZ`; None is now.

    Raises:
        MediaError: the file cannot be written.
    """
    row = {**vars(trial), "by": by, "rater": rater, "vote": vote}
    row["time"] = at or time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
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


def require_votes_on(votes: pd.DataFrame, records: Iterable[str], path: Path, where: str) -> None:
    """Refuses votes on records that are not there.

    Raises:
        OptionError: a vote is on another record; the message names it.
    """
    known = set(records)
    foreign = [record for record in pd.concat([votes["left_record"], votes["right_record"]]) if record not in known]
    if foreign:
        raise OptionError(
            f"{path} has votes on record {foreign[0]}, which {where} does not have: they are of another sweep; "
            f"give its name, or another file of votes"
        )


def attention(votes: pd.DataFrame) -> pd.DataFrame:
    """How many attention checks each rater passed: `rater`, `checks`, `passed`, `left` (share of votes for the left).

    A check of equals is passed by a vote for neither, one with a damaged video by a vote for the other. Ties are left
    out of the share of votes for the left; it is near a half where the side does not matter.

    Args:
        votes: a table of `read_votes`.
    """
    rows = []
    for rater, own in votes.groupby("rater", sort=True):
        checks, pairs = own[own["kind"] != PAIR], own[(own["kind"] == PAIR) & (own["vote"] != NEITHER)]
        passed = int((checks["vote"] == checks["kind"].map(RIGHT_ANSWERS)).sum())
        share = float((pairs["vote"] == LEFT).mean()) if len(pairs) else float("nan")
        rows.append(
            {"rater": rater, "votes": len(own) - len(checks), "checks": len(checks), "passed": passed, "left": share}
        )
    return pd.DataFrame(rows, columns=["rater", "votes", "checks", "passed", "left"])
