"""Says of a table on how many real clips a judge of sync fails, so that nobody trusts its scores there."""

from collections.abc import Sequence

import numpy as np
import pandas as pd

from latentsync.metrics.definitions import DEFINITIONS, base_name, definition_of
from latentsync.metrics.judges import Judge, judges_of

NAMED = 5  # clips that a line names


def judges_on(table: pd.DataFrame) -> list[tuple[Judge, np.ndarray]]:
    """The judges that scored real clips of a wide table, and in which rows each fails."""
    real = {name: table[name].to_numpy(np.float64, na_value=np.nan) for name in table if str(name).endswith("_real")
            and pd.api.types.is_numeric_dtype(table[name])}  # fmt: skip
    return list(judges_of(real))


def judge_lines(table: pd.DataFrame, metrics: Sequence[str] | None = None) -> list[str]:
    """A sentence for each judge that fails on real clips of a wide table, see `latentsync.metrics.judges`.

    Args:
        metrics: only judges that gave one of these; None: all.
    """
    asked = None if metrics is None else {definition_of(m).family for m in metrics if base_name(m) in DEFINITIONS}
    lines = []
    for judge, fails in judges_on(table):
        if not fails.any() or (asked is not None and judge.family not in asked):
            continue
        clips = sorted(set(table.loc[fails, "clip"]))
        others = f" and {len(clips) - NAMED} more" if len(clips) > NAMED else ""
        lines.append(
            f"{judge.word} fails on {len(clips)} of {table['clip'].nunique()} real clips ({judge.rule}): "
            f"{', '.join(clips[:NAMED])}{others}. Its scores say nothing there: the sound may not be the clips' "
            "own, or it does not know such faces."
        )
    return lines
