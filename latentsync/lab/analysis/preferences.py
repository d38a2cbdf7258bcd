"""Fits the Bradley-Terry model to votes between two settings: the strength of each setting, with intervals.

Setting i is preferred to j with probability 1 / (1 + exp(s_j - s_i)) (Bradley and Terry, Biometrika 39, 1952). A vote
for neither counts as half a vote for each, so that a probability is a share of votes. Davidson's model (JASA 65, 1970)
would add a parameter for how often raters cannot decide, which does not change the order of the settings.
"""

import math

import numpy as np
import pandas as pd
from scipy import stats
from scipy.sparse.csgraph import connected_components

from latentsync.errors import OptionError
from latentsync.lab.analysis.intervals import ALPHA, LEVEL
from latentsync.lab.analysis.units import clustered_error
from latentsync.lab.tables.tidy import require_columns

LEFT, RIGHT, NEITHER = "left", "right", "neither"
VOTES = (LEFT, RIGHT, NEITHER)
TURNED = {LEFT: RIGHT, RIGHT: LEFT, NEITHER: NEITHER}  # the vote if the sides were the other way round
PAIR = "pair"  # the kind of a vote that is no attention check
NEEDS = ("rater", "clip", "by", "left", "right", "vote")
DRAWS = 2000
LEAST_CLIPS, LEAST_RATERS = 10, 5  # fewest that a bootstrap resamples
MAX_STEP, ITERATIONS = 1.0, 60  # of Newton's method


def fit(votes: pd.DataFrame, baseline: float | str | None = None, prior: float = 0.0) -> pd.DataFrame:
    """The strengths of the settings in a table of votes.

    The 95 % intervals come from a percentile bootstrap. It resamples clips, and also raters if there are at least 5
    (crossed: Owen, Annals of Applied Statistics 1, 2007). Its level is raised for small samples (Hesterberg, The
    American Statistician 69, 2015). With 2 to 4 raters, with fewer than 10 clips, or if more than 1 in 40 draws has no
    finite estimate without the prior, they come from the curvature of the likelihood instead. With several raters its
    errors are clustered by clip and by rater (Student's t); with one rater it assumes independent votes. The column
    `interval` names the method.

    Raters may like one side. If the votes show that (p at most 0.05) and each comparison was shown both ways, the
    model has a term for the left side: without it strengths would be too small.

    Args:
        votes: a table of `votes.read_votes`, with `rater`, `clip`, `by`, `left`, `right` (settings) and `vote`
            (left, right or neither). If a rater voted twice on the same records, the later vote counts. Attention
            checks (another `kind` than "pair") do not count.
        baseline: the setting against which the others' probabilities of being preferred are given; None takes the
            smallest.
        prior: the number of votes for neither to add to each compared pair of settings; 0 is maximum likelihood.

    Returns:
        One row per setting, ascending: `by`, `setting`, `strength` (log odds, sum 0), `low`, `high`, `votes`, `wins`,
        `ties`, `preferred` (probability against the baseline), `preferred_low`, `preferred_high`, `baseline`,
        `left` (probability that the left one of two equal videos is preferred; NaN if it cannot be estimated), `left_p`
        (of 0.5), `interval`.

    Raises:
        OptionError: there are no votes; or a vote has no rater or setting; or settings were never compared, not even
            through others; or some settings won
            all their votes against the rest, so that the estimate is infinite. The message gives the remedy.
    """
    votes, settings = _checked(votes)
    names = [f"{setting:g}" if isinstance(setting, float) else str(setting) for setting in settings]
    baseline = settings[0] if baseline is None else baseline
    if baseline not in settings:
        raise OptionError(f"baseline is {baseline}; choose one of {', '.join(names)}")
    if not (math.isfinite(prior) and prior >= 0):
        raise OptionError(f"prior is {prior}; give a number of votes, at least 0")
    cells, base = _wins(votes, settings), settings.index(baseline)
    wins = cells.sum(axis=0)
    added = prior / 2 * ((wins + wins.T) > 0)
    _refuse_unconnected(wins + added, names)
    plain = _strengths(wins[None] + added)[0]
    side, side_p = _side(votes, settings, added, plain)
    is_sided = side_p <= ALPHA
    lean = side if is_sided else 0.0
    designs = _designs(votes, settings)
    strengths = _strengths_beside(designs, added, lean) if is_sided else plain
    low, high, against, label = _intervals(votes, cells, added, strengths, base, designs, lean)
    ties = votes[votes["vote"] == NEITHER]
    won = np.where(votes["vote"] == LEFT, votes["left"], votes["right"])[votes["vote"] != NEITHER]
    return pd.DataFrame(
        {
            "by": votes["by"].iloc[0],
            "setting": settings,
            "strength": strengths,
            "low": low,
            "high": high,
            "votes": [int(((votes["left"] == s) | (votes["right"] == s)).sum()) for s in settings],
            "wins": [int((won == s).sum()) for s in settings],
            "ties": [int(((ties["left"] == s) | (ties["right"] == s)).sum()) for s in settings],
            "preferred": _probability(strengths - strengths[base]),
            "preferred_low": _probability(against[0]),
            "preferred_high": _probability(against[1]),
            "baseline": baseline,
            "left": float(_probability(np.array(side))),
            "left_p": side_p,
            "interval": label
            + ", the preference for one side taken out" * is_sided
            + (f", {prior:g} tied votes added to each comparison" if prior else ""),
        }
    )


def _checked(votes: pd.DataFrame) -> tuple[pd.DataFrame, list]:
    """Each rater's last vote on the same records, and the settings, ascending."""
    if votes.empty:
        raise OptionError("there are no votes; collect some with latentsync.lab.BlindRating")
    require_columns(votes, *NEEDS)
    if "kind" in votes:
        votes = votes[votes["kind"] == PAIR]
        if votes.empty:
            raise OptionError("all votes are on attention checks; collect some on pairs")
    if (swept := votes["by"].unique()).size > 1:
        raise OptionError(f"the votes compare {' and '.join(map(str, swept))}; fit one of them at a time")
    unnamed = votes["rater"].isna() | votes["rater"].astype(str).str.strip().isin(["", "nan", "None"])
    if unnamed.any():
        raise OptionError(
            f"{unnamed.sum()} votes have no rater, so people cannot be told apart; write a name for each into `rater`"
        )
    if (gaps := votes[["left", "right"]].isna().any(axis=1)).any():
        raise OptionError(f"{gaps.sum()} votes have no setting on one side; correct the columns left and right")
    if unknown := sorted(set(votes["vote"].astype(str)) - set(VOTES)):
        raise OptionError(f"a vote is {unknown[0]!r}; each is one of {', '.join(VOTES)}")
    if {"left_record", "right_record"} <= set(votes):
        both = votes[["left_record", "right_record"]].apply(lambda row: "|".join(sorted(map(str, row))), axis=1)
        votes = votes[~pd.DataFrame({"rater": votes["rater"], "both": both}).duplicated(keep="last")]
    return votes, sorted({*votes["left"].tolist(), *votes["right"].tolist()})


def _wins(votes: pd.DataFrame, settings: list) -> np.ndarray:
    """Wins of row over column for each vote, (n, k, k); a vote for neither is half a win for each."""
    left, right = (votes[side].map(settings.index).to_numpy() for side in ("left", "right"))
    share = votes["vote"].map({LEFT: 1.0, RIGHT: 0.0, NEITHER: 0.5}).to_numpy()
    wins = np.zeros((len(votes), len(settings), len(settings)))
    rows = np.arange(len(votes))
    wins[rows, left, right] = share
    wins[rows, right, left] = 1 - share
    return wins


def _refuse_unconnected(wins: np.ndarray, names: list[str]) -> None:
    """Refuses votes without a finite estimate, which needs a chain of wins between any two settings (Ford 1957)."""
    number, part = connected_components(wins + wins.T > 0, directed=False)
    if number > 1:
        groups = ["{" + ", ".join(np.array(names)[part == i]) + "}" for i in range(number)]
        raise OptionError(f"settings {' and '.join(groups)} were never compared; collect votes between them")
    number, part = connected_components(wins > 0, directed=True, connection="strong")
    if number == 1:
        return
    ends = []  # settings that won all votes against the others, or lost all
    for i in range(number):
        inside = part == i
        lost, won = wins[np.ix_(~inside, inside)].sum(), wins[np.ix_(inside, ~inside)].sum()
        if lost == 0 or won == 0:
            ends.append((inside.sum(), ", ".join(np.array(names)[inside]), "lost" if won == 0 else "won", won + lost))
    _, name, what, count = min(ends)
    raise OptionError(
        f"{name} {what} all {count:g} votes against the other settings, so the estimate is infinite; "
        f"collect more votes, or give prior=1 (one tied vote added to each comparison)"
    )


def _strengths(wins: np.ndarray) -> np.ndarray:
    """Most likely strengths, (b, k) with sum 0, for wins (b, k, k), by Newton's method with steps of at most 1."""
    number = wins.shape[-1]
    strengths, played = np.zeros(wins.shape[:2]), wins + wins.transpose(0, 2, 1)
    for _ in range(ITERATIONS):
        chance = _probability(strengths[:, :, None] - strengths[:, None, :])
        gradient = (wins - played * chance).sum(axis=2)
        step = np.linalg.solve(_curvature(played, chance) + 1 / number, gradient[..., None])[..., 0]
        step *= np.minimum(1, MAX_STEP / np.maximum(np.abs(step).max(axis=1, keepdims=True), 1e-12))
        strengths += step
        if np.abs(step).max() < 1e-10:
            break
    return strengths - strengths.mean(axis=1, keepdims=True)


def _curvature(played: np.ndarray, chance: np.ndarray) -> np.ndarray:
    """The Fisher information, (b, k, k), a Laplacian. A small constant is added, to solve draws without an estimate."""
    weights = played * chance * (1 - chance)
    diagonal = weights.sum(axis=2)[:, :, None] * np.eye(weights.shape[-1])
    return diagonal - weights + 1e-9 * np.eye(weights.shape[-1])


def _designs(votes: pd.DataFrame, settings: list) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The places of the left and the right setting, and the share of the left one, of each vote, (n,)."""
    left, right = (votes[side].map(settings.index).to_numpy() for side in ("left", "right"))
    return left, right, votes["vote"].map({LEFT: 1.0, RIGHT: 0.0, NEITHER: 0.5}).to_numpy()


def _side(votes: pd.DataFrame, settings: list, added: np.ndarray, strengths: np.ndarray) -> tuple[float, float]:
    """The log odds of the left one of two equal videos, and p of 0; NaN if a comparison was shown one way only.

    It is the last coefficient of a logistic model of the votes with a column of ones beside the settings. p is that of
    its quotient by its error, from the curvature.
    """
    left, right, share = _designs(votes, settings)
    rows = _rows(left, right, len(settings))
    shown = set(zip(left.tolist(), right.tolist(), strict=True))
    if any((second, first) not in shown for first, second in shown):
        return math.nan, math.nan
    values = np.append(strengths, 0.0)
    for _ in range(ITERATIONS):
        gradient, curvature = _slopes(values, rows, share, added)
        step = np.linalg.solve(_fixed(curvature), gradient)
        step *= min(1.0, MAX_STEP / max(float(np.abs(step).max()), 1e-12))
        values = values + step
        if np.abs(step).max() < 1e-10:
            break
    error = math.sqrt(np.linalg.inv(_fixed(_slopes(values, rows, share, added)[1]))[-1, -1])
    return float(values[-1]), float(2 * stats.norm.sf(abs(values[-1]) / error))


def _rows(left: np.ndarray, right: np.ndarray, number: int) -> np.ndarray:
    """The design of a logistic model: +1 for the left setting, -1 for the right one, and 1 for the side, (n, k + 1)."""
    rows, votes = np.zeros((len(left), number + 1)), np.arange(len(left))
    rows[votes, left], rows[votes, right], rows[:, -1] = 1.0, -1.0, 1.0
    return rows


def _fixed(matrix: np.ndarray) -> np.ndarray:
    """Adds what holds the sum of the strengths at 0, and a small constant, to a curvature."""
    held = np.zeros_like(matrix)
    held[:-1, :-1] = 1 / (len(matrix) - 1)
    return matrix + held + 1e-9 * np.eye(len(matrix))


def _slopes(
    values: np.ndarray, rows: np.ndarray, share: np.ndarray, added: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Gradient and Fisher information of the strengths and the side, the prior's tied votes included.

    Half of a pair's tied votes are shown each way, so that they say nothing of the side.
    """
    chance = _probability(rows @ values)
    gradient = rows.T @ (share - chance)
    curvature = (rows * (chance * (1 - chance))[:, None]).T @ rows
    strengths = values[:-1]
    tied = _probability(strengths[:, None] - strengths[None, :])
    gradient[:-1] += (added - (added + added.T) * tied).sum(axis=1)
    curvature[:-1, :-1] += _curvature((added + added.T)[None], tied[None])[0]
    return gradient, curvature


def _strengths_beside(designs: tuple[np.ndarray, np.ndarray, np.ndarray], added: np.ndarray, lean: float) -> np.ndarray:
    """Most likely strengths, (k,) with sum 0, where the left side has these log odds of its own."""
    left, right, share = designs
    rows, strengths = _rows(left, right, len(added)), np.zeros(len(added))
    for _ in range(ITERATIONS):
        gradient, curvature = _slopes(np.append(strengths, lean), rows, share, added)
        step = np.linalg.solve(curvature[:-1, :-1] + 1 / len(added), gradient[:-1])
        step *= min(1.0, MAX_STEP / max(float(np.abs(step).max()), 1e-12))
        strengths = strengths + step
        if np.abs(step).max() < 1e-10:
            break
    return strengths - strengths.mean()


def _probability(log_odds: np.ndarray) -> np.ndarray:
    return 1 / (1 + np.exp(-np.clip(log_odds, -700, 700)))


def _intervals(
    votes: pd.DataFrame, cells: np.ndarray, added: np.ndarray, strengths: np.ndarray, base: int,
    designs: tuple[np.ndarray, np.ndarray, np.ndarray], lean: float,
) -> tuple[np.ndarray, np.ndarray, tuple[np.ndarray, np.ndarray], str]:  # fmt: skip
    """Low and high of the strengths and of their differences to the baseline, and the name of the method."""
    clips, raters = votes["clip"].nunique(), votes["rater"].nunique()
    who = f"{clips} clip{'s' if clips > 1 else ''} and {raters} rater{'s' if raters > 1 else ''}"
    if clips >= LEAST_CLIPS and (raters == 1 or raters >= LEAST_RATERS) and not lean:
        drawn = _drawn(votes, cells)
        is_finite = _is_strongly_connected(drawn)  # without the prior, which is no data: its estimate hardly varies
        if is_finite.mean() >= 1 - 1 / 40:
            drawn_strengths = _strengths(drawn[is_finite] + added)
            number = min(clips, raters) if raters >= LEAST_RATERS else clips
            reach = math.sqrt(number / (number - 1)) * stats.t.ppf((1 + LEVEL) / 2, number - 1)
            edges = [stats.norm.cdf(-reach), stats.norm.cdf(reach)]
            unit = "clips and raters" if raters >= LEAST_RATERS else "clips"
            low, high = np.quantile(drawn_strengths, edges, axis=0)
            against = np.quantile(drawn_strengths - drawn_strengths[:, [base]], edges, axis=0)
            return low, high, (against[0], against[1]), f"bootstrap over {unit} ({who})"
    size, (left, right, share) = len(strengths), designs
    rows = _rows(left, right, size)
    values = np.append(strengths, lean)
    covariance = np.linalg.pinv(_slopes(values, rows, share, added)[1][:-1, :-1], rcond=1e-7, hermitian=True)
    contrasts = np.concatenate([np.eye(size) - 1 / size, np.eye(size) - np.eye(size)[base]])
    errors = np.sqrt(np.maximum(np.einsum("ij,jk,ik->i", contrasts, covariance, contrasts), 0))
    reaches = stats.norm.ppf((1 + LEVEL) / 2) * errors
    label = f"curvature of the likelihood, assuming independent votes ({who})"
    if raters > 1 and clips > 1:
        residuals = (share - _probability(rows @ values))[:, None] * rows[:, :-1]
        scores = residuals @ covariance @ contrasts.T
        for number, score in enumerate(scores.T):
            clustered, freedom = clustered_error(score, votes["clip"], votes["rater"])
            reaches[number] = max(reaches[number], stats.t.ppf((1 + LEVEL) / 2, freedom) * clustered)
        label = f"curvature of the likelihood, clustered by clip and rater ({who})"
    middle = np.concatenate([strengths, strengths - strengths[base]])
    low, high = middle - reaches, middle + reaches
    return low[:size], high[:size], (low[size:], high[size:]), label


def _drawn(votes: pd.DataFrame, cells: np.ndarray) -> np.ndarray:
    """Wins in `DRAWS` samples of clips, and of raters if there are enough, (b, k, k); drawn with a fixed seed."""
    rng = np.random.default_rng(0)
    weights = np.ones((DRAWS, len(votes)))
    for column, least in (("clip", LEAST_CLIPS), ("rater", LEAST_RATERS)):
        codes, known = pd.factorize(votes[column])
        if len(known) >= least:
            weights *= rng.multinomial(len(known), np.full(len(known), 1 / len(known)), size=DRAWS)[:, codes]
    size = cells.shape[-1]
    return (weights @ cells.reshape(len(votes), -1)).reshape(DRAWS, size, size)


def _is_strongly_connected(wins: np.ndarray) -> np.ndarray:
    """Which of (b, k, k) have a finite estimate."""
    size = wins.shape[-1]
    reached = ((wins > 0) | np.eye(size, dtype=bool)).astype(np.float32)
    for _ in range(max(1, math.ceil(math.log2(size)))):
        reached = np.minimum(reached @ reached, 1)
    return (reached > 0).all(axis=(1, 2))
