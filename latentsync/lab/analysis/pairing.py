"""Records of two settings side by side: those that agree in clip, voice and seed."""

import copy
from collections.abc import Collection, Iterable, Sequence
from typing import Any

import numpy as np
import pandas as pd

from latentsync.errors import OptionError
from latentsync.lab.analysis.estimates import Sample
from latentsync.lab.analysis.intervals import DUST, UNBOUNDED, Interval
from latentsync.lab.analysis.seeds import SETTINGS
from latentsync.lab.analysis.units import finite, units_of, without_gaps
from latentsync.lab.records.labels import varied
from latentsync.lab.tables.tidy import require_columns

MOST = 1e100  # a larger value was not measured, and its square is no number


def records_of(table: pd.DataFrame, metrics: Sequence[str], column: str, within: Sequence[str]) -> pd.DataFrame:
    """What a comparison takes from a table: the metrics, the options that vary, and the unit of each row.

    Raises:
        OptionError: a column is missing, or a metric has no numbers or absurd ones.
    """
    key = ["clip", "voice", *within, "seed"]
    require_columns(table, *key, column, *metrics)
    for metric in metrics:
        _require_numbers(table, metric)
    beside = [name for name in (*SETTINGS, *varied(table), "pair", "gender") if name in table]
    rows = table.reset_index(drop=True)
    own = rows[list(dict.fromkeys([*key, *beside, column]))]
    return own.assign(unit=units_of(rows).to_numpy(), **finite(rows[list(metrics)]))


class Pairs:
    """The records of two settings that agree in clip, voice and seed, side by side.

    Args:
        records: of `records_of`.
        within: other columns in which they agree.

    Raises:
        OptionError: no record has a setting, the settings are one, two records have the same clip, voice, seed and
            setting, or compared records differ in another option.
    """

    def __init__(
        self, records: pd.DataFrame, column: str, setting: Any, baseline: Any, within: Sequence[str] = ()
    ) -> None:
        for value in (setting, baseline):
            if not (records[column] == value).any():
                there = ", ".join(str(v) for v in sorted(records[column].dropna().unique()))
                raise OptionError(f"no record has {column}={value}; choose two of {there}")
        if setting == baseline:
            raise OptionError(f"{column}={setting} is compared with itself; choose two settings")
        key = ["clip", "voice", *within, "seed"]
        part = records[records[column].isin([setting, baseline])]
        beside = [name for name in (*SETTINGS, *varied(part)) if name in part and name not in (*within, column)]
        part = without_gaps(part, [*key, "unit"])
        if number := int(part.duplicated([*key, column]).sum()):
            raise OptionError(
                f"{number} records have the same {', '.join(key)} and {column} as another; keep one setting of the "
                "other swept parameters, or name these in `within`"
            )
        sides = part[part[column] == setting], part[part[column] == baseline]
        self.both, self.records = sides[0].merge(sides[1], on=key, suffixes=("", "_before")), len(part)
        if column not in ("preset", "model"):
            _require_alike(self.both, beside, column)

    def of_clips(self, clips: Collection[str]) -> "Pairs":
        """The pairs of some clips. The number of records without a partner is not theirs."""
        part = copy.copy(self)
        part.both = self.both[self.both["clip"].isin(clips)]
        return part

    def sample(self, metric: str, of_logs: bool, bounds: Interval = UNBOUNDED) -> tuple[Sample, int]:
        """The differences of a metric, and the number of records without a partner or a value.

        Raises:
            OptionError: `of_logs` is set and a value is not above 0.
        """
        both = self.both.dropna(subset=[metric, f"{metric}_before"])
        after, before = both[metric], both[f"{metric}_before"]
        if of_logs:
            least = np.min([after, before], initial=1.0)
            if not least > 0:
                raise OptionError(f"{metric} is {least:g} in a record; logarithms need values above 0")
            after, before = np.log(after), np.log(before)
        dust = DUST * float(np.max(np.abs([after, before]), initial=0.0))
        differences = both[["unit", "clip", "voice"]].assign(difference=after - before)
        cells = differences.groupby(["unit", "clip", "voice"])["difference"].mean()
        return Sample(cells, dust, UNBOUNDED if of_logs else bounds), self.records - 2 * len(both)


def _require_numbers(table: pd.DataFrame, metric: str) -> None:
    if not pd.api.types.is_numeric_dtype(table[metric]) or pd.api.types.is_bool_dtype(table[metric]):
        example = next((f", such as {value!r}" for value in table[metric].dropna()), "")
        raise OptionError(f"{metric} has no numbers{example}; name a metric of the table")
    values = table[metric].to_numpy(float, na_value=np.nan)
    if (large := values[np.isfinite(values) & (np.abs(values) > MOST)]).size:
        raise OptionError(f"{metric} is {large[0]:g} in a record, which cannot be measured; correct the table")


def _require_alike(both: pd.DataFrame, beside: Iterable[str], column: str) -> None:
    """Refuses partners that differ in another option than the compared one."""
    for name in beside:
        one, other = both[name], both[f"{name}_before"]
        if (differ := (one != other) & ~(one.isna() & other.isna())).any():
            first = int(np.flatnonzero(differ)[0])
            raise OptionError(
                f"records that differ in {column} also differ in {name} ({other.iloc[first]} and {one.iloc[first]}), "
                f"so the difference has two causes; keep one {name}, or name it in `within`"
            )
