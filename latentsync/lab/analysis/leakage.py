"""Does a model listen, or does it copy the lips that it is shown?

A clip is dubbed with its own voice, with another voice and with silence. A model that listens moves the lips by the
voice: under another voice they have nothing to do with the clip's own, and under silence they rest. A model that copies
its reference shows the clip's own lips whatever it hears. Beside it stand the lips of two models that do nothing: one
copies the reference frame, the other freezes the mouth.

All is measured on the lip gap (`metrics.sync.lip_gap`) of each frame of the result and of the clip's frame from which
it was made, as records keep them in curves.json.
"""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd

from latentsync.constants import SILENCE_NAME
from latentsync.errors import OptionError
from latentsync.generation.references import reference_order
from latentsync.lab.analysis.intervals import Interval, mean_interval
from latentsync.lab.analysis.units import per_unit
from latentsync.lab.records.labels import varied
from latentsync.lab.records.store import Record
from latentsync.lab.tables.tidy import require_columns
from latentsync.metrics.articulation import gap_correlation, lip_motion

OWN, OTHER, SILENT = "own voice", "another voice", "silence"
COPIED, FROZEN = "copied reference", "frozen mouth"
BASELINES = (COPIED, FROZEN)
ORDER = (OWN, OTHER, SILENT, *BASELINES)
LIKENESS, MOTION, SYNC = "likeness", "motion", "sync_mini_confidence"
MEASURES = (LIKENESS, MOTION, SYNC)
BOUNDS: dict[str, Interval] = {LIKENESS: (-1, 1), MOTION: (0, np.inf)}
SHOWS_OWN = "same"  # the reference that shows the clip's own lips


def leakage(records: Sequence[Record], table: pd.DataFrame) -> pd.DataFrame:
    """How near each result's lips come to the clip's own, and how much they move.

    Args:
        records: of a sweep such as `experiment=leakage`.
        table: their wide table.

    Returns:
        One row per record, and per clip and reference one for the copied reference and one for the frozen mouth:
        the columns of clip, voice and options, `heard` (`ORDER`), `likeness` (Pearson's correlation over time with the
        lip gap of the clip), `motion` (standard deviation of the lip gap over that of the clip's) and
        `sync_mini_confidence` (with the voice that was heard; NaN in silence and for the baselines).

    Raises:
        OptionError: no record has the curves of landmarks, or fewer than 25 frames of one show a face.
    """
    facts = table.set_index("record")
    rows, gaps = [], {}
    for record in records:
        curves = record.curves
        if "lip_gap_source" not in curves or record.id not in facts.index:
            continue
        gap, own = (np.array(curves[name], np.float64) for name in ("lip_gap", "lip_gap_source"))
        row = facts.loc[record.id].to_dict() | {"record": record.id}
        rows.append({**row, "heard": _heard(row), **_against(gap, own, record.id)})
        if rows[-1]["heard"] == SILENT:
            rows[-1][SYNC] = np.nan
        key = row["clip"], row["reference"]
        if key not in gaps or len(own) > len(gaps[key][1]):
            gaps[key] = row, own
    if not rows:
        raise OptionError(
            "no record has the lip gaps of result and clip; `latentsync measure RUNS --metrics standard` measures them"
        )
    for row, own in gaps.values():
        shared = {name: value for name, value in row.items() if name not in ("record", "pair", *MEASURES)}
        for name, likeness_and_motion in _baselines(row["reference"], own):
            rows.append({**shared, "heard": name, **dict(zip((LIKENESS, MOTION), likeness_and_motion, strict=True))})
    result = pd.DataFrame(rows)
    kept = ["record", "clip", "voice", "gender", "group", *_settings(table), "heard", *MEASURES]
    return result[[name for name in dict.fromkeys(kept) if name in result]].reset_index(drop=True)


def _settings(table: pd.DataFrame) -> list[str]:
    """The columns that no mean may mix; guidance may differ between clips, by the preset of their genders."""
    by_clip = table.groupby("clip")[["guidance_scale", "num_inference_steps"]].nunique().max()
    return ["reference", *by_clip.index[by_clip > 1], *(name for name in varied(table) if name != "reference")]


def _heard(row: dict) -> str:
    if row["voice"] == SILENCE_NAME:
        return SILENT
    return OWN if Path(row["voice"]).stem == Path(row["clip"]).stem else OTHER


def _against(gap: np.ndarray, own: np.ndarray, name: str) -> dict[str, float]:
    try:
        still = lip_motion(own)
        return {LIKENESS: gap_correlation(gap, own), MOTION: lip_motion(gap) / still if still > 0 else np.nan}
    except ValueError as error:
        raise OptionError(f"record {name} cannot be compared with its clip: {error}") from error


def _baselines(reference: str, own: np.ndarray) -> list[tuple[str, tuple[float, float]]]:
    """Likeness and motion of a copied reference and of a frozen mouth; the latter's are 0 by definition."""
    try:
        order = reference_order(range(len(own)), np.isfinite(own), reference)
        copied = own[order]
        values = _against(copied, own, "of the copied reference")
    except OptionError:  # the clip is too short for a reference from elsewhere
        values = {LIKENESS: np.nan, MOTION: np.nan}
    return [(COPIED, (values[LIKENESS], values[MOTION])), (FROZEN, (0.0, 0.0))]


def summary(table: pd.DataFrame) -> pd.DataFrame:
    """Means over speakers or clips with Student's t intervals.

    Args:
        table: of `leakage`.

    Returns:
        A row for each setting and what was heard, in `ORDER`: the settings, `heard`, `units`, and for each measure its
        mean, `MEASURE_low` and `MEASURE_high` (NaN below three units).

    Raises:
        OptionError: the table lacks a column, or results with another voice or with silence.
    """
    require_columns(table, "clip", "voice", "heard", *MEASURES)
    if lacking := [name for name in (OTHER, SILENT) if name not in set(table["heard"])]:
        raise OptionError(
            f"there is no result with {' and none with '.join(lacking)}; make them with experiment=leakage, or with "
            f"data.pairing=own,other,silent"
        )
    settings = [name for name in table.columns[table.columns.get_loc("voice") + 1 :]
                if name not in ("gender", "group", "heard", *MEASURES)]  # fmt: skip
    means = per_unit(table, MEASURES, [*settings, "heard"])
    rows = []
    for key, of_units in means.groupby(level=[*settings, "heard"]):
        row = dict(zip([*settings, "heard"], key, strict=True)) | {"units": len(of_units)}
        for name in MEASURES:
            values = of_units[name].dropna()
            low, high = mean_interval(values, BOUNDS.get(name, (-np.inf, np.inf))) or (np.nan, np.nan)
            row |= {name: values.mean() if len(values) else np.nan, f"{name}_low": low, f"{name}_high": high}
        rows.append(row)
    result = pd.DataFrame(rows)
    rank = result["heard"].map(ORDER.index)
    descending = result["reference"].eq(SHOWS_OWN)  # the easier question first: from elsewhere, then the leak
    order = result.assign(_leak=descending, _rank=rank).sort_values([*settings[1:], "_leak", "_rank"])
    return order.drop(columns=["_leak", "_rank"]).reset_index(drop=True)


def verdict(rows: pd.DataFrame, unit: str) -> list[str]:
    """What the summary says, a sentence or two for each setting."""
    lines = []
    settings = list(rows.columns[: rows.columns.get_loc("heard")])
    for key, of_setting in rows.groupby(settings, sort=False):
        by_heard = of_setting.set_index("heard")
        where = ", ".join(f"{name} {value}" for name, value in zip(settings, key, strict=True))
        parts = [
            f"{where}: under another voice the lips follow the clip's own by {_text(by_heard, OTHER, LIKENESS)}, where "
            f"a frozen mouth has 0 and a copied reference {_mean(by_heard, COPIED, LIKENESS)}"
        ]
        if OWN in by_heard.index:
            parts.append(f"its own voice gives {_text(by_heard, OWN, LIKENESS)}")
        parts.append(f"under silence they move {_text(by_heard, SILENT, MOTION)} times as much as the clip's own")
        lines.append("; ".join(parts) + f" (means over {by_heard.loc[OTHER, 'units']} {unit}s)")
    return lines


def _mean(rows: pd.DataFrame, heard: str, measure: str) -> str:
    value = rows.loc[heard, measure] if heard in rows.index else np.nan
    return "no value" if np.isnan(value) else _short(value)


def _text(rows: pd.DataFrame, heard: str, measure: str) -> str:
    if heard not in rows.index:
        return "no value"
    return _with_interval(*rows.loc[heard, [measure, f"{measure}_low", f"{measure}_high"]])


def _with_interval(mean: float, low: float, high: float) -> str:
    if np.isnan(mean):
        return "-"
    return _short(mean) if np.isnan(low) else f"{_short(mean)} ({_short(low)} .. {_short(high)})"


def _short(value: float) -> str:
    return f"{round(value, 2) + 0.0:.2f}"  # never "-0.00"


def cells_of(rows: pd.DataFrame) -> dict[str, list]:
    """The columns of a summary as people read them."""
    texts = {
        name: list(map(_with_interval, *(rows[f"{name}{end}"] for end in ("", "_low", "_high")))) for name in MEASURES
    }
    settings = list(rows.columns[: rows.columns.get_loc("heard")])
    return {
        **{name: rows[name].astype(str).tolist() for name in settings},
        "heard": rows["heard"].tolist(),
        "n": rows["units"].tolist(),
        "likeness to the clip's own lips": texts[LIKENESS],
        "motion, of the clip's own": texts[MOTION],
        "mini SyncNet confidence": texts[SYNC],
    }
