"""Which records a report shows with video and mouths: a few of each setting, so that the page stays small."""

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import pandas as pd

from latentsync.errors import OptionError, closest_name
from latentsync.metrics.definitions import direction_of

SHOWN_WHOLE = 24  # records; a sweep with at most this many is shown whole
MAX_SETTINGS = 40  # most settings whose pairs are shown
RANKS = ("worst", "median", "best")


@dataclass
class Choice:
    """The records that a report shows.

    Attributes:
        metric: by which pairs are ranked; "" if none has values, or the pairs were named.
        reasons: record -> why it is shown, such as ["worst"], in the order in which it is to be shown.
        left_out: how many records of the sweep are not among them.
        settings_left_out: how many settings have no pair here, because there are very many.
    """

    metric: str = ""
    reasons: dict[str, list[str]] = field(default_factory=dict)
    left_out: int = 0
    settings_left_out: int = 0


def chosen(table: pd.DataFrame, columns: Sequence[str], metrics: Sequence[str], pairs: Sequence[str] = ()) -> Choice:
    """The records to show: of each setting the worst, the median and the best pair, or those of the named pairs.

    A small sweep is shown whole. A pair's rank is that of its mean over seeds; it is shown with the seed whose value is
    nearest to this mean.

    Args:
        table: a wide table.
        columns: those that make a setting.
        metrics: candidates for the ranking, the most important one first; the first one that has a better direction and
            values is taken.
        pairs: names of pairs.

    Raises:
        OptionError: there is no pair of that name.
    """
    metric = next((name for name in metrics if is_ranking(table, name)), "")
    if not pairs and len(table) <= SHOWN_WHOLE:
        return Choice(metric, {record: [] for record in table["record"]})
    rows = table[["record", "pair", *columns]].assign(cost=_costs(table, metric))
    if pairs:
        _require_pairs(table, pairs)
        order = {name: place for place, name in enumerate(pairs)}
        rows = rows[rows["pair"].isin(order)].sort_values("pair", key=lambda names: names.map(order), kind="stable")
    groups = list(rows.groupby(list(columns), dropna=False))
    shown = groups
    if len(groups) > MAX_SETTINGS:
        shown = [groups[i] for i in np.unique(np.linspace(0, len(groups) - 1, MAX_SETTINGS).round().astype(int))]
    reasons: dict[str, list[str]] = {}
    for _, group in shown:
        for record, rank in _of_setting(group, bool(pairs)):
            reasons.setdefault(record, []).extend([rank] if rank else [])
    return Choice("" if pairs else metric, reasons, len(table) - len(reasons), len(groups) - len(shown))


def is_ranking(table: pd.DataFrame, metric: str) -> bool:
    """Whether pairs can be ranked by a column of the table."""
    return metric != "seconds" and metric in table and table[metric].notna().any() and direction_of(metric) != "none"


def _costs(table: pd.DataFrame, metric: str) -> pd.Series:
    """What is lowest for the best record; NaN where there is no value."""
    if not metric:
        return pd.Series(np.nan, table.index)
    values = table[metric].astype(float)
    costs = {"higher": -values, "lower": values, "zero": values.abs(), "one": (values - 1).abs()}
    return costs[direction_of(metric)]


def _require_pairs(table: pd.DataFrame, pairs: Sequence[str]) -> None:
    there = list(dict.fromkeys(table["pair"]))
    if missing := [name for name in pairs if name not in there]:
        close = closest_name(missing[0], there)
        hint = f"did you mean {close}?" if close else f"there are {len(there)} pairs, such as {', '.join(there[:3])}"
        raise OptionError(f"there is no record of the pair {missing[0]!r}; {hint}")


def _of_setting(group: pd.DataFrame, is_named: bool) -> list[tuple[str, str]]:
    """The records of one setting that are shown, each with its rank; all pairs if they are named."""
    means = group.groupby("pair", sort=False)["cost"].mean()
    nearest = {}
    for pair, rows in group.groupby("pair", sort=False):
        distance = (rows["cost"] - means[pair]).abs().fillna(np.inf)
        nearest[pair] = rows["record"].iloc[int(np.argmin(distance))]
    if is_named:
        return [(record, "") for record in nearest.values()]
    ranked = means.sort_values(ascending=False, kind="stable").dropna()  # the highest cost first
    if ranked.empty:
        names = list(means.index)
        return [(nearest[names[i]], "") for i in sorted({0, len(names) // 2, len(names) - 1})]
    places = dict(zip(RANKS, (0, len(ranked) // 2, len(ranked) - 1), strict=True))
    if len(ranked) == 1:
        return [(nearest[ranked.index[0]], "only one")]
    if len(ranked) == 2:
        del places["median"]
    return [(nearest[ranked.index[place]], rank) for rank, place in places.items()]
