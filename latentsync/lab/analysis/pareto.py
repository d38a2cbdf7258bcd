"""The Pareto front: the settings that no other setting dominates, with their share of bootstrap samples."""

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd

from latentsync.errors import OptionError
from latentsync.lab.analysis.intervals import BLOCK, DRAWS, DUST, FEW, drawn_interval
from latentsync.lab.analysis.units import finite, over_units, per_unit, unit_kind, units_of, without_gaps
from latentsync.lab.tables.tidy import require_columns
from latentsync.metrics.definitions import direction_of

TIME_RATIO = "time_ratio"  # a column of `with_time_ratio`
TIMES = ("seconds", TIME_RATIO)
DISTANCES = {"zero": np.abs, "one": lambda values: np.abs(values - 1)}  # of a record's value from the best one
COSTS = {"higher": np.negative, "lower": np.positive, "zero": np.positive, "one": np.positive}


def on_front(costs: np.ndarray) -> np.ndarray:
    """Which settings are on the front, (..., settings), given costs (..., settings, objectives).

    A setting is dominated if another one costs less in some objective and not more in any. Costs that differ by
    rounding alone are equal.
    """
    is_no_worse, is_better = np.True_, np.False_
    for own in np.moveaxis(costs, -1, 0):
        dust = DUST * np.abs(own).max(axis=-1)[..., None, None]
        saved = own[..., :, None] - own[..., None, :]  # by the other setting
        is_no_worse, is_better = is_no_worse & (saved >= -dust), is_better | (saved > dust)
    return ~(is_no_worse & is_better).any(axis=-1)


def directions_of(objectives: Sequence[str] | Mapping[str, str]) -> dict[str, str]:
    """The better direction of each objective: given, or the metric's own; times are lower.

    Raises:
        OptionError: an objective has no better direction.
    """
    if not isinstance(objectives, Mapping):
        objectives = {name: "lower" if name in TIMES else direction_of(name) for name in objectives}
    if wrong := [f"{name} ({way})" for name, way in objectives.items() if way not in COSTS]:
        raise OptionError(f"{', '.join(wrong)} is not a direction; give one of {', '.join(COSTS)}")
    return dict(objectives)


def with_distances(table: pd.DataFrame, objectives: Mapping[str, str]) -> pd.DataFrame:
    """The table with each objective that is best at 0 or 1 as its distance from there, record by record.

    A mean of plain values would take offsets of +8 and -8 frames for none.
    """
    far = {name: DISTANCES[way](finite(table[[name]])[name]) for name, way in objectives.items() if way in DISTANCES}
    return table.assign(**far) if far else table


def pareto_front(
    table: pd.DataFrame, columns: Sequence[str], objectives: Sequence[str] | Mapping[str, str], draws: int = DRAWS
) -> pd.DataFrame:
    """The Pareto front of settings, e.g. by sync, fidelity and seconds.

    Means are over units (speakers or clips, see `units`), and only over the clips, voices and seeds that have every
    setting and objective, so that all settings are compared on the same inputs. Each bootstrap sample draws the same
    units for all settings. An objective that is best at 0 or 1 counts as its distance from there, record by record.

    Args:
        table: one row per record with `clip`, `voice`, the columns and the objectives, and `seed` and `group` if known.
            Seconds from different machines cannot be compared.
        columns: the columns that make a setting, e.g. guidance_scale and num_inference_steps.
        objectives: columns, or columns with their better direction: higher, lower, zero or one. By default a metric
            has its own direction, and times are lower.

    Returns:
        One row per setting: the columns, the mean of each objective (or of its distance from 0 or 1), `on_front`,
        `share` (the share of bootstrap samples in which it is on the front; NaN for a single unit), `unit` (speaker or
        clip), `units`, `clips`, `without` (clips left out), `approximate` (below 20 units).

    Raises:
        OptionError: a column is missing, an objective has no direction, or no clip has every setting and objective.
    """
    objectives = directions_of(objectives)
    names = list(objectives)
    require_columns(table, "clip", "voice", *columns, *names)
    table, key = table.reset_index(drop=True), ["clip", "voice", *(["seed"] if "seed" in table else [])]
    rows = table[list(dict.fromkeys([*key, *columns, *names]))].assign(unit=units_of(table), **finite(table[names]))
    rows = without_gaps(with_distances(rows, objectives), [*key, "unit"]).dropna(subset=list(columns))
    settings = rows[list(columns)].drop_duplicates().sort_values(list(columns), ignore_index=True)
    number, clips = len(settings), rows["clip"].nunique()
    means = rows.groupby([*columns, "unit", *key])[names].mean().dropna()
    whole = means[means.groupby(level=["unit", *key])[names[0]].transform("size") == number]
    if whole.empty:
        raise OptionError(f"none of {clips} clips has all {number} settings with {', '.join(names)}")
    of_units = over_units(whole.groupby(level=[*columns, "unit", "clip", "voice"]).mean(), columns)
    units = of_units.index.unique("unit")
    values = of_units.to_numpy().reshape(number, len(units), len(names)).transpose(1, 0, 2)  # sorted by setting, unit
    mean, there = values.mean(axis=0), whole.index.unique("clip").size
    return settings.assign(
        **{name: mean[:, i] for i, name in enumerate(names)},
        on_front=on_front(_costs(mean, objectives)),
        share=_shares(values, objectives, draws) if len(units) > 1 else np.nan,
        unit=unit_kind(table),
        units=len(units),
        clips=there,
        without=clips - there,
        approximate=len(units) < FEW,
    )


def with_time_ratio(table: pd.DataFrame, columns: Sequence[str]) -> pd.DataFrame | None:
    """The table with each setting's time as a measured ratio, in a column `time_ratio`; None if times do not differ.

    Seconds of single records also depend on what else the machine does. So a setting's ratio is that of its time to
    the time of the first setting on the same clip, voice and seed: the geometric mean over units, to the nearest tenth.
    It is 1 where its 95 % interval holds 1, so a difference that could be noise gives no setting an advantage.

    Args:
        table: one row per record with `clip`, `voice`, `seed`, `seconds` and the columns, and `group` if known.
        columns: the columns that make a setting.
    """
    keys, names = ["clip", "voice", "seed"], list(columns)
    logs = np.log(table["seconds"].where(table["seconds"] > 0))
    rows = without_gaps(table[[*keys, *names, *(["group"] if "group" in table else [])]], keys).assign(log=logs)
    settings = rows[names].drop_duplicates().sort_values(names)
    first = rows.merge(settings.head(1), on=names)[[*keys, "log"]].groupby(keys)["log"].mean().to_frame("first")
    rows = rows.join(first, on=keys).dropna(subset=["log", "first"])
    of_units = per_unit(rows.assign(ratio=rows["log"] - rows["first"]), ["ratio"], names)["ratio"]
    ratios = {}
    for setting, values in of_units.groupby(level=names):
        interval = drawn_interval(values.to_numpy())
        is_measured = interval is not None and not interval[0] <= 0 <= interval[1]
        ratios[setting if isinstance(setting, tuple) else (setting,)] = (
            round(float(np.exp(values.mean())), 1) if is_measured else 1.0
        )
    if len(set(ratios.values())) < 2:
        return None
    own = [ratios.get(setting, np.nan) for setting in table[names].itertuples(index=False, name=None)]
    return table.assign(**{TIME_RATIO: own})


def _costs(means: np.ndarray, objectives: Mapping[str, str]) -> np.ndarray:
    return np.stack([COSTS[way](means[..., i]) for i, way in enumerate(objectives.values())], axis=-1)


def _shares(values: np.ndarray, objectives: Mapping[str, str], draws: int) -> np.ndarray:
    """The share of bootstrap samples in which each setting is on the front; values: (units, settings, objectives)."""
    units, settings, number = values.shape
    generator = np.random.default_rng(0)
    size = max(1, BLOCK // (settings * max(units, settings) * number))
    totals = np.zeros(settings)
    for start in range(0, draws, size):
        drawn = generator.integers(units, size=(min(size, draws - start), units))
        counts = np.stack([(drawn == unit).sum(axis=1) for unit in range(units)], axis=1)
        means = np.tensordot(counts / units, values, axes=1)
        totals += on_front(_costs(means, objectives)).sum(axis=0)
    return totals / draws
