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
from latentsync.lab.analysis.intervals import LEVEL
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
    American Statistician 69, 2015). With fewer than 10 clips, or if more than 1 in 40 draws has no finite estimate, the
    intervals come from the curvature of the likelihood instead, which assumes independent votes. The column `interval`
    names the method.

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
        `interval`.

    Raises:
        OptionError: there are no votes; or settings were never compared, not even through others; or some settings won
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
    strengths = _strengths(wins[None] + added)[0]
    low, high, against, label = _intervals(votes, cells, added, strengths, base)
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
            "interval": label + (f", {prior:g} tied votes added to each comparison" if prior else ""),
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
    if unknown := sorted(set(votes["vote"]) - set(VOTES)):
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


def _probability(log_odds: np.ndarray) -> np.ndarray:
    return 1 / (1 + np.exp(-np.clip(log_odds, -700, 700)))


def _intervals(
    votes: pd.DataFrame, cells: np.ndarray, added: np.ndarray, strengths: np.ndarray, base: int
) -> tuple[np.ndarray, np.ndarray, tuple[np.ndarray, np.ndarray], str]:
    """Low and high of the strengths and of their differences to the baseline, and the name of the method."""
    clips, raters = votes["clip"].nunique(), votes["rater"].nunique()
    who = f"{clips} clip{'s' if clips > 1 else ''} and {raters} rater{'s' if raters > 1 else ''}"
    if clips >= LEAST_CLIPS:
        drawn = _drawn(votes, cells) + added
        is_finite = _is_strongly_connected(drawn)
        if is_finite.mean() >= 1 - 1 / 40:
            drawn_strengths = _strengths(drawn[is_finite])
            number = min(clips, raters) if raters >= LEAST_RATERS else clips
            reach = math.sqrt(number / (number - 1)) * stats.t.ppf((1 + LEVEL) / 2, number - 1)
            edges = [stats.norm.cdf(-reach), stats.norm.cdf(reach)]
            unit = "clips and raters" if raters >= LEAST_RATERS else "clips"
            low, high = np.quantile(drawn_strengths, edges, axis=0)
            against = np.quantile(drawn_strengths - drawn_strengths[:, [base]], edges, axis=0)
            return low, high, (against[0], against[1]), f"bootstrap over {unit} ({who})"
    played = (cells.sum(axis=0) + added)[None]
    played = played + played.transpose(0, 2, 1)
    chance = _probability(strengths[:, None] - strengths[None, :])[None]
    covariance = np.linalg.pinv(_curvature(played, chance)[0], rcond=1e-7, hermitian=True)
    z = stats.norm.ppf((1 + LEVEL) / 2)
    reach = z * np.sqrt(np.diag(covariance))
    variance = np.diag(covariance) + covariance[base, base] - 2 * covariance[base]
    to_base, reach_to_base = strengths - strengths[base], z * np.sqrt(np.maximum(variance, 0))
    label = f"curvature of the likelihood, assuming independent votes ({who})"
    return strengths - reach, strengths + reach, (to_base - reach_to_base, to_base + reach_to_base), label


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
