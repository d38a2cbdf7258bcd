"""A setting against a baseline of the same cost.

Kinds of guidance act with different strength at one guidance scale: a kind that does less of the same gives less sync
and costs less likeness. So a kind is better only if it gives more than the baseline does at the scale that costs as
much. Baseline settings between the measured ones are interpolated linearly.
"""

from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import pandas as pd

from latentsync.errors import OptionError
from latentsync.lab.analysis.intervals import Interval, detectable_difference, mean_interval, sign_flip_p
from latentsync.lab.analysis.units import per_unit
from latentsync.lab.tables.tidy import require_columns


@dataclass(frozen=True)
class Matched:
    """A setting beside the baseline that costs as much.

    Attributes:
        setting: its value.
        cost: the mean cost of both.
        at: the value of the baseline's column at which its mean cost is the setting's.
        difference: mean over units of the setting's gain less the baseline's there.
        interval: 95 %, Student's t; None below three units.
        p: of a difference of 0, by flipping signs.
        detectable: the true difference that 80 % of such studies would find; None below two units.
        units: how many speakers or clips.
    """

    setting: str
    cost: float
    at: float
    difference: float
    interval: Interval | None
    p: float
    detectable: float | None
    units: int


def at_equal_cost(table: pd.DataFrame, setting: str, baseline: str, scale: str, gain: str, cost: str) -> list[Matched]:
    """Each setting's gain minus that of the baseline at the scale of equal mean cost.

    The scale comes from the same clips, and its own uncertainty is not part of the interval.

    Args:
        table: wide, one row per record.
        setting: a column of words; `baseline` is one of them.
        scale: a column of numbers along which the baseline was made, at two values or more.
        gain, cost: metrics.

    Returns:
        One for each value of `setting` but the baseline and each value of `scale` it was made at; those whose cost lies
        outside of the baseline's are left out.

    Raises:
        OptionError: a column is missing, or the baseline has fewer than two scales or lacks clips at one of them.
    """
    require_columns(table, setting, scale, gain, cost)
    means = per_unit(table, [gain, cost], [setting, scale])
    curve = means.loc[baseline] if baseline in means.index.get_level_values(0) else means.iloc[:0]
    gains, costs = (curve[name].unstack(scale) if len(curve) else pd.DataFrame() for name in (gain, cost))
    if gains.shape[1] < 2 or gains.isna().any(axis=None):
        raise OptionError(
            f"{baseline} has {gains.shape[1]} values of {scale} with all clips; a curve needs two or more"
        )
    matched = []
    for (name, value), of_setting in means.groupby(level=[setting, scale]):
        values = of_setting.droplevel([setting, scale]).dropna()
        values = values[values.index.isin(gains.index)]
        at = None if name == baseline else _crossing(costs.loc[values.index].mean(), float(values[cost].mean()))
        if at is None:
            continue
        expected = gains.loc[values.index].apply(lambda row, at=at: np.interp(at, row.index, row), axis=1)
        differences = (values[gain] - expected).to_numpy()
        matched.append(
            Matched(
                f"{name}, {value:g}", float(values[cost].mean()), at, float(differences.mean()),
                mean_interval(differences), float(sign_flip_p(differences[None])[0]),
                detectable_difference(differences), len(differences),
            )
        )  # fmt: skip
    return matched


def _crossing(costs: pd.Series, wanted: float) -> float | None:
    """The first scale at which the interpolated mean cost is as wanted; None if it never is."""
    for (low, before), (high, after) in pairwise(zip(costs.index, costs, strict=True)):
        if min(before, after) <= wanted <= max(before, after) and before != after:
            return float(low + (wanted - before) / (after - before) * (high - low))
    return None
