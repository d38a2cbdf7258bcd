"""What counts as one: the speaker where it is known, else the clip. Means, intervals and tests are over these units.

Seeds of a voice are averaged first, then the voices of a clip, then the clips of a speaker. Several clips of a speaker
are alike, so they count as one. Where speakers share 3 voices or more, their values are alike too, and errors are
clustered by speaker and by voice (`clustered_error`). With fewer, nothing can be said of other voices: the results are
about these.
"""

from collections.abc import Sequence

import numpy as np
import pandas as pd

SPEAKER, CLIP = "speaker", "clip"


def unit_kind(table: pd.DataFrame) -> str:
    """What the units of a table are: "speaker" or "clip". It is the speaker if the column `group` names any."""
    return SPEAKER if _speakers(table) is not None else CLIP


def units_of(table: pd.DataFrame) -> pd.Series:
    """The unit of each row: the speaker of its clip (column `group`), else the clip.

    A column `group` names no speaker if a clip has several groups. Then each clip is a unit.
    """
    speakers = _speakers(table)
    if speakers is None:
        return table["clip"].rename("unit")
    named = table["clip"].map(speakers)
    clips = table["clip"].astype(str)
    clips = clips.where(~clips.isin(set(speakers)), "clip " + clips)  # a clip may have the name of a speaker
    return named.where(named.notna(), clips).rename("unit")


def _speakers(table: pd.DataFrame) -> pd.Series | None:
    """Clip -> speaker, for the clips whose speaker is known; None if no clip has one speaker."""
    if "group" not in table or table["group"].isna().all():
        return None
    pairs = table[["clip", "group"]].dropna().drop_duplicates()
    return None if pairs["clip"].duplicated().any() else pairs.set_index("clip")["group"].astype(str)


def without_gaps(table: pd.DataFrame, columns: Sequence[str]) -> pd.DataFrame:
    """The table with a word for what is missing in these columns, so that no row is lost when it is grouped by them."""
    gaps = [name for name in columns if table[name].isna().any()]
    filled = {name: table[name].astype(object).where(table[name].notna(), "unknown") for name in gaps}
    return table.assign(**filled) if gaps else table


def finite(values: pd.DataFrame) -> pd.DataFrame:
    """Numbers; those that are infinite count as missing."""
    return values.astype(float).replace([np.inf, -np.inf], np.nan)


def per_clip_and_voice(table: pd.DataFrame, columns: Sequence[str], within: Sequence[str] = ()) -> pd.DataFrame:
    """Means of columns over the seeds of a voice, by `within`, unit, clip and voice."""
    table = table.reset_index(drop=True)
    kept = list(dict.fromkeys([*within, "clip", "voice", *columns]))
    rows = table[kept].assign(unit=units_of(table), **finite(table[list(columns)]))
    rows = without_gaps(rows, ["unit", "clip", "voice"])
    return rows.groupby([*within, "unit", "clip", "voice"])[list(columns)].mean()


def per_unit(table: pd.DataFrame, columns: Sequence[str], within: Sequence[str] = ()) -> pd.DataFrame:
    """Means of columns by `within` and unit: over the seeds of a voice, then voices of a clip, then clips of a speaker.

    Args:
        table: one row per record with `clip`, `voice`, the columns, and `group` where speakers are known.
    """
    return over_units(per_clip_and_voice(table, columns, within), within)


def over_units(cells: pd.DataFrame, within: Sequence[str] = ()) -> pd.DataFrame:
    """Means of units, from a table of `per_clip_and_voice`."""
    return cells.groupby(level=[*within, "unit", "clip"]).mean().groupby(level=[*within, "unit"]).mean()


def weights_of(cells: pd.Series) -> np.ndarray:
    """The weight of each clip and voice in the mean over units; the sum is 1."""
    units, clips = cells.index.get_level_values("unit"), cells.index.get_level_values("clip")
    keys = pd.DataFrame({"unit": units, "clip": clips})
    voices = keys.groupby(["unit", "clip"])["clip"].transform("size")
    of_unit = keys.drop_duplicates().groupby("unit").size()
    return (1 / (len(of_unit) * keys["unit"].map(of_unit) * voices)).to_numpy()


def shared_voices(cells: pd.Series) -> int:
    """The number of voices, if one of them was used with several units, so that these are alike; else 0."""
    pairs = cells.index.to_frame(index=False)[["unit", "voice"]].drop_duplicates()
    return pairs["voice"].nunique() if pairs["voice"].duplicated().any() else 0


def clustered_error(scores: np.ndarray, *labels: Sequence) -> tuple[float, int]:
    """The standard error of a sum of scores that are alike within clusters, and its degrees of freedom.

    With two labels they are alike if they agree in either (Cameron, Gelbach and Miller, Journal of Business & Economic
    Statistics 29, 2011, equation 2.3), here at least the error of either label alone. The degrees of freedom are the
    smaller number of clusters minus 1.

    Args:
        scores: weight times deviation from the mean, (n,).
        labels: one or two sequences of n labels.

    Returns:
        The standard error, and the degrees of freedom (0 if a label has a single cluster).
    """
    codes = [pd.factorize(pd.Series(list(label), dtype=object))[0] for label in labels]
    sizes = [int(code.max(initial=-1)) + 1 for code in codes]
    if min(sizes) < 2:
        return float("nan"), 0
    variances = [_variance(scores, code) for code in codes]
    variance = max(variances)
    if len(codes) == 2:
        both = _variance(scores, pd.factorize(codes[0] * sizes[1] + codes[1])[0])
        variance = max(variance, sum(variances) - both)
    return float(np.sqrt(variance)), min(sizes) - 1


def _variance(scores: np.ndarray, codes: np.ndarray) -> float:
    sums = np.bincount(codes, weights=scores)
    return float(len(sums) / (len(sums) - 1) * (sums**2).sum()) if len(sums) > 1 else 0.0
