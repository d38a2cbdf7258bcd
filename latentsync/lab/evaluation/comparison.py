"""Evaluations of several models side by side: comparison.json, comparison.md, comparison.parquet.

Clips have the same names for every model, so the difference between two models is paired by clip. Painted people are
drawn twice as wide as a model's crops: models of other crops see the same people, sentences and movements in another
size.
"""

from collections.abc import Mapping, Sequence
from itertools import islice
from pathlib import Path

import numpy as np
import pandas as pd

from latentsync.files import whole_files, write_json, write_text
from latentsync.lab.analysis.intervals import Interval, difference_interval, interval_text
from latentsync.lab.console import table_text
from latentsync.lab.evaluation import report

JSON_FILE, TABLE_FILE, FRAME_FILE = "comparison.json", "comparison.md", "comparison.parquet"


def write(folder: Path, contents: Mapping[str, dict]) -> str:
    """Writes the three files, each whole or not at all.

    Args:
        contents: the content of evaluation.json, by model; the others are compared with the first.

    Returns:
        The table for the terminal.
    """
    folder.mkdir(parents=True, exist_ok=True)
    lines = side_by_side(contents)
    with whole_files(folder, (TABLE_FILE, FRAME_FILE, JSON_FILE)) as part:
        write_json(part / JSON_FILE, {"models": dict(contents), "differences": differences(contents)})
        write_text(part / TABLE_FILE, _markdown(contents, lines))
        frame(contents).to_parquet(part / FRAME_FILE)
    return table_text({heading: [line[heading] for line in lines] for heading in lines[0]} if lines else {})


def frame(contents: Mapping[str, dict]) -> pd.DataFrame:
    """The rows of all models as in `report.frame`, with the column `model` before the others."""
    tables = {model: report.frame(content["rows"]) for model, content in contents.items()}
    return pd.concat(tables, names=["model", None]).reset_index(level="model").reset_index(drop=True)


def differences(contents: Mapping[str, dict]) -> list[dict]:
    """For each row with a value per clip, each model less the first: the mean over common clips."""
    first, rows = next(iter(contents)), _rows(contents)
    result = []
    for name, by_model in rows.items():
        for model in islice(contents, 1, None):
            pair = _pairs(by_model.get(model), by_model.get(first))
            if not pair:
                continue
            after, before = zip(*pair, strict=True)
            value = float(np.mean(np.subtract(after, before)))
            interval = difference_interval(after, before)
            result.append({"row": name, "model": model, "less": first, "value": value, "interval": interval,
                           "n": len(pair)})  # fmt: skip
    return result


def side_by_side(contents: Mapping[str, dict]) -> list[dict[str, str]]:
    """A line for each row: its name, each model's value with interval, bar and baselines, and the differences."""
    by_row = {(one["row"], one["model"]): one for one in differences(contents)}
    first, lines = next(iter(contents)), []
    for name, by_model in _rows(contents).items():
        cells = {model: _cell(by_model.get(model)) for model in contents}
        less = {f"{model} less {first}": _difference(by_row.get((name, model))) for model in islice(contents, 1, None)}
        lines.append({"row": name, **cells, **less})
    return lines


def _rows(contents: Mapping[str, dict]) -> dict[str, dict[str, dict]]:
    """The rows by name and model, in their order."""
    rows: dict[str, dict[str, dict]] = {}
    for model, content in contents.items():
        for row in content["rows"]:
            rows.setdefault(row["name"], {})[model] = row
    return rows


def _pairs(row: dict | None, other: dict | None) -> list[tuple[float, float]]:
    """The values of the clips that both have."""
    if row is None or other is None:
        return []
    each, others = row["each"], other["each"]
    return [
        (value, others[clip])
        for clip, value in each.items()
        if isinstance(value, float) and isinstance(others.get(clip), float)
    ]


def _cell(row: dict | None) -> str:
    if row is None:
        return "not measured"
    if row["value"] is None:
        return row["reason"]
    interval = interval_text(row["interval"], ".3g", none="")
    text = f"{row['value']:.4g}" + (f" ({interval})" if interval else "") + f", n {row['n']}"
    if row["bar"]:
        text += f"; {row['bar']}: {'void' if row['is_void'] else report.VERDICTS[row['passed']]}"
    baselines = ", ".join(f"{name} {value:.3g}" for name, value in sorted(row["baselines"].items()))
    return f"{text}; {baselines}" if baselines else text


def _difference(one: dict | None) -> str:
    if one is None:
        return "-"
    interval: Interval | None = one["interval"]
    return f"{one['value']:+.3g}" + ("" if interval is None else f" ({interval_text(interval, '+.3g')})")


def _markdown(contents: Mapping[str, dict], lines: Sequence[dict[str, str]]) -> str:
    headings = list(lines[0]) if lines else []
    rows = [headings, ["---"] * len(headings), *(line.values() for line in lines)]
    table = [f"| {' | '.join(row)} |" for row in rows]
    untrained = [f"**{model} is UNTRAINED.**" for model, content in contents.items() if not content["trained"]]
    notes = [
        f"- {model}, {row['name']}: {row['note']}"
        for model, content in contents.items()
        for row in content["rows"]
        if row["note"]
    ]
    title = f"# {' and '.join(contents)} side by side"
    ending = "Differences are means over the clips that both have, with paired 95 % intervals."
    return "\n".join([title, "", *(f"{line}\n" for line in untrained), *table, "", ending, "", *notes, ""])
