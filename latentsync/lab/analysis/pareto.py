"""The Pareto front: the settings that no other setting dominates, with their share of bootstrap samples over clips."""

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd

from latentsync.errors import OptionError
from latentsync.lab.analysis.comparisons import per_clip
from latentsync.lab.analysis.intervals import BLOCK, DRAWS, FEW, drawn_interval
from latentsync.lab.tables.tidy import require_columns
from latentsync.metrics.definitions import direction_of

TIME_RATIO = "time_ratio"  # a column of `with_time_ratio`
TIMES = ("seconds", TIME_RATIO)
COSTS = {"higher": np.negative, "lower": np.positive, "zero": np.abs, "one": lambda value: np.abs(value - 1)}


def on_front(costs: np.ndarray) -> np.ndarray:
    """Which settings are on the front, (..., settings), given costs (..., settings, objectives).

    A setting is dominated if another one costs less in some objective and not more in any.
    """
    one, other = costs[..., :, None, :], costs[..., None, :, :]
    return ~((other <= one).all(axis=-1) & (other < one).any(axis=-1)).any(axis=-1)


def pareto_front(
    table: pd.DataFrame, columns: Sequence[str], objectives: Sequence[str] | Mapping[str, str], draws: int = DRAWS
) -> pd.DataFrame:
    """The Pareto front of settings, e.g. by sync, fidelity and seconds.

    Means are over the clips that have every setting and objective, so that all settings are compared on the same clips.
    Each bootstrap sample draws the same clips for all settings.

    Args:
        table: one row per record with `clip`, `voice`, the columns and the objectives. Seconds from different
            machines cannot be compared.
        columns: the columns that make a setting, e.g. guidance_scale and num_inference_steps.
        objectives: columns, or columns with their better direction: higher, lower, zero or one. By default a metric
            has its own direction, and times are lower.

    Returns:
        One row per setting: the columns, the mean of each objective, `on_front`, `share` (the share of bootstrap
        samples in which it is on the front; NaN for a single clip), `clips`, `without` (clips left out),
        `approximate` (below 20 clips).

    Raises:
        OptionError: a column is missing, an objective has no direction, or no clip has every setting and objective.
    """
    if not isinstance(objectives, Mapping):
        objectives = {name: "lower" if name in TIMES else direction_of(name) for name in objectives}
    if wrong := [f"{name} ({way})" for name, way in objectives.items() if way not in COSTS]:
        raise OptionError(f"{', '.join(wrong)} is not a direction; give one of {', '.join(COSTS)}")
    names = list(objectives)
    require_columns(table, "clip", "voice", *columns, *names)
    means = per_clip(table, names, columns)
    settings = means.index.droplevel("clip").unique().sort_values()
    clips = means.index.unique("clip")
    wanted = pd.MultiIndex.from_tuples(
        [(*(s if isinstance(s, tuple) else (s,)), clip) for clip in clips for s in settings], names=means.index.names
    )
    values = means.reindex(wanted).to_numpy(float).reshape(len(clips), len(settings), len(names))
    whole = values[np.isfinite(values).all(axis=(1, 2))]
    if not len(whole):
        raise OptionError(f"none of {len(clips)} clips has all {len(settings)} settings with {', '.join(names)}")
    mean = whole.mean(axis=0)
    return settings.to_frame(index=False).assign(
        **{name: mean[:, i] for i, name in enumerate(names)},
        on_front=on_front(_costs(mean, objectives)),
        share=_shares(whole, objectives, draws) if len(whole) > 1 else np.nan,
        clips=len(whole),
        without=len(clips) - len(whole),
        approximate=len(whole) < FEW,
    )


def with_time_ratio(table: pd.DataFrame, columns: Sequence[str]) -> pd.DataFrame | None:
    """The table with each setting's time as a measured ratio, in a column `time_ratio`; None if times do not differ.

    Seconds of single records also depend on what else the machine does. So a setting's ratio is that of its time to
    the time of the first setting on the same clip, voice and seed: the geometric mean over clips, to the nearest tenth.
    It is 1 where its 95 % interval holds 1, so a difference that could be noise gives no setting an advantage.

    Args:
        table: one row per record with `clip`, `voice`, `seed`, `seconds` and the columns.
        columns: the columns that make a setting.
    """
    keys, names = ["clip", "voice", "seed"], list(columns)
    logs = np.log(table["seconds"].where(table["seconds"] > 0))
    rows = table[[*keys, *names]].assign(log=logs)
    settings = rows[names].drop_duplicates().sort_values(names)
    first = rows.merge(settings.head(1), on=names)[[*keys, "log"]].groupby(keys)["log"].mean().to_frame("first")
    rows = rows.join(first, on=keys).dropna(subset=["log", "first"])
    clips = per_clip(rows.assign(ratio=rows["log"] - rows["first"]), ["ratio"], names)["ratio"]
    ratios = {}
    for setting, values in clips.groupby(level=names):
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
    """The share of bootstrap samples in which each setting is on the front; values: (clips, settings, objectives)."""
    clips, settings, number = values.shape
    generator = np.random.default_rng(0)
    size = max(1, BLOCK // (settings * max(clips, settings) * number))
    totals = np.zeros(settings)
    for start in range(0, draws, size):
        drawn = generator.integers(clips, size=(min(size, draws - start), clips))
        counts = np.stack([(drawn == clip).sum(axis=1) for clip in range(clips)], axis=1)
        means = np.tensordot(counts / clips, values, axes=1)
        totals += on_front(_costs(means, objectives)).sum(axis=0)
    return totals / draws
